"""Gives pictures that are there too early their own speed."""

from __future__ import annotations

import threading
import time

_LATE_SECONDS = 1.0
"""After so long a stop the clock begins anew, instead of rushing through what was missed."""


class Pace:
    """Waits until a picture is due; the first is due at once."""

    def __init__(self) -> None:
        self._zero: float | None = None
        self._stopped = threading.Event()

    def wait(self, seconds: float) -> None:
        """Wait until a picture of that time is due.

        Args:
            seconds: its time by the source's own clock, which may jump.
        """
        now = time.monotonic()
        early = None if self._zero is None else self._zero + seconds - now
        if early is None or not -_LATE_SECONDS < early < 60:
            self._zero, early = now - seconds, 0.0
        self._stopped.wait(max(0.0, early))

    def stop(self) -> None:
        """Let who waits go on at once."""
        self._stopped.set()
