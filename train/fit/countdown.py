"""End and learning rate of a run: after a number of steps, or after minutes of wall time."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning_fabric import Fabric

from train.fit.config import ScheduleOptions
from train.fit.stopwatch import Stopwatch

_SAFETY = 1.5
"""Safety factor for the time of saving and validating."""
_LEAST_RESERVE = 0.5
"""Seconds reserved for closing files and stopping workers."""
_AGREE_EVERY = 10
"""Steps between two agreements of several processes whether to stop; a timed run agrees at every step."""


class Countdown:
    """Steps of a run and their learning rate.

    A timed run stops early enough for its last step, checkpoint and validation to end within its minutes. Any
    run stops after the current step, or a few more, if its first process receives SIGTERM.

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
        self.stopped = False
        """Whether SIGTERM ended the run early, in every process."""
        self._stopping = False

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
        timed, alone = bool(self._options.minutes), self._fabric.world_size == 1
        with self._stopping_on_sigterm():
            for step in itertools.count(first) if timed else range(first, self._options.steps):
                if timed or alone or step % _AGREE_EVERY == 0:
                    share = self._share() if timed else 0.0
                    self.passed, self.stopped = self._fabric.broadcast((share, self._stopping))
                if self.passed >= 1 or self.stopped:
                    return
                yield step

    @contextmanager
    def _stopping_on_sigterm(self) -> Iterator[None]:
        """Note the first SIGTERM; a second one ends the process at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        earlier = signal.getsignal(signal.SIGTERM)

        def stop(signum: int, _: object) -> None:
            self._stopping = True
            signal.signal(signum, earlier)

        signal.signal(signal.SIGTERM, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, earlier)

    def exit_if_stopped(self) -> None:
        """Exit as after SIGTERM if it ended the run early; only in the first process.

        Fabric kills the first process if another one fails.

        Raises:
            SystemExit: the run was stopped.
        """
        if self.stopped and self._fabric.is_global_zero:
            sys.exit(128 + signal.SIGTERM)

    def rate(self, step: int) -> float:
        """Return the factor of the learning rate at a step, counted from 0."""
        return self._options.factor(step, self.passed)

    def _share(self) -> float:
        after = _SAFETY * (self._stopwatch.longest("save") + self._stopwatch.longest("validation"))
        step = self._stopwatch.longest("draw") + self._stopwatch.longest("network")
        end = 60 * self._options.minutes - after - step - _LEAST_RESERVE
        return self.seconds / end if end > 0 else 1.0
