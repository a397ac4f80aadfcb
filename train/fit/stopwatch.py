"""Stopwatch for the parts of a run."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Iterator

_RECENT = 20
"""Number of recent times kept per part."""


class Stopwatch:
    """Measures the parts of a run by name.

    Attributes:
        totals: seconds per part since the start of the run.
    """

    def __init__(self) -> None:
        self.totals: defaultdict[str, float] = defaultdict(float)
        self._recent: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Time a block, even if it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self.totals[name] += seconds
            self._recent[name].append(seconds)

    def longest(self, name: str) -> float:
        """Return the longest recent time of a part in seconds; 0 if it has not run."""
        return max(self._recent[name], default=0.0)
