"""The estimate of blur: larger for more blur, in any direction, at any depth and size."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rtdeblur.blur import blur_of


def scene(height: int = 240, width: int = 320) -> NDArray[np.float64]:
    """Blocks of random grey with fine texture, 20 to 235."""
    rng = np.random.default_rng(4)
    blocks = rng.uniform(40, 215, (-(-height // 12), -(-width // 12)))
    return blocks.repeat(12, 0).repeat(12, 1)[:height, :width] + rng.normal(0, 4, (height, width))


def smeared(picture: NDArray[np.float64], length: int, step: tuple[int, int]) -> NDArray[np.float64]:
    return np.mean([np.roll(picture, (i * step[0], i * step[1]), (0, 1)) for i in range(length)], axis=0)


@pytest.mark.parametrize("step", [(0, 1), (1, 0), (1, 1)], ids=["across", "down", "diagonal"])
def test_more_motion_is_more_blur(step: tuple[int, int]) -> None:
    blurs = [blur_of(smeared(scene(), length, step).astype(np.uint8)) for length in (1, 3, 5, 9, 15)]
    assert blurs == sorted(blurs)
    assert blurs[0] < 0.4
    assert blurs[-1] > 0.6


def test_depth_and_brightness_do_not_matter() -> None:
    picture = smeared(scene(), 5, (0, 1))
    eight = blur_of(picture.astype(np.uint8))
    assert blur_of((picture * 257).astype(np.uint16)) == pytest.approx(eight, abs=0.02)
    assert blur_of((picture / 2).astype(np.uint8)) == pytest.approx(eight, abs=0.03)


def test_a_large_picture_is_estimated_like_a_part_of_it() -> None:
    large = smeared(scene(1080, 1920), 5, (0, 1)).astype(np.uint8)
    assert blur_of(large) == pytest.approx(blur_of(large[:400, :600]), abs=0.03)


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (1, 400), (400, 1), (64, 64)])
def test_a_flat_or_tiny_picture_is_not_an_error(shape: tuple[int, int]) -> None:
    assert blur_of(np.full(shape, 99, np.uint8)) == 0


def test_restoring_lowers_the_estimate() -> None:
    import rtdeblur

    picture = smeared(scene(), 7, (0, 1)).astype(np.uint8)
    rgb = np.repeat(picture[..., None], 3, axis=-1)
    assert blur_of(rtdeblur.restore(rgb)[..., 1]) < blur_of(picture) - 0.02
