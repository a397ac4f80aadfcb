"""Restores live frames one by one, with the model and working resolution that keep up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial

from rtdeblur.backends.base import Backend
from rtdeblur.ffmpeg.scaler import Scaler
from rtdeblur.frames import Frame, FrameBatch
from rtdeblur.live.ladder import Candidate, Governor, Rung, first_guess, rungs
from rtdeblur.live.meters import Clock
from rtdeblur.strength import FULL, HIGHEST, checked, scale_change

AUTO = "auto"


class LiveRestorer:
    """Runs models for one thread; others may read its attributes and call `next_choice` and `stop`.

    While another model opens in the background, the one before keeps restoring.

    Args:
        choices: AUTO and names of models, in the order of `next_choice`; the first one is used at the start.
        candidates: models that AUTO may choose.
        open_backend: starts the backend of a model, given its name; called in any thread, one at a time.
        clock: source of the time.
        strength: scale of the change, 0 to 2; see `set_strength`.

    Attributes:
        model: name of the model that restored the last frame.
        working_size: (height, width) at which it worked.
        resolution: working height divided by the height of the picture.
        choices: AUTO and names of models, in the order of `next_choice`.
        strength: scale of the change that a model makes; 0 leaves pictures unchanged, bit for bit.
        description: one line about its backend.
        stopped: True once `stop` or `close` was called; polled by backends during long builds.
        unrestored: frames so far that stayed unchanged because a model's output was broken.
    """

    def __init__(
        self,
        choices: Sequence[str],
        candidates: Sequence[Candidate],
        open_backend: Callable[[str], Backend],
        clock: Clock = time.monotonic,
        strength: float = FULL,
    ) -> None:
        self.choices, self._candidates = tuple(choices), candidates
        self.strength, self.resolution = checked(strength), 1.0
        self._open_backend, self._clock = open_backend, clock
        self._choice = 0
        self._governor = Governor(clock)
        self._backends: dict[str, Backend] = {}
        self._opening: dict[str, Future[Backend]] = {}
        self._one_opens = threading.Lock()
        self._ladder: tuple[Rung, ...] = ()
        self._index = 0
        self._met: tuple[Rung, object] | None = None
        self._scaler = Scaler()
        self.model, self.description = self.choices[0], ""
        self.working_size = (0, 0)
        self.stopped = False
        self.unrestored = 0

    @property
    def label(self) -> str:
        """Name of the model, with '(auto)' if auto chose it."""
        return f"{self.model} (auto)" if self.choice == AUTO != self.model else self.model

    def next_choice(self) -> str:
        """Switch to the next choice; may be called from any thread.

        Returns:
            Its name.
        """
        self._choice = (self._choice + 1) % len(self.choices)
        return self.choice

    @property
    def choice(self) -> str:
        """The current choice: AUTO or the name of a model."""
        return self.choices[self._choice]

    def choose(self, name: str) -> None:
        """Switch to a choice; may be called from any thread. An unknown name changes nothing."""
        if name in self.choices:
            self._choice = self.choices.index(name)

    def set_strength(self, value: float) -> None:
        """Scale the change from the next frame on; may be called from any thread.

        Args:
            value: scale; limited to 0..2.
        """
        self.strength = min(HIGHEST, max(0.0, value))

    def start(self) -> None:
        """Open the backend of the first choice, so that problems show before the first frame.

        Raises:
            RtdeblurError: the model or its backend cannot start.
        """
        choice = self.choice
        self._backend(rungs(self._candidates, 1, 1)[-1].model if choice == AUTO else choice)

    def restore(self, frame: Frame, budget: float) -> Frame:
        """Restore a frame, and adapt to how long it takes.

        Args:
            frame: any layout.
            budget: seconds that AUTO may spend on a frame.

        Returns:
            A frame of the same layout.
        """
        choice, strength = self.choice, self.strength
        wanted = rung = self._rung(frame, choice, budget)
        last, self._met = self._met, None  # if this frame fails, the next one waits for its model
        if last and last[1] == frame.layout and not self._is_open(wanted, frame):
            rung = last[0]
        backend = self._backend(rung.model)
        began = self._clock()
        restored = self._run(backend, frame, rung.size)
        seconds = self._clock() - began
        met = (rung, frame.layout)
        # The first frame of a size pays for compiling; opening a model slows all frames meanwhile.
        if met == last and rung == wanted and choice == AUTO:
            self._index = self._governor.observe(seconds, budget)
        self._met, self.model, self.working_size = met, rung.model, rung.size
        self.resolution = rung.size[0] / frame.planes[0].shape[0]
        self.description = backend.description
        planes = scale_change(frame.planes, restored.planes, strength, frame.colour.peak)
        return replace(restored, planes=planes)

    def stop(self) -> None:
        """Abandon long builds, from any thread; `restore` may then raise InterruptedRunError."""
        self.stopped = True

    def close(self) -> None:
        """Release the backends; abandons those that are opening."""
        self.stopped = True
        for opening in self._opening.values():
            if opening.exception() is None:
                opening.result().close()
        for backend in self._backends.values():
            backend.close()
        self._opening.clear()
        self._backends.clear()

    def _rung(self, frame: Frame, choice: str, budget: float) -> Rung:
        height, width = frame.planes[0].shape
        if choice != AUTO:
            return Rung(choice, (height, width), 0.0)
        ladder = rungs(self._candidates, height, width)
        if ladder != self._ladder:
            self._ladder = ladder
            costs = [rung.cost for rung in ladder]
            self._index = self._governor.begin(costs, budget, first_guess(ladder))
        return self._ladder[self._index]

    def _run(self, backend: Backend, frame: Frame, size: tuple[int, int]) -> Frame:
        if size == frame.planes[0].shape:
            return self._infer(backend, frame)
        small = self._scaler.down(frame, size)
        return self._scaler.with_change(frame, small, self._infer(backend, small))

    def _infer(self, backend: Backend, frame: Frame) -> Frame:
        earlier = backend.unrestored
        batch = backend.infer(FrameBatch.stack([frame]))
        self.unrestored += backend.unrestored - earlier
        y, u, v = (plane[0, 0] for plane in batch.planes)
        return replace(frame, planes=(y, u, v))

    def _backend(self, name: str) -> Backend:
        """Return the backend of a model; wait until it is open."""
        if name not in self._backends:
            opening = self._opening.pop(name, None)
            self._backends[name] = opening.result() if opening else self._open(name)
        return self._backends[name]

    def _is_open(self, rung: Rung, frame: Frame) -> bool:
        """Whether a rung's model has been opened, or has failed to; if not, start opening it."""
        if rung.model in self._backends:
            return True
        if rung.model not in self._opening:
            self._opening[rung.model] = _in_background(partial(self._open_for, rung, frame))
        return self._opening[rung.model].done()

    def _open_for(self, rung: Rung, frame: Frame) -> Backend:
        """Open a rung's model and compile it for a frame."""
        backend = self._open(rung.model)
        with suppress(Exception):  # `restore` meets it again
            backend.infer(FrameBatch.stack([Scaler().down(frame, rung.size)]))
        return backend

    def _open(self, name: str) -> Backend:
        with self._one_opens:
            return self._open_backend(name)


def _in_background(call: Callable[[], Backend]) -> Future[Backend]:
    """Start a call in a thread that does not keep the process alive."""
    future: Future[Backend] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # raised again by `result`
            future.set_exception(error)

    threading.Thread(target=run, name="rtdeblur-open", daemon=True).start()
    return future
