"""Ctrl-C, `kill` and a closed terminal end the program in good order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(BaseException):
    """A signal asked the program to end; no `Exception`, so that nothing takes it for a failure."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


@contextmanager
def handling(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of each signal that asks the program to end."""
    with _handlers(lambda signum, _: act(signum)):
        yield


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Call `stop` on the first signal; a second one waits for nothing. Gives the signals received so far."""
    received: list[int] = []

    def act(signum: int) -> None:
        if received:
            raise Stopped(signum)
        received.append(signum)
        stop()

    with handling(act):
        yield received


@contextmanager
def dying() -> Iterator[None]:
    """Let a signal end the program on the spot, even where it waits inside FFmpeg; nothing is cleaned up."""
    with _handlers(signal.SIG_DFL):
        yield


@contextmanager
def _handlers(handler: Callable[[int, Any], None] | signal.Handlers) -> Iterator[None]:
    signals = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup and signal.getsignal(hangup) != signal.SIG_IGN:  # nohup's wish stands
        signals.append(hangup)
    previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, earlier in previous.items():
            signal.signal(number, earlier)
