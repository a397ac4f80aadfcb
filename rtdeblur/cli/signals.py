"""Ctrl-C, `kill` and a closed terminal end the program in good order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn


class Stopped(BaseException):
    """A signal asked the program to end; no `Exception`, so that nothing takes it for a failure."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum

    @classmethod
    def throw(cls, signum: int) -> NoReturn:
        """Raise, as the action of `handling`."""
        raise cls(signum)


@contextmanager
def handling(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of each signal that asks the program to end."""
    signals = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup and signal.getsignal(hangup) != signal.SIG_IGN:  # nohup's wish stands
        signals.append(hangup)
    previous = {number: signal.signal(number, lambda signum, _: act(signum)) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
