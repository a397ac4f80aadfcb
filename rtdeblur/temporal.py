"""Temporal fusion: restored frames are improved with the restored frames before and after them.

What blur has destroyed in one frame is often there in the next, and a model's errors differ from frame to
frame. `rtdeblur.backends.fusion` moves both neighbours onto a frame and takes from them what fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from rtdeblur.backends.base import Backend, BackendWrapper, Pending
from rtdeblur.frames import FrameBatch, Plane, Planes, are_near
from rtdeblur.model import Model, Temporal
from rtdeblur.windows import Mask, Size, tile_edges

if TYPE_CHECKING:
    from rtdeblur.backends.fusion import Fusion

_PASSES = 2
_NOTE = ", temporal"
_BLOCK = 16
"""Side of the squares, in pixels of luma, that stay as they are if the model has changed nothing in them."""


class TemporalBackend(BackendWrapper):
    """Backend wrapper that fuses each restored frame with its neighbours.

    Where the model changed nothing, the frame stays as it is, bit for bit. Frames are neighbours if the
    second follows the first within a quarter of a second; pictures without times have none. The last frame of
    a batch has a neighbour after it only if the next batch is submitted before the batch is waited for, so
    `reach + 1` batches should be in flight.

    Args:
        inner: the wrapped backend, which may be another of these: fused frames have more to give to their
            neighbours than restored ones. Closed by `close`.
        fusion: the fusion; closed by `close`.
    """

    def __init__(self, inner: Backend, fusion: Fusion) -> None:
        super().__init__(inner)
        self.reach = inner.reach + 1
        self._fusion = fusion
        self._flying: list[_Restoring] = []
        self._last: _Restoring | None = None

    @property
    def description(self) -> str:  # type: ignore[override]
        """The inner backend's description, plus that of this stage."""
        return f"{super().description.removesuffix(_NOTE)}{_NOTE}"

    @property
    def fingerprint(self) -> Mapping[str, str]:  # type: ignore[override]
        """The inner backend's fingerprint, plus this stage and its graph."""
        return {**super().fingerprint, "temporal": "on", "temporal graph": self._fusion.sha256}

    @property
    def slots(self) -> int:  # type: ignore[override]
        """What the inner backend has, but at least what it needs."""
        return max(self.reach + 1, super().slots)

    def begin(self) -> None:
        """Start another stream."""
        self._flying.clear()
        self._last = None
        super().begin()

    def observe(self, batch: FrameBatch) -> None:
        """Pass frames that need not be restored to the inner backend; they are no neighbours."""
        self._last = None
        super().observe(batch)

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Restore a batch and fuse its frames."""
        return self.submit(batch)()

    def submit(self, batch: FrameBatch) -> Pending:
        """Start a batch; the returned callable waits for it and fuses its frames."""
        before = self._last
        flying = [one for one in self._flying if not one.has_landed]
        for one in flying[: max(0, len(flying) + 1 - super().slots)]:
            one.result()
        restoring = _Restoring(batch, self._inner.submit(batch))
        self._flying = [*flying, restoring]
        if before and _are_neighbours(before.batch, batch):
            before.after, restoring.before = restoring, before
        self._last = restoring
        return partial(self._land, restoring)

    def close(self) -> None:
        """Close the inner backend and drop the compiled graphs."""
        super().close()
        self._flying.clear()
        self._last = None
        self._fusion.close()

    def _land(self, restoring: _Restoring) -> FrameBatch:
        batch, restored = restoring.batch, restoring.result()
        window = restoring.window()
        first = len(window[0]) if restoring.before else 0
        restoring.before = None  # frees its frames
        times = [pts * batch.time_base for part in window for pts in part.pts]
        touched, wanted = [], []
        for index, frames in enumerate(zip(batch.frames(), restored.frames(), strict=True), first):
            neighbours = _neighbours(times, index)
            if neighbours == (index, index):
                continue
            blocks = _touched(*(frame.planes for frame in frames))
            if blocks.any():
                touched.append(blocks)
                wanted.append((index, *neighbours))
        if not wanted:
            return restored
        planes = tuple(np.concatenate(parts) for parts in zip(*(part.planes for part in window), strict=True))
        blurred = [batch.planes[0][index - first] for index, *_ in wanted]
        size = batch.planes[0].shape[2], batch.planes[0].shape[3]
        tiles = [_tiles(blocks, size) for blocks in touched]
        fused = self._fusion.fuse(cast(Planes, planes), blurred, wanted, tiles, batch.colour)
        results = cast(Planes, tuple(plane.copy() for plane in restored.planes))
        for (index, *_), parts, blocks in zip(wanted, fused, touched, strict=True):
            for plane, part in zip(results, parts, strict=True):
                _put(plane[index - first, 0], part, blocks, size)
        return replace(restored, planes=results)


@dataclass(eq=False)
class _Restoring:
    """A batch that the inner backend restores.

    Attributes:
        batch: the blurred frames.
        before: the batch with the neighbour of its first frame.
        after: the batch with the neighbour of its last frame.
    """

    batch: FrameBatch
    _pending: Pending
    before: _Restoring | None = None
    after: _Restoring | None = None
    _restored: FrameBatch | None = None

    @property
    def has_landed(self) -> bool:
        """Whether the inner backend is done with it."""
        return self._restored is not None

    def result(self) -> FrameBatch:
        """Wait for the restored frames; call first in order of submission."""
        if self._restored is None:
            self._restored = self._pending()
        return self._restored

    def window(self) -> list[FrameBatch]:
        """Return the restored batch between the frames next to it, as far as there are any."""
        outer = [self.before.result().select([-1])] if self.before else []
        return [*outer, self.result(), *([self.after.result().select([0])] if self.after else [])]


def _are_neighbours(before: FrameBatch, batch: FrameBatch) -> bool:
    """Whether a batch continues the one before it."""
    return (
        before.colour == batch.colour
        and all(a.shape[2:] == b.shape[2:] for a, b in zip(before.planes, batch.planes, strict=True))
        and are_near(before.pts[-1] * before.time_base, batch.pts[0] * batch.time_base)
    )


def _neighbours(times: Sequence[Fraction], index: int) -> tuple[int, int]:
    """Return the indices of the frames before and after a frame; its own instead of one that is missing."""
    before, after = (
        place if 0 <= place < len(times) and are_near(times[place], times[index]) else index
        for place in (index - 1, index + 1)
    )
    return before, after


def _touched(before: Planes, after: Planes) -> NDArray[np.bool_]:
    """Find the blocks of a picture in which a plane has changed: (rows, columns) bool."""
    height, width = before[0].shape
    touched = np.zeros((-(-height // _BLOCK), -(-width // _BLOCK)), bool)
    for old, new in zip(before, after, strict=True):
        down, across = _block(old, (height, width))
        changed = np.bitwise_or.reduceat(old ^ new, np.arange(0, old.shape[0], down), axis=0)
        columns = np.bitwise_or.reduceat(changed, np.arange(0, old.shape[1], across), axis=1) != 0
        part = touched[: columns.shape[0], : columns.shape[1]]
        part |= columns[: part.shape[0], : part.shape[1]]
    return touched


def _tiles(touched: NDArray[np.bool_], size: Size) -> Mask:
    """Return the tiles with touched blocks."""
    for axis, side in enumerate(size):
        touched = np.logical_or.reduceat(touched, tile_edges(side) // _BLOCK, axis=axis)
    return touched


def _put(plane: Plane, fused: Plane, touched: NDArray[np.bool_], size: Size) -> None:
    """Replace the touched blocks of a plane."""
    if touched.all():
        plane[...] = fused
        return
    down, across = _block(plane, size)
    where = touched.repeat(down, 0).repeat(across, 1)[: plane.shape[0], : plane.shape[1]]
    np.copyto(plane, fused, where=where)


def _block(plane: Plane, size: Size) -> Size:
    """Return the height and width of a block in a plane of a picture of that size."""
    height, width = (max(1, round(_BLOCK * own / side)) for own, side in zip(plane.shape, size, strict=True))
    return height, width


def with_temporal(backend: Backend, model: Model, temporal: Temporal) -> Backend:
    """Return a backend that fuses frames, or the backend itself.

    Args:
        backend: restores the frames.
        model: the model that it runs.
        temporal: auto, on or off. Auto is on if the model runs on the CPU; on a GPU, frames would have to
            leave its memory.
    """
    is_on = temporal == "on" or (temporal == "auto" and backend.device == "CPU")
    if not (is_on and model.has_graph):
        return backend
    from rtdeblur.backends.fusion import Fusion

    fusion = Fusion()
    for _ in range(_PASSES):
        backend = TemporalBackend(backend, fusion)
    return backend
