"""Frames are restored at full, half or quarter resolution; auto takes what removes more error."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.errors import UsageError
from rtdeblur.frames import Colour, FrameBatch
from rtdeblur.model import Manifest, Model, Resolution
from rtdeblur.resolution import ReducedBackend, with_resolution

MODEL = Model(Manifest(1, "sharper", "0" * 64, {}, 16, "fp32", "off", "MIT"), b"graph", None)  # type: ignore[arg-type]


class Sharper(IdentityBackend):
    """Adds to luma what is set for the height of a frame, else 10; notes the shapes of its batches."""

    def __init__(self, changes: dict[int, int] | None = None) -> None:
        self.changes, self.closed = changes or {}, False
        self.shapes: list[tuple[int, ...]] = []

    def infer(self, batch: FrameBatch) -> FrameBatch:
        self.shapes.append(batch.planes[0].shape)
        y, u, v = batch.planes
        return replace(batch, planes=(y + y.dtype.type(self.changes.get(y.shape[2], 10)), u, v))

    def close(self) -> None:
        self.closed = True


def frames(size: tuple[int, int], n: int = 1, depth: int = 8) -> FrameBatch:
    rng = np.random.default_rng(0)
    colour, dtype = Colour(bit_depth=depth), np.uint8 if depth == 8 else np.uint16
    shapes = (size, *2 * [(-(-size[0] // 2), -(-size[1] // 2))])
    y, u, v = (rng.integers(60, 180, (n, 1, *shape)).astype(dtype) for shape in shapes)
    return FrameBatch((y, u, v), tuple(range(n)), Fraction(1, 25), colour, tuple("abcdefgh"[:n]))


def change(before: FrameBatch, after: FrameBatch) -> np.ndarray:
    return after.planes[0].astype(int) - before.planes[0]


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("size", [(360, 640), (361, 643)])
@pytest.mark.parametrize(("resolution", "divisor"), [("half", 2), ("quarter", 4)])
def test_the_change_of_a_reduced_copy_is_added_to_the_frame(
    resolution: Resolution, divisor: int, size: tuple[int, int], depth: int
) -> None:
    inner, batch = Sharper(), frames(size, 3, depth)
    restored = ReducedBackend(inner, MODEL, resolution).infer(batch)
    (shape,) = inner.shapes
    assert shape[0] == 3
    for side, own in zip(shape[2:], size, strict=True):
        assert side % 2 == 0
        assert abs(side - own / divisor) <= 1
    assert np.abs(change(batch, restored) - 10).max() <= 1  # the detail of the frame is still there
    assert all((a == b).all() for a, b in zip(batch.planes[1:], restored.planes[1:], strict=True))
    assert (restored.pts, restored.carriers, restored.colour) == (batch.pts, batch.carriers, batch.colour)


def test_small_frames_are_reduced_less() -> None:
    inner = Sharper()
    backend = ReducedBackend(inner, MODEL, "quarter")
    for height in (256, 248, 128, 120):
        backend.infer(frames((height, 300)))
    assert [shape[2] for shape in inner.shapes] == [64, 124, 64, 120]


@pytest.mark.parametrize(("at_half", "halved"), [(9, False), (10, False), (12, True)])
def test_auto_takes_the_change_of_more_energy(at_half: int, halved: bool) -> None:
    inner, batch = Sharper({1080: 10, 540: at_half}), frames((1080, 1440), 3)
    backend = ReducedBackend(inner, MODEL, "auto")
    restored = backend.infer(batch)
    assert np.abs(change(batch, restored) - (at_half if halved else 10)).max() <= (1 if halved else 0)
    assert inner.shapes[:2] == [(1, 1, 1080, 1440), (1, 1, 540, 720)]  # of the first frame
    assert inner.shapes[2:] == [(2, 1, 540, 720) if halved else (2, 1, 1080, 1440)]  # and the others
    assert backend.halved == (3 if halved else 0)
    assert (restored.pts, restored.carriers) == (batch.pts, batch.carriers)


def test_auto_leaves_smaller_frames_at_full_resolution() -> None:
    inner = Sharper({720: 10, 360: 90})
    backend = ReducedBackend(inner, MODEL, "auto")
    backend.infer(frames((720, 1280), 2))
    assert inner.shapes == [(2, 1, 720, 1280)]
    assert backend.halved == 0


def test_full_resolution_and_other_devices_need_no_wrapper() -> None:
    inner = Sharper()
    assert with_resolution(inner, MODEL, "full") is inner
    assert isinstance(with_resolution(inner, MODEL, "auto"), ReducedBackend)
    inner.device = "NVIDIA RTX"
    assert with_resolution(inner, MODEL, "auto") is inner
    assert isinstance(with_resolution(inner, MODEL, "half"), ReducedBackend)
    assert with_resolution(inner, Model.load("identity"), "half") is inner


def test_an_unknown_resolution_is_refused_and_the_backend_closed() -> None:
    inner = Sharper()
    with pytest.raises(UsageError, match="resolution is 'third', expected auto, full, half, quarter"):
        with_resolution(inner, MODEL, "third")  # type: ignore[arg-type]
    assert inner.closed


def test_the_resolution_is_part_of_what_affects_the_bytes() -> None:
    half, auto = (ReducedBackend(Sharper(), MODEL, resolution) for resolution in ("half", "auto"))
    assert half.fingerprint["resolution"] == "half"
    assert half.description.endswith(", half resolution")
    assert auto.fingerprint["resolution"] == "auto"
    assert "resolution" not in auto.description
