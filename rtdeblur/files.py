"""Files and folders that other users cannot redirect, replace or write to.

The name of a hidden file or folder can be guessed. In a folder that others may write to, they can plant a
link, a pipe or a file under that name before it is created. So files created here must be new, files read
must belong to the user, and links are not followed.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

# Windows has no links that any user may create, nor these flags, nor numeric owners.
_PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe would block until it has a writer
_FOLDER = getattr(os, "O_DIRECTORY", 0)
_WITH_DIR_FD = {os.open, os.rename, os.unlink, os.stat, os.utime}
_HAS_DIR_FD = os.supports_dir_fd >= _WITH_DIR_FD and os.listdir in os.supports_fd


class Unfinished(Protocol):
    """Something that must not outlive the process: an incomplete file or folder."""

    def abandon(self) -> None:
        """Remove it; may be called twice, from any thread, while others use it."""


unfinished: set[Unfinished] = set()
"""Everything incomplete that this process created, from before its creation until it is complete or removed.

A signal may end the process between any two steps, even before the caller holds a reference.
"""


def abandon_unfinished() -> None:
    """Remove everything incomplete; the process is about to end."""
    for each in tuple(unfinished):
        with suppress(OSError):
            each.abandon()


def create(path: Path | str, *, mode: int = 0o666, dir_fd: int | None = None) -> int:
    """Create a new file, open for reading and writing.

    Args:
        path: the file; a link of that name is not followed.
        mode: permissions, subject to the umask.
        dir_fd: the open folder that `path` is relative to.

    Returns:
        Its descriptor.

    Raises:
        FileExistsError: the name exists.
        OSError: the file cannot be created.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK | _PLAIN, mode, dir_fd=dir_fd)


def read(path: Path, most: int) -> bytes:
    """Read a file given by the user; links are followed.

    Args:
        path: the file.
        most: the largest size accepted, in bytes.

    Raises:
        OSError: it is missing, not a regular file or too large; `strerror` says which.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | _NO_WAIT | _PLAIN), "rb") as file:
        _check_kind(os.fstat(file.fileno()), path)
        return _read(file, path, most)


def read_own(path: Path, most: int) -> bytes:
    """Read a file that must belong to the user.

    Raises:
        OSError: it is missing, a link, not a regular file or too large, belongs to another user, or others
            may write to it; `strerror` says which.
    """
    with _open_own(path, path.parent) as file:
        return _read(file, path, most)


def open_own(path: Path) -> BinaryIO:
    """Open a file that must belong to the user; raises like `read_own`."""
    return _open_own(path, path.parent)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(3)}.part")
    try:
        with os.fdopen(create(part, mode=0o600), "wb") as file:
            file.write(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_file(path: Path) -> os.stat_result:
    """Check that a file belongs to the user; raises like `read_own`.

    Returns:
        The file's status.
    """
    facts = os.lstat(path)
    _check_kind(facts, path)
    _check_owner(facts, path, path.parent)
    return facts


def check_folder(path: Path) -> None:
    """Check that a folder, possibly through a link, belongs to the user.

    Raises:
        OSError: it is missing or not a folder, belongs to another user, or others may write to it; `strerror`
            says which.
    """
    facts = path.stat()
    _check_kind(facts, path, folder=True)
    _check_owner(facts, path, path)


class PrivateFolder:
    """A folder accessible only to its owner, held open.

    Names are relative to the open folder, so renaming it and planting a link redirects nothing.

    Args:
        path: the folder, created if missing.

    Raises:
        OSError: it cannot be created, is a link or not a folder, belongs to another user, or others may write
            to it; `strerror` says which.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        facts = os.lstat(path)
        _check_kind(facts, path, folder=True)
        _check_owner(facts, path, path)
        if _HAS_DIR_FD:
            self._fd = os.open(path, os.O_RDONLY | _FOLDER | _NO_LINK | _PLAIN)
            if not os.path.samestat(facts, os.fstat(self._fd)):
                self.close()
                raise PermissionError(errno.EPERM, "it was replaced just now", str(path))

    def names(self) -> list[str]:
        """Return the names in it, sorted."""
        return sorted(os.listdir(self.path if self._fd is None else self._fd))  # noqa: PTH208 - it is open

    def create(self, name: str) -> BinaryIO:
        """Create a file, replacing anything of that name, and open it for writing."""
        self.remove(name)
        return os.fdopen(create(self._at(name), mode=0o600, dir_fd=self._fd), "wb")

    def open_file(self, name: str) -> BinaryIO:
        """Open a file for reading; raises like `read_own`."""
        return _open_own(self._at(name), self.path, dir_fd=self._fd)

    def read(self, name: str, most: int) -> bytes:
        """Read a file; raises like `read_own`."""
        with self.open_file(name) as file:
            return _read(file, name, most)

    def write(self, name: str, data: bytes) -> None:
        """Write a complete file, replacing anything of that name."""
        with self.create(name) as file:
            file.write(data)

    def rename(self, name: str, new: str) -> None:
        """Rename a file, replacing anything of the new name."""
        os.replace(self._at(name), self._at(new), src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def remove(self, name: str) -> None:
        """Remove a name, if it exists; the target of a link stays."""
        with suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self._fd)

    def stat(self, name: str) -> os.stat_result:
        """Return the status of a name itself, without following links."""
        return os.stat(self._at(name), dir_fd=self._fd, follow_symlinks=False)

    def touch(self, name: str) -> None:
        """Set the times of a file to now."""
        os.utime(self._at(name), dir_fd=self._fd)

    def sync(self) -> None:
        """Flush the directory entries to disk, if the system can."""
        if self._fd is not None:
            os.fsync(self._fd)

    def close(self) -> None:
        """Close it; may be called twice."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _at(self, name: str) -> str:
        return name if self._fd is not None else str(self.path / name)


def _open_own(path: Path | str, folder: Path, *, dir_fd: int | None = None) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_WAIT | _NO_LINK | _PLAIN, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):  # EMLINK on FreeBSD
            raise PermissionError(errno.EPERM, "it is a symbolic link", str(path)) from None
        raise
    try:
        facts = os.fstat(descriptor)
        _check_kind(facts, path)
        _check_owner(facts, path, folder)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _read(file: BinaryIO, path: Path | str, most: int) -> bytes:
    data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes", str(path))
    return data


def _check_kind(facts: os.stat_result, path: Path | str, *, folder: bool = False) -> None:
    is_kind, kind = (stat.S_ISDIR, "a folder") if folder else (stat.S_ISREG, "a regular file")
    if not is_kind(facts.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(facts.st_mode) else "something else"
        raise PermissionError(errno.EPERM, f"it is {what}, expected {kind}", str(path))


def _check_owner(facts: os.stat_result, path: Path | str, folder: Path) -> None:
    if sys.platform == "win32":
        return
    if facts.st_uid not in (os.geteuid(), 0):  # root could change this program itself
        raise PermissionError(errno.EPERM, f"it belongs to another user (uid {facts.st_uid})", str(path))
    # Many systems give each user a private group of the same number, with write access by default.
    others = stat.S_IWOTH if facts.st_gid == facts.st_uid else stat.S_IWOTH | stat.S_IWGRP
    if facts.st_mode & others and _keeps_modes(folder):
        mode = f"{stat.S_IMODE(facts.st_mode):04o}"
        raise PermissionError(errno.EPERM, f"other users may write to it (mode {mode})", str(path))


def _keeps_modes(folder: Path) -> bool:
    """False on file systems without permissions, such as FAT, where every file seems open to all."""
    probe = folder / f".rtdeblur-{secrets.token_hex(8)}"
    try:
        descriptor = create(probe, mode=0o600)
    except OSError:
        return True
    try:
        return not os.fstat(descriptor).st_mode & (stat.S_IWOTH | stat.S_IWGRP)
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)
