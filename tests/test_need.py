"""The estimate of how much tiles need restoration."""

from __future__ import annotations

import numpy as np
import pytest

from rtdeblur.frames import Colour
from rtdeblur.model import BEST_MODEL, DEFAULT_MODEL, GATE_FEATURES, Model
from rtdeblur.need import features_of, need_of, tile_edges


def texture(size: tuple[int, int], taps: int = 1, seed: int = 0) -> np.ndarray:
    """Blocks of random brightness, blurred along rows by `taps` pixels: limited range, float."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(40, 210, (-(-size[0] // 6), -(-(size[1] + taps) // 6)))
    sharp = small.repeat(6, axis=0).repeat(6, axis=1)[: size[0], : size[1] + taps - 1]
    kernel = np.ones(taps) / taps
    return np.stack([np.convolve(row, kernel, "valid") for row in sharp])


def need(luma: np.ndarray, colour: Colour | None = None) -> np.ndarray:
    fit = Model.load(DEFAULT_MODEL).manifest.gate
    assert fit is not None
    return need_of(features_of(luma, colour or Colour()), fit)


@pytest.mark.parametrize(
    ("length", "edges"),
    [(720, [0, 128, 256, 384, 512, 640]), (130, [0]), (192, [0, 128]), (191, [0]), (16, [0]), (128, [0])],
)
def test_a_short_rest_belongs_to_the_tile_before(length: int, edges: list[int]) -> None:
    assert tile_edges(length).tolist() == edges


def test_blurred_tiles_need_restoration_and_sharp_ones_do_not() -> None:
    size = (256, 384)
    threshold = Model.load(DEFAULT_MODEL).manifest.gate.threshold  # type: ignore[union-attr]
    assert (need(texture(size).astype(np.uint8)) < threshold).all()
    assert (need(texture(size, 15).astype(np.uint8)) > threshold).all()


@pytest.mark.parametrize("level", [16, 90, 235])
@pytest.mark.parametrize("model", [DEFAULT_MODEL, BEST_MODEL])
def test_tiles_without_contrast_need_nothing(model: str, level: int) -> None:
    fit = Model.load(model).variant("int8").manifest.gate
    assert fit is not None
    dither = np.indices((256, 384)).sum(axis=0) % 2  # as of a faded frame
    for luma in (np.full((256, 384), level), level + dither):
        assert not need_of(features_of(luma.astype(np.uint8), Colour()), fit).any()


def test_a_soft_tile_of_a_sharp_frame_needs_less_than_one_of_a_blurred_frame() -> None:
    """It may well be soft by itself."""
    size = (384, 640)
    soft, sharp, blurred = (texture(size, taps).astype(np.uint8) for taps in (4, 1, 15))
    for frame in (sharp, blurred):
        frame[128:256, 256:384] = soft[128:256, 256:384]
    assert need(sharp)[1, 2] < 0.5 * need(blurred)[1, 2]


def test_need_follows_the_picture_through_bit_depth_and_range() -> None:
    picture = texture((200, 300), 9)
    eight = need(picture.astype(np.uint8))
    ten = need((picture * 4).astype(np.uint16), Colour(bit_depth=10))
    full = need(((picture - 16) * 255 / 219).astype(np.uint8), Colour(full_range=True))
    np.testing.assert_allclose(ten, eight, atol=0.1)
    np.testing.assert_allclose(full, eight, atol=0.1)


def test_need_does_not_depend_on_the_direction_of_blur() -> None:
    picture = texture((256, 256), 11).astype(np.uint8)
    np.testing.assert_allclose(need(picture), need(np.ascontiguousarray(picture.T)).T, atol=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (17, 300), (301, 19), (129, 191)])
def test_frames_of_any_size_have_features(size: tuple[int, int]) -> None:
    features = features_of(texture(size).astype(np.uint8), Colour())
    assert features.shape == (*(len(tile_edges(side)) for side in size), GATE_FEATURES)
    assert np.isfinite(features).all()
