"""End and learning rate of a run: after a number of steps, or after minutes of wall time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

from lightning_fabric import Fabric

from train.fit.config import ScheduleOptions
from train.fit.stopwatch import Stopwatch

_SAFETY = 1.5
"""Safety factor for the time of saving and validating."""
_LEAST_RESERVE = 0.5
"""Seconds reserved for closing files and stopping workers."""


class Countdown:
    """Steps of a run and their learning rate.

    A timed run stops early enough for its last step, checkpoint and validation to end within its minutes.

    Args:
        options: the schedule.
        fabric: launched; the clock of its first process is used by all.
        stopwatch: times of `network`, `save` and `validation` so far.
        began: `time.perf_counter()` at the start of the run, minus the time of earlier starts.
    """

    def __init__(self, options: ScheduleOptions, fabric: Fabric, stopwatch: Stopwatch, began: float) -> None:
        self._options, self._fabric, self._stopwatch, self._began = options, fabric, stopwatch, began
        self.passed = 0.0
        """Elapsed fraction of a timed run."""

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, including earlier starts."""
        return time.perf_counter() - self._began

    def over(self, state: dict[str, Any]) -> bool:
        """Whether the run has finished, according to its checkpoint's state."""
        if self._options.minutes:
            return bool(state.get("finished"))
        return bool(state["step"] >= self._options.steps)

    def steps(self, first: int) -> Iterator[int]:
        """Yield step numbers, from `first` on."""
        if not self._options.minutes:
            yield from range(first, self._options.steps)
            return
        for step in itertools.count(first):
            self.passed = float(self._fabric.broadcast(self._share()))
            if self.passed >= 1:
                return
            yield step

    def rate(self, step: int) -> float:
        """Return the factor of the learning rate at a step, counted from 0."""
        return self._options.factor(step, self.passed)

    def _share(self) -> float:
        after = _SAFETY * (self._stopwatch.longest("save") + self._stopwatch.longest("validation"))
        step = self._stopwatch.longest("draw") + self._stopwatch.longest("network")
        end = 60 * self._options.minutes - after - step - _LEAST_RESERVE
        return self.seconds / end if end > 0 else 1.0
