"""Working resolution: long blur is restored in a reduced copy, whose change is added to the full picture.

A model knows blur as long as what it was trained on. Longer blur, as in 4K video, is shorter in a reduced
copy, which also takes a fraction of the time. The picture keeps its own resolution, and the detail that the
blur has left.

Which of two results is better can be told without the sharp picture. A model that minimises the squared error
approximates the conditional mean, whose error is orthogonal to its change; so the energy of the change is the
squared error that it removes (orthogonality principle; Kay, Fundamentals of Statistical Signal Processing:
Estimation Theory, 1993, section 12.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from rtdeblur.backends.base import Backend, BackendWrapper, Pending
from rtdeblur.errors import UsageError
from rtdeblur.ffmpeg.scaler import Scaler
from rtdeblur.frames import FrameBatch, Planes
from rtdeblur.model import Model, Resolution, check_choice

_DIVISORS = {"full": 1, "half": 2, "quarter": 4}
_LEAST_SIDE = 64
"""Shortest side of a reduced copy, pixels; smaller frames are reduced less."""
_LEAST_LINES = 1000
"""Shortest side from which auto compares: below it, blur is seldom too long for the full resolution."""
_ADVANTAGE = 1.1
"""Energy of the change at half resolution over that at full resolution, from which auto takes the half."""


class ReducedBackend(BackendWrapper):
    """Backend wrapper that restores reduced copies of frames, and adds their change to the frames.

    Auto restores the first frame of a batch at full and at half resolution, and the others at the better one.

    Args:
        inner: the wrapped backend; closed by `close`.
        model: its model.
        resolution: auto, half or quarter.
    """

    def __init__(self, inner: Backend, model: Model, resolution: Resolution) -> None:
        super().__init__(inner)
        self._least_side = max(_LEAST_SIDE, model.manifest.stride)
        self._resolution, self._scaler = resolution, Scaler()
        self._halved = 0

    @property
    def description(self) -> str:  # type: ignore[override]
        """The inner backend's description, plus the resolution unless it is auto."""
        note = "" if self._resolution == "auto" else f", {self._resolution} resolution"
        return super().description + note

    @property
    def fingerprint(self) -> Mapping[str, str]:  # type: ignore[override]
        """The inner backend's fingerprint, plus the resolution."""
        return {**super().fingerprint, "resolution": self._resolution}

    @property
    def halved(self) -> int:  # type: ignore[override]
        """Frames for which auto chose half resolution."""
        return self._halved

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Restore a batch."""
        return self.submit(batch)()

    def submit(self, batch: FrameBatch) -> Pending:
        """Start a batch; the returned callable waits for it."""
        least = min(batch.planes[0].shape[2:])
        if self._resolution == "auto":
            return self._compare(batch) if least >= _LEAST_LINES else self._inner.submit(batch)
        divisor = _DIVISORS[self._resolution]
        while divisor > 1 and least < self._least_side * divisor:
            divisor //= 2
        return self._start(batch, divisor)

    def _compare(self, batch: FrameBatch) -> Pending:
        """Start the first frame at both resolutions; the others follow when these have landed."""
        first = batch.select([0])
        trials = [self._start(first, divisor) for divisor in (1, 2)]

        def landed() -> FrameBatch:
            results = [trial() for trial in trials]
            full, half = (_energy(first, result) for result in results)
            divisor = 2 if half > _ADVANTAGE * full else 1
            if divisor == 2:
                self._halved += len(batch)
            parts = [results[divisor - 1]]
            if len(batch) > 1:
                parts.append(self._start(batch.select(range(1, len(batch))), divisor)())
            planes = zip(*(part.planes for part in parts), strict=True)
            return replace(batch, planes=cast(Planes, tuple(np.concatenate(plane) for plane in planes)))

        return landed

    def _start(self, batch: FrameBatch, divisor: int) -> Pending:
        if divisor == 1:
            return self._inner.submit(batch)
        size = _even(batch.planes[0].shape[2:], divisor)
        small = [self._scaler.down(frame, size) for frame in batch.frames()]
        pending = self._inner.submit(FrameBatch.stack(small))

        def landed() -> FrameBatch:
            parts = zip(batch.frames(), small, pending().frames(), strict=True)
            return FrameBatch.stack([self._scaler.with_change(*part) for part in parts])

        return landed


def _even(size: Sequence[int], divisor: int) -> tuple[int, int]:
    """Divide height and width to even numbers, which every chroma subsampling of video allows."""
    height, width = (2 * round(side / divisor / 2) for side in size)
    return height, width


def _energy(before: FrameBatch, after: FrameBatch) -> float:
    """Energy of the change of luma."""
    change = np.subtract(after.planes[0], before.planes[0], dtype=np.float32)
    return float(np.vdot(change, change))


def with_resolution(backend: Backend, model: Model, resolution: Resolution) -> Backend:
    """Return a backend that works at a resolution, or the backend itself for the full one.

    Args:
        backend: runs the model.
        model: the model.
        resolution: auto, full, half or quarter. Auto is full on a GPU, which would need another engine.

    Raises:
        UsageError: there is no such resolution; the backend is closed.
    """
    try:
        check_choice("resolution", resolution, Resolution)
    except UsageError:
        backend.close()
        raise
    is_full = resolution == "full" or (resolution == "auto" and backend.device != "CPU")
    return backend if is_full or not model.has_graph else ReducedBackend(backend, model, resolution)
