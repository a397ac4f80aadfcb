"""Where the time of a run goes."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Iterator

_RECENT = 20
"""Times of each kind that are remembered."""


class Stopwatch:
    """Times the parts of a run by name.

    Attributes:
        totals: seconds of each part since the run began.
    """

    def __init__(self) -> None:
        self.totals: defaultdict[str, float] = defaultdict(float)
        self._recent: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Time a block; a block that fails counts too."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self.totals[name] += seconds
            self._recent[name].append(seconds)

    def longest(self, name: str) -> float:
        """Longest of the last times of a part, seconds; 0 if it has not run."""
        return max(self._recent[name], default=0.0)
