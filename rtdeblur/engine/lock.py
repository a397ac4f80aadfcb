"""Lets one process of many build an engine; the others wait, and can be told to stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from rtdeblur.errors import InterruptedRunError

_POLL_SECONDS = 0.1


def lock_file(path: Path) -> Path:
    """Of an engine's file, the file of its lock."""
    return path.with_name(f".{path.stem}.lock")


def hold(
    path: Path, notice: Callable[[str], None], stopped: Callable[[], bool]
) -> AbstractContextManager[object]:
    """Take a lock, which the context gives back.

    Args:
        path: of the lock's file.
        notice: is told where another process has it.
        stopped: asked while waiting for that; True ends the wait.

    Raises:
        InterruptedRunError: the wait was ended.
        OSError: the file cannot be written.
        NotImplementedError: the file system has no locks.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    with suppress(Timeout):
        return lock.acquire(timeout=0)
    notice("another process builds this engine; waiting for it")
    while not stopped():
        with suppress(Timeout):
            return lock.acquire(timeout=_POLL_SECONDS)
    raise InterruptedRunError("the wait for an engine that another process builds was interrupted")
