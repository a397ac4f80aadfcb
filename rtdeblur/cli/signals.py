"""Prompt, orderly termination on Ctrl-C, `kill` and a closed terminal."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rtdeblur.files import abandon_unfinished

GRACE_SECONDS = 2.0
"""Time for a run to end in order, unless it asks for more; after that, the program cleans up and exits."""


class Stopped(BaseException):
    """A signal asked the program to end; not an `Exception`, so that nothing handles it as a failure."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


@contextmanager
def handling(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of each signal that asks the program to end."""
    with _handlers(lambda signum, _: act(signum)):
        yield


@contextmanager
def stopping(stop: Callable[[], None], grace: float = GRACE_SECONDS) -> Iterator[list[int]]:
    """Call `stop` on the first signal; a second one exits at once.

    Args:
        stop: asks the run to end.
        grace: seconds that it may take to end.

    Yields:
        The signals received so far.
    """
    received: list[int] = []

    def act(signum: int) -> None:
        if received:
            raise Stopped(signum)
        received.append(signum)
        stop()

    with handling(act):
        _grace.append(grace)
        try:
            yield received
        finally:
            _grace.pop()


@contextmanager
def dying() -> Iterator[None]:
    """Let a signal kill the program at once, even inside FFmpeg; nothing is cleaned up."""
    with _handlers(signal.SIG_DFL):
        yield


_grace = [GRACE_SECONDS]
_abandon: list[Callable[[], None]] = []


@contextmanager
def abandoning(clean: Callable[[], None]) -> Iterator[None]:
    """Call `clean` before killing a process that does not end in time.

    It runs in a separate thread while all others are running, so it takes no locks and only removes files.
    """
    _abandon.append(clean)
    try:
        yield
    finally:
        _abandon.remove(clean)


@contextmanager
def deadline() -> Iterator[None]:
    """End the process if a run overstays its grace after a signal, or on a second one.

    The main thread runs signal handlers only between Python instructions; a call into a model, an encoder or
    the file system may block it for minutes.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    earlier = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watch = threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True)
    watch.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        writer.close()
        watch.join()
        reader.close()


def _watch(reader: socket.socket) -> None:
    """Read signal numbers as they arrive, until the other end is closed."""
    ending = _ending()
    first = 0
    while True:
        reader.settimeout(_grace[-1] if first else None)
        try:
            received = reader.recv(1)
        except TimeoutError:
            break
        if not received:
            return
        if received[0] in ending:
            if first:
                break
            first = received[0]
    for clean in reversed(_abandon):
        with suppress(Exception):
            clean()
    abandon_unfinished()
    os._exit(128 + first)


def _ending() -> list[int]:
    """Return the termination signals, except those ignored from the start, as by nohup."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


@contextmanager
def _handlers(handler: Callable[[int, Any], None] | signal.Handlers) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in _ending()}
    try:
        yield
    finally:
        for number, earlier in previous.items():
            signal.signal(number, earlier)


@contextmanager
def silent_if_dropped() -> Iterator[None]:
    """Hide a `Stopped` that Python cannot propagate, as when it is raised in a destructor."""
    earlier = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, Stopped):
            earlier(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = earlier
