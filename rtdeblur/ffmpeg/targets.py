"""Output targets: a file that appears under its name only when complete, or a stream."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path

from rtdeblur import files
from rtdeblur.errors import OutputError, UsageError


def open_target(
    path: Path, *, source: Path | None, overwrite: bool, part: Path | None = None
) -> PartFile | StreamTarget:
    """Open an output.

    Args:
        path: the output.
        source: the file being read.
        overwrite: replace an existing file.
        part: partial file, locked by the caller; None chooses a new name.

    Raises:
        UsageError: it is the source or a terminal, or it exists and `overwrite` is False.
        OutputError: it cannot be written.
    """
    if is_stream(path):
        return StreamTarget(path)
    return PartFile(path, source=source, overwrite=overwrite, part=part)


def is_stream(path: Path) -> bool:
    """True for standard output ('-') and for an existing path that is not a file: a named pipe, /dev/null."""
    if path == Path("-"):
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def destination(target: Path) -> Path:
    """Return the path that is actually written, following links.

    Raises:
        OutputError: it is a link made by another user, who may have pointed it at a file of this user, or a
            link that leads back to itself.
    """
    with suppress(OSError):
        facts = os.lstat(target)
        if stat.S_ISLNK(facts.st_mode) and hasattr(os, "geteuid") and facts.st_uid not in (os.geteuid(), 0):
            raise OutputError(
                f"output {str(target)!r} is another user's link (uid {facts.st_uid}); try another name"
            )
    resolved = Path(os.path.realpath(target))  # Path.resolve raises errors of different kinds for loops
    if resolved.is_symlink():
        raise OutputError(f"output {str(target)!r} is a link that leads back to itself; try another name")
    return resolved


class StreamTarget:
    """A pipe or device: written sequentially, and nothing can be taken back.

    Args:
        path: '-' for standard output, else an existing pipe or device.

    Attributes:
        url: URL for FFmpeg, which never seeks in it.

    Raises:
        UsageError: it is a terminal.
        OutputError: it cannot be opened for writing, or it is a disk.
    """

    def __init__(self, path: Path) -> None:
        self._name = "standard output" if path == Path("-") else repr(str(path))
        if path != Path("-") and path.is_block_device():
            raise OutputError(f"output {self._name} is a disk, expected a file name")
        try:
            self._fd: int | None = os.dup(1) if path == Path("-") else os.open(path, os.O_WRONLY)
        except OSError as error:
            raise OutputError(f"cannot write to {self._name}: {error.strerror}; try a file") from error
        if os.isatty(self._fd):
            self.discard()
            raise UsageError(
                f"{self._name} is a terminal, which cannot show video; name a file, or pipe to a program"
            )
        if sys.platform == "win32":
            import msvcrt

            msvcrt.setmode(self._fd, os.O_BINARY)
        self.url = f"pipe:{self._fd}"

    def commit(self) -> None:
        """Close it after the last bytes.

        Raises:
            OutputError: the last bytes could not be written.
        """
        fd, self._fd = self._fd, None
        if fd is not None:
            try:
                os.close(fd)
            except OSError as error:
                raise OutputError(f"cannot write to {self._name}: {error.strerror}") from error

    def discard(self) -> None:
        """Close it with the output incomplete; does nothing after `commit` or when called again."""
        with suppress(OutputError):
            self.commit()


def unwritable(folder: Path, error: OSError) -> OutputError:
    """Return the error for a folder in which nothing can be created."""
    advice = "try another folder" if folder.exists() else "create it first"
    return OutputError(f"cannot write into folder {str(folder)!r}: {error.strerror}; {advice}")


class PartFile:
    """A hidden file next to the target, renamed over it by `commit`.

    A crash, a full disk or Ctrl-C therefore never leaves half a video under the target's name, and never
    destroys the file that was there before. The new file inherits the permissions of the one it replaces.

    Args:
        target: final name of the output.
        source: the file being read, which the target must not be.
        overwrite: replace an existing target.
        part: the hidden file, possibly left by a killed run; None chooses a new name.

    Attributes:
        path: the hidden file, created empty.
        url: its URL for FFmpeg.

    Raises:
        UsageError: the target is the source under any name, or exists and `overwrite` is False.
        OutputError: the folder is missing or not writable.
    """

    def __init__(
        self, target: Path, *, source: Path | None, overwrite: bool, part: Path | None = None
    ) -> None:
        if target.is_dir():
            raise OutputError(f"output {str(target)!r} is a directory, expected a file name")
        if target.exists():
            # Symbolic links, hard links and 'a/../a' all name one file: ask the file system.
            if source not in (None, Path("-")) and source.exists() and target.samefile(source):
                raise UsageError(f"output {str(target)!r} is the input itself; try another name")
            if not overwrite:
                raise UsageError(f"output {str(target)!r} already exists; overwrite it, or try another name")
        self._target = destination(target)
        self._overwrite = overwrite
        stem = target.stem[:40]  # a name of maximum length leaves no room for a suffix
        self._facts: os.stat_result | None = None
        self._fd: int | None = None
        self.path = part or self._target.with_name(f".{stem}.{secrets.token_hex(3)}.part{target.suffix}")
        try:
            if part is not None:
                _remove_left(part)
            self._mode = _mode_of(self._target)
            # Writable by its owner while it grows, whatever its final permissions.
            files.unfinished.add(self)
            self._fd = files.create(self.path, mode=0o666 if self._mode is None else 0o600)
        except OSError as error:
            files.unfinished.discard(self)
            raise unwritable(self._target.parent, error) from error
        self._facts = os.fstat(self._fd)
        # The open file itself: replacing its name by a link redirects nothing.
        self.url = f"/proc/self/fd/{self._fd}"
        if not (sys.platform == "linux" and Path(self.url).exists()):
            self.url = str(self.path)

    def commit(self) -> None:
        """Flush the file to disk, then rename it to its target atomically.

        Raises:
            OutputError: the disk is full, the folder is not writable, or another program took one of the two
                names.
        """
        self._place(close=True)

    def appear(self) -> None:
        """Rename the empty file to its target at once, so that a recording can be played while it grows.

        `url` stays valid until `discard`, which then removes nothing.

        Raises:
            OutputError: as of `commit`.
        """
        is_name = self.url == str(self.path)
        self._place(close=is_name)
        if is_name:
            self.url = str(self._target)

    def _place(self, *, close: bool) -> None:
        assert self._fd is not None
        try:
            if self._mode is not None and hasattr(os, "fchmod"):
                os.fchmod(self._fd, self._mode)
            os.fsync(self._fd)
            if not self._is_there():
                raise FileExistsError(errno.EEXIST, f"another program replaced {self.path.name}")
            if not self._overwrite and os.path.lexists(self._target):
                raise FileExistsError(errno.EEXIST, "another program wrote it meanwhile")
            if close:
                self._close()  # Windows cannot rename an open file
            self.path.replace(self._target)
            files.unfinished.discard(self)
            sync_folder(self._target.parent)
        except OSError as error:
            raise OutputError(f"cannot write {str(self._target)!r}: {error.strerror}") from error

    def discard(self) -> None:
        """Remove an uncommitted file; does nothing after `commit` or when called again."""
        self._close()
        if self._is_there():
            self.path.unlink(missing_ok=True)
        files.unfinished.discard(self)

    def abandon(self) -> None:
        """Remove the file unless it was committed; the process is about to end."""
        if self._facts is None:  # interrupted during its creation; nobody else uses this name
            self.path.unlink(missing_ok=True)
        self.discard()

    def _is_there(self) -> bool:
        """Whether the hidden file still has its name."""
        with suppress(FileNotFoundError):
            return self._facts is not None and os.path.samestat(os.lstat(self.path), self._facts)
        return False

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _mode_of(path: Path) -> int | None:
    """The permissions of a file; None if there is none."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(path.stat().st_mode) & 0o777
    return None


def _remove_left(part: Path) -> None:
    """Remove the file left by a killed run, or a link without its target."""
    with suppress(FileNotFoundError):
        mode = os.lstat(part).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise FileExistsError(errno.EEXIST, f"it holds {part.name}, which is not a file")
        part.unlink()


def sync_folder(folder: Path) -> None:
    """Flush a folder's directory entries to disk, if the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
