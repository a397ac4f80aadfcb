"""The estimate of how much tiles need restoration."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from rtdeblur.backends.need import NeedEstimate
from rtdeblur.frames import Colour
from rtdeblur.model import BEST_MODEL, DEFAULT_MODEL, Model
from rtdeblur.windows import tile_edges


@pytest.fixture(scope="module")
def estimate() -> Iterator[NeedEstimate]:
    found = NeedEstimate()
    yield found
    found.close()


def texture(size: tuple[int, int], taps: int = 1, seed: int = 0) -> np.ndarray:
    """Blocks of random brightness, blurred along rows by `taps` pixels: limited range, float."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(40, 210, (-(-size[0] // 6), -(-(size[1] + taps) // 6)))
    sharp = small.repeat(6, axis=0).repeat(6, axis=1)[: size[0], : size[1] + taps - 1]
    kernel = np.ones(taps) / taps
    return np.stack([np.convolve(row, kernel, "valid") for row in sharp])


def need(estimate: NeedEstimate, luma: np.ndarray, colour: Colour | None = None) -> np.ndarray:
    (found,) = estimate.of(np.ascontiguousarray(luma)[None, None], colour or Colour())
    return found


@pytest.mark.parametrize("model", [DEFAULT_MODEL, BEST_MODEL])
def test_blurred_tiles_need_restoration_and_sharp_ones_do_not(model: str, estimate: NeedEstimate) -> None:
    size = (256, 384)
    threshold = Model.load(model).variant("int8").manifest.gate_threshold
    assert threshold is not None
    assert (need(estimate, texture(size).astype(np.uint8)) < threshold).all()
    assert (need(estimate, texture(size, 15).astype(np.uint8)) > threshold).all()


def test_tiles_without_contrast_need_nothing(estimate: NeedEstimate) -> None:
    dither = np.indices((160, 272)).sum(axis=0) % 2  # as of a faded frame
    for level in range(0, 255, 6):
        for luma in (np.full((160, 272), level), level + dither):
            assert (need(estimate, luma.astype(np.uint8)) < 0.2).all(), level


def test_need_follows_the_picture_through_bit_depth_and_range(estimate: NeedEstimate) -> None:
    picture = texture((200, 300), 9)
    eight = need(estimate, picture.astype(np.uint8))
    ten = need(estimate, (picture * 4).astype(np.uint16), Colour(bit_depth=10))
    full = need(estimate, ((picture - 16) * 255 / 219).astype(np.uint8), Colour(full_range=True))
    np.testing.assert_allclose(ten, eight, atol=0.1)
    np.testing.assert_allclose(full, eight, atol=0.1)


@pytest.mark.parametrize("size", [(16, 16), (17, 300), (301, 19), (129, 191)])
def test_frames_of_any_size_have_a_need(size: tuple[int, int], estimate: NeedEstimate) -> None:
    found = need(estimate, texture(size).astype(np.uint8))
    assert found.shape == tuple(len(tile_edges(side)) for side in size)
    assert ((found >= 0) & (found < 1)).all()


def test_frames_of_a_batch_are_judged_alone(estimate: NeedEstimate) -> None:
    frames = np.stack([texture((144, 272), taps, taps) for taps in (1, 5, 15)]).astype(np.uint8)
    together = estimate.of(frames[:, None], Colour())
    for frame, found in zip(frames, together, strict=True):
        assert np.array_equal(need(estimate, frame), found)


def test_a_tile_has_the_mean_of_its_blocks(estimate: NeedEstimate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 8 × 8 blocks; the rest at the right, of 5 blocks, is one, that at the bottom, of 2, is not."""
    blocks = np.zeros((1, 10, 13), np.float32)
    blocks[0, 9, :8] = 30
    blocks[0, 0, 12] = 150
    monkeypatch.setattr(estimate._graph, "run", lambda feeds: [[blocks] for _ in feeds])
    found = need(estimate, np.zeros((160, 200), np.uint8))
    np.testing.assert_allclose(found, [[3 / (3 + 3), 3 / (3 + 3)]])
