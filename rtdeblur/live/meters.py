"""Rates and delays of a running session, measured in constant memory."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns the time in seconds, such as `time.monotonic`."""


class Rate:
    """Events per second over the last few seconds.

    Args:
        seconds: length of the window.
        clock: source of the time.
    """

    def __init__(self, seconds: float = 2.0, clock: Clock = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._times: deque[float] = deque(maxlen=1000)

    def tick(self) -> None:
        """Count an event."""
        self._times.append(self._clock())

    @property
    def per_second(self) -> float:
        """Events per second; 0 if there were fewer than two in the window."""
        now = self._clock()
        recent = [t for t in tuple(self._times) if now - t <= self._seconds]
        if len(recent) < 2 or recent[-1] == recent[0]:
            return 0.0
        return (len(recent) - 1) / (recent[-1] - recent[0])


class FrameInterval:
    """Time between frames by the source's own clock, so that network jitter does not count."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._steps: deque[float] = deque(maxlen=31)

    def add(self, seconds: float) -> None:
        """Add the time of a frame, in seconds."""
        # Clocks jump when a sender restarts.
        if self._last is not None and 0 < seconds - self._last < 1:
            self._steps.append(seconds - self._last)
        self._last = seconds

    @property
    def seconds(self) -> float | None:
        """Median interval in seconds; None before the second frame."""
        steps = tuple(self._steps)
        return statistics.median(steps) if steps else None


class Latency:
    """Percentiles of delays: over the last few seconds, and over the whole session to a millisecond.

    Args:
        recent_seconds: length of the window of `recent`.
        clock: source of the time.
    """

    _LONGEST_MS = 60_000

    def __init__(self, recent_seconds: float = 3.0, clock: Clock = time.monotonic) -> None:
        self._recent_seconds, self._clock = recent_seconds, clock
        self._recent: deque[tuple[float, float]] = deque(maxlen=1000)
        self._counts: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Add the delay of a picture, in seconds."""
        milliseconds = seconds * 1000
        self._recent.append((self._clock(), milliseconds))
        bucket = min(round(milliseconds), self._LONGEST_MS)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1

    @property
    def recent(self) -> tuple[float, float] | None:
        """Median and 95th percentile of the last few seconds, in milliseconds; None without data."""
        now = self._clock()
        values = sorted(ms for t, ms in self._recent if now - t <= self._recent_seconds)
        if not values:
            return None
        return values[_rank(len(values), 0.5)], values[_rank(len(values), 0.95)]

    @property
    def overall(self) -> tuple[float, float] | None:
        """Median and 95th percentile of the whole session, in milliseconds; None without data."""
        total = sum(self._counts.values())
        return (self._overall(total, 0.5), self._overall(total, 0.95)) if total else None

    def _overall(self, total: int, share: float) -> float:
        left = _rank(total, share)
        for milliseconds in sorted(self._counts):
            left -= self._counts[milliseconds]
            if left < 0:
                return float(milliseconds)
        raise AssertionError("a rank beyond the last")


def _rank(count: int, share: float) -> int:
    """Index of a percentile among sorted values (nearest rank)."""
    return max(0, math.ceil(share * count) - 1)
