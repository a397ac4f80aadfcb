"""An output file that appears under its name only when it is whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from rtdeblur.errors import OutputError, UsageError


class PartFile:
    """A hidden file beside the target, renamed over it by `commit`.

    A crash, a full disk or Ctrl-C therefore never leaves half a video under the target's name, and
    never costs the file that stood there before.

    Args:
        target: the name to appear in the end.
        source: the file being read, which the target must not be.
        overwrite: replace an existing target.

    Attributes:
        path: the hidden file, which exists and is empty.

    Raises:
        UsageError: the target is the source by whatever name, or exists and `overwrite` is False.
        OutputError: the folder is missing or not writable.
    """

    def __init__(self, target: Path, *, source: Path | None, overwrite: bool) -> None:
        if target.is_dir():
            raise OutputError(f"output {str(target)!r} is a directory, expected the name of a file")
        if target.exists():
            # Symbolic links, hard links and 'a/../a' all name one file: ask the file system.
            if source is not None and source.exists() and target.samefile(source):
                raise UsageError(f"output {str(target)!r} is the input itself; try another name")
            if not overwrite:
                raise UsageError(f"output {str(target)!r} exists; try another name or allow overwriting")
        self._target = target.resolve()  # through a link, as writing to it would go
        self.path = self._target.with_name(f".{target.stem}.{secrets.token_hex(3)}.part{target.suffix}")
        try:
            self.path.touch(exist_ok=False)
        except OSError as error:
            folder = str(self._target.parent)
            message = f"cannot write into folder {folder!r}: {error.strerror}; try another folder"
            raise OutputError(message) from error

    def commit(self) -> None:
        """Put the file on the disk, then under its name, in one step.

        Raises:
            OutputError: the disk is full or the folder refuses.
        """
        try:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
            self.path.replace(self._target)
        except OSError as error:
            raise OutputError(f"cannot write {str(self._target)!r}: {error.strerror}") from error

    def discard(self) -> None:
        """Remove what was not committed; does nothing after `commit` or a second time."""
        self.path.unlink(missing_ok=True)
