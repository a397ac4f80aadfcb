"""What a session measures while it runs, in memory that does not grow."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds, as `time.monotonic`."""


class Rate:
    """Events a second, over the last seconds.

    Args:
        seconds: how far to look back.
        clock: tells the time.
    """

    def __init__(self, seconds: float = 2.0, clock: Clock = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._times: deque[float] = deque(maxlen=1000)

    def tick(self) -> None:
        """Count an event."""
        self._times.append(self._clock())

    @property
    def per_second(self) -> float:
        """Events a second, 0 where nothing happened of late."""
        now = self._clock()
        recent = [t for t in tuple(self._times) if now - t <= self._seconds]
        if len(recent) < 2 or recent[-1] == recent[0]:
            return 0.0
        return (len(recent) - 1) / (recent[-1] - recent[0])


class FrameInterval:
    """The time between frames by the source's own clock, whatever the network does to their arrival."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._steps: deque[float] = deque(maxlen=31)

    def add(self, seconds: float) -> None:
        """Note a frame's time."""
        # Clocks jump where a sender restarts.
        if self._last is not None and 0 < seconds - self._last < 1:
            self._steps.append(seconds - self._last)
        self._last = seconds

    @property
    def seconds(self) -> float | None:
        """The usual interval; None before two frames."""
        steps = tuple(self._steps)
        return statistics.median(steps) if steps else None


class Latency:
    """Delays of pictures: of the last seconds, and of the whole session to a millisecond.

    Args:
        recent_seconds: how far `recent` looks back.
        clock: tells the time.
    """

    _LONGEST_MS = 60_000

    def __init__(self, recent_seconds: float = 3.0, clock: Clock = time.monotonic) -> None:
        self._recent_seconds, self._clock = recent_seconds, clock
        self._recent: deque[tuple[float, float]] = deque(maxlen=1000)
        self._counts: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Note the delay of a picture."""
        milliseconds = seconds * 1000
        self._recent.append((self._clock(), milliseconds))
        bucket = min(round(milliseconds), self._LONGEST_MS)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1

    @property
    def recent(self) -> tuple[float, float] | None:
        """Median and 95th percentile of the last seconds, in milliseconds; None where nothing was."""
        now = self._clock()
        values = sorted(ms for t, ms in self._recent if now - t <= self._recent_seconds)
        if not values:
            return None
        return values[_rank(len(values), 0.5)], values[_rank(len(values), 0.95)]

    @property
    def overall(self) -> tuple[float, float] | None:
        """Median and 95th percentile of the whole session, in milliseconds; None where nothing was."""
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
