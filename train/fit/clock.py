"""Intervals of training loops: when to log, save and measure."""

from __future__ import annotations

import time


class Clock:
    """Something that is due every few seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.perf_counter()

    def due(self) -> float:
        """Return the seconds since it was last due, or 0 if it is not."""
        passed = time.perf_counter() - self._last
        if passed < self._seconds:
            return 0.0
        self._last += passed
        return passed
