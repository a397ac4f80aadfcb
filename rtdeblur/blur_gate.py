"""Blur gate: restores only tiles in which that changes something visible, and copies the others bit for bit.

Frames are divided into tiles of about 128². If few tiles need restoration, only windows around them are
restored, with enough margin that the network sees their surroundings; otherwise, the whole frame is. The
change fades out towards copied tiles, so that no seam shows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import chain, product
from numbers import Real
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from rtdeblur.backends.base import Backend, BackendWrapper, Pending, check_size
from rtdeblur.errors import UsageError
from rtdeblur.frames import Colour, FrameBatch, Plane, Planes, are_near
from rtdeblur.model import Model
from rtdeblur.windows import SIDE, Mask, Size, are_divisible, cheapest_windows, tile_slices, window_slices

Place = tuple[int, Size, Mask]
"""A frame of the batch, and a window of it."""
_Decided = tuple[Fraction, Mask]
"""Time of a frame in seconds, and the tiles of it that were restored."""
Gate = Literal["auto", "off"] | float
"""Auto, off, or a threshold from 0 to 1."""


class TileEstimate(Protocol):
    """Tells how much tiles need restoration (`rtdeblur.backends.need.NeedEstimate`)."""

    sha256: str

    def of(self, luma: Plane, colour: Colour) -> Sequence[NDArray[np.float64]]:
        """Return the need of each tile of each frame, 0 to 1."""

    def close(self) -> None:
        """Release everything; may be called twice."""


_AT_A_TIME = 2
"""Parts of a batch in flight."""
_FADE = 16
"""Pixels of luma over which the change fades out towards a copied tile."""
_RELEASE = 0.85
"""A restored tile is copied again when its need falls below this share of the threshold."""
_NEIGHBOUR = 0.75
"""Same for the neighbours of restored tiles, into which a moving object may reach."""


class BlurGate(BackendWrapper):
    """Backend wrapper that restores only tiles which need it.

    Args:
        inner: the wrapped backend; closed by `close`.
        model: its model, whose manifest has a threshold.
        estimate: judges the tiles; closed by `close`.
        threshold: need from which a tile is restored, 0 (restore everything) to 1; None for the calibrated
            one.

    Raises:
        UsageError: the model has no calibrated gate.
    """

    tiles = restored_tiles = 0

    def __init__(
        self, inner: Backend, model: Model, estimate: TileEstimate, threshold: float | None = None
    ) -> None:
        calibrated = model.manifest.gate_threshold
        if calibrated is None:
            raise UsageError(
                f"the model {model.name!r} has no calibrated gate; try --gate off, "
                "or calibrate it: python -m train gate"
            )
        super().__init__(inner)
        self._model, self._estimate = model, estimate
        self.threshold = calibrated if threshold is None else threshold
        self._previous: _Decided | None = None

    @property
    def description(self) -> str:  # type: ignore[override]
        """The inner backend's description, plus the threshold."""
        return f"{super().description}, gate {self.threshold:.3g}"

    @property
    def fingerprint(self) -> Mapping[str, str]:  # type: ignore[override]
        """The inner backend's fingerprint, plus the threshold and the graph of the estimate."""
        return {**super().fingerprint, "gate": f"{self.threshold:g}", "gate graph": self._estimate.sha256}

    @property
    def slots(self) -> int:  # type: ignore[override]
        """Half of the inner backend's: a batch may become two, of whole frames and of windows."""
        return max(1, super().slots // 2)

    @property
    def memory(self) -> object:
        """The time of the previous frame and the tiles restored in it."""
        return self._previous

    def begin(self) -> None:
        """Forget the previous frames."""
        self._previous = None
        super().begin()

    def recall(self, memory: object) -> None:
        """Remember the previous frame."""
        self._previous = cast("_Decided | None", memory)

    def observe(self, batch: FrameBatch) -> None:
        """Take decisions about frames without restoring them."""
        self._decide(batch)

    def close(self) -> None:
        """Close the inner backend and the estimate."""
        super().close()
        self._estimate.close()

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Restore the tiles of a batch that need it."""
        return self.submit(batch)()

    def submit(self, batch: FrameBatch) -> Pending:
        """Decide about a batch and start what needs restoration; the returned callable waits for it."""
        check_size(batch.planes[0].shape[2:], self._model)
        masks = self._decide(batch)
        self.tiles += sum(mask.size for mask in masks)
        self.restored_tiles += sum(int(mask.sum()) for mask in masks)
        if all(mask.all() for mask in masks):
            return self._inner.submit(batch)
        if not any(mask.any() for mask in masks):
            return lambda: batch
        size = cast(Size, batch.planes[0].shape[2:])
        is_divisible = are_divisible(batch.planes)
        heights, widths = ((min(SIDE, side), side) for side in size)
        shapes = [*product(heights, widths)]  # few, because backends compile a graph for each
        whole: list[Place] = []
        parts: dict[Size, list[Place]] = defaultdict(list)
        for i, mask in enumerate(masks):
            shape, windows = cheapest_windows(mask, size, shapes) if is_divisible else (size, None)
            if windows is None:
                whole.append((i, (0, 0), mask))
            else:
                parts[shape] += [(i, *window) for window in windows]
        jobs = [(whole, batch.select([i for i, *_ in whole]))] if whole else []
        jobs += [(places, _cut(batch, places, shape)) for shape, places in parts.items() if places]
        started = [(places, self._inner.submit(part)) for places, part in jobs[:_AT_A_TIME]]

        def landed() -> FrameBatch:
            planes = cast(Planes, tuple(plane.copy() for plane in batch.planes))
            later = ((places, self._inner.submit(part)) for places, part in jobs[_AT_A_TIME:])
            for places, pending in chain(started, later):
                for (i, corner, tiles), *new in zip(places, *pending().planes, strict=True):
                    _paste([p[i, 0] for p in planes], [p[0] for p in new], tiles, masks[i], corner, size)
            return replace(batch, planes=planes)

        return landed

    def _decide(self, batch: FrameBatch) -> list[Mask]:
        """Return the tiles to restore of each frame, with hysteresis over time and space."""
        masks = []
        needs = self._estimate.of(batch.planes[0], batch.colour)
        for pts, need in zip(batch.pts, needs, strict=True):
            seconds, before = pts * batch.time_base, None
            if self._previous is not None:
                earlier, restored = self._previous
                before = restored if are_near(earlier, seconds) and restored.shape == need.shape else None
            mask = tiles_to_restore(need, self.threshold, before)
            self._previous = seconds, mask
            masks.append(mask)
        return masks


def tiles_to_restore(need: NDArray[np.float64], threshold: float, before: Mask | None = None) -> Mask:
    """Decide by need, with hysteresis over time and space.

    Args:
        need: of each tile, 0 to 1.
        threshold: need from which a tile is restored.
        before: tiles restored in the previous frame.
    """
    mask: Mask = need >= threshold
    if before is not None:
        mask |= before & (need >= _RELEASE * threshold)
    return mask | (_neighbours(mask) & (need >= _NEIGHBOUR * threshold))


def _neighbours(mask: Mask) -> Mask:
    """Tiles next to a tile of the mask, also diagonally, and those of the mask."""
    padded = np.pad(mask, 1)
    wide = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    return wide[:-2] | wide[1:-1] | wide[2:]


def with_gate(backend: Backend, model: Model, gate: Gate) -> Backend:
    """Return a backend with a blur gate in front of it, or the backend itself.

    Args:
        backend: runs the model.
        model: the model.
        gate: off; a threshold from 0 to 1; or auto, which is the calibrated threshold if there is one and the
            model runs on the CPU: a GPU would need an engine for windows, and restores a frame in the time
            that a decision takes.

    Raises:
        UsageError: the threshold is out of range, or the model has no calibrated gate; the backend is closed.
    """
    try:
        if checked(gate) == "off":
            return backend
        is_useful = model.manifest.gate_threshold is not None and backend.device == "CPU"
        if gate == "auto" and not is_useful:
            return backend
        from rtdeblur.backends.need import NeedEstimate  # loads OpenVINO

        return BlurGate(backend, model, NeedEstimate(), None if gate == "auto" else cast(float, gate))
    except UsageError:
        backend.close()
        raise


def checked(gate: Gate) -> Gate:
    """Check a gate and return it.

    Raises:
        UsageError: it is neither auto, nor off, nor a number from 0 to 1.
    """
    if gate in ("auto", "off") or (isinstance(gate, Real) and 0 <= gate <= 1):
        return gate
    raise UsageError(f"gate is {gate!r}, expected auto, off, or 0 (restore everything) to 1 (nothing)")


def _cut(batch: FrameBatch, places: Sequence[Place], shape: Size) -> FrameBatch:
    """Cut one window of a shape per place out of a batch."""
    size = batch.planes[0].shape[2:]
    cut = []
    for plane in batch.planes:
        own = plane.shape[2:]
        cut.append(
            np.stack([plane[i][:, *window_slices(corner, shape, size, own)] for i, corner, _ in places])
        )
    frames = [i for i, *_ in places]
    pts, nothing = tuple(batch.pts[i] for i in frames), (None,) * len(frames)
    return FrameBatch(cast(Planes, tuple(cut)), pts, batch.time_base, batch.colour, nothing)


def _paste(
    into: Sequence[Plane], restored: Sequence[Plane], tiles: Mask, mask: Mask, corner: Size, size: Size
) -> None:
    """Copy restored tiles into a frame, fading the change out towards copied tiles.

    Args:
        into: planes of the frame, each (H, W); changed in place.
        restored: planes of the frame or of a window of it.
        tiles: tiles to copy.
        mask: tiles of the frame that are restored, from here or elsewhere.
        corner: top left corner of the window in the frame, (row, column) in luma pixels.
        size: (height, width) of the frame's luma.
    """
    around = np.pad(mask, 1, mode="edge")
    for row, column in np.argwhere(tiles):
        copied = ~around[row : row + 3, column : column + 3]
        for old, new in zip(into, restored, strict=True):
            place, within = tile_slices((row, column), size, old.shape, corner)
            before, after = old[place], new[within]
            if copied.any() and before.size:
                fade = (_FADE * old.shape[0] / size[0], _FADE * old.shape[1] / size[1])
                share = _shares(before.shape, fade, copied.tobytes())
                change = np.subtract(after, before, dtype=np.float32) * share
                after = np.rint(before + change).astype(before.dtype)
            before[...] = after


@lru_cache(maxsize=128)
def _shares(shape: Size, fade: tuple[float, float], copied: bytes) -> NDArray[np.float32]:
    """Share of the change at each sample of a tile: 1 inside, falling to 0 next to copied tiles.

    Args:
        shape: shape of the tile.
        fade: samples over which it falls, down and across.
        copied: (3, 3) bools of the tile's neighbours.
    """
    ramps = []
    for length, reach in zip(shape, fade, strict=True):
        rising = np.minimum((np.arange(length, dtype=np.float32) + 0.5) / np.float32(reach), 1)
        ramps.append((rising, np.zeros(length, np.float32), rising[::-1]))
    share = np.ones(shape, np.float32)
    for (row, column), is_copied in np.ndenumerate(np.frombuffer(copied, np.bool_).reshape(3, 3)):
        if is_copied:
            np.minimum(share, np.maximum(ramps[0][row][:, None], ramps[1][column]), out=share)
    return share
