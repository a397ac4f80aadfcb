"""How far a build is, from TensorRT's own progress monitor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Progress = Callable[[float, str], None]
"""Takes the share done, 0 to 1, and the name of the phase."""


@dataclass
class _Phase:
    name: str
    parent: str
    steps: int
    done: int = 0


class Phases:
    """Phases nest: a running one counts as part of its parent's current step."""

    def __init__(self) -> None:
        self._running: dict[str, _Phase] = {}
        self._share = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Begin a phase."""
        self._running[name] = _Phase(name, parent or "", max(steps, 1))

    def step(self, name: str, step: int) -> None:
        """End a step, counted from 0, of a phase."""
        if name in self._running:
            self._running[name].done = step + 1

    def finish(self, name: str) -> None:
        """End a phase."""
        self._running.pop(name, None)

    @property
    def share(self) -> float:
        """Of the whole that is done, 0 to 1; never less than it was."""
        self._share = max(self._share, min(1.0, sum(map(self._of, self._children("")))))
        return self._share

    def _of(self, phase: _Phase) -> float:
        inner = max((self._of(child) for child in self._children(phase.name)), default=0.0)
        return min(1.0, (phase.done + inner) / phase.steps)

    def _children(self, parent: str) -> list[_Phase]:
        return [phase for phase in self._running.values() if phase.parent == parent]


def monitor(trt: Any, on_progress: Progress | None) -> Any:
    """Make an IProgressMonitor of a callback.

    Its `error` cancels the build: what the callback raised, or what somebody else put there.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.error: BaseException | None = None
            self._phases = Phases()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases.start(phase_name, parent_phase, num_steps)
            self._tell(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._phases.step(phase_name, step)
            self._tell(phase_name)
            return self.error is None

        def phase_finish(self, phase_name: str) -> None:
            self._phases.finish(phase_name)

        def _tell(self, phase_name: str) -> None:
            if on_progress and self.error is None:
                try:
                    on_progress(self._phases.share, phase_name)
                except BaseException as error:  # must not pass through TensorRT
                    self.error = error

    return Monitor()
