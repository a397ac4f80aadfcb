"""Conversion of planes to BGR, compared with the arithmetic of `Colour`."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from rtdeblur.frames import Colour, Frame, Matrix
from rtdeblur.live.image import to_bgr

SIZE = (66, 98)


def smooth() -> NDArray[np.float64]:
    """R'G'B' in 0.1..0.9, smooth enough for chroma of a quarter of the size: (H, W, 3)."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]] / np.array(SIZE)[:, None, None]
    return np.stack([x * 0.8 + 0.1, y * 0.8 + 0.1, 0.9 - x * 0.5 - y * 0.3], -1)


def frame_of(rgb: NDArray[np.float64], colour: Colour, across: int = 1, down: int = 1) -> Frame:
    matrix = colour.rgb_to_yuv()
    yuv = np.clip(rgb @ matrix[:, :3].T + matrix[:, 3], 0, colour.peak)
    dtype = np.uint8 if colour.bit_depth == 8 else np.uint16
    rows, columns = rgb.shape[0] // down, rgb.shape[1] // across
    chroma = yuv[: rows * down, : columns * across, 1:].reshape(rows, down, columns, across, 2).mean((1, 3))
    y, u, v = (np.round(plane).astype(dtype) for plane in (yuv[..., 0], chroma[..., 0], chroma[..., 1]))
    return Frame((y, u, v), 0, Fraction(1, 25), colour)


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(("bit_depth", "across", "down"), [(8, 2, 2), (10, 1, 1), (16, 2, 1)])
def test_colours_are_those_of_the_matrix(
    matrix: Matrix, full_range: bool, bit_depth: int, across: int, down: int
) -> None:
    rgb = smooth()
    bgr = to_bgr(frame_of(rgb, Colour(matrix, full_range, bit_depth), across, down))
    error = np.abs(bgr[..., ::-1] - rgb * 255)
    assert bgr.shape == (*SIZE, 3)
    assert bgr.dtype == np.uint8
    # Rounding of 8-bit code values and of chroma, and the position of chroma samples.
    assert error.max() < 4
    assert error.mean() < 0.7


def test_a_wrong_matrix_would_be_detected() -> None:
    frame = frame_of(smooth(), Colour("bt601"))
    wrong = Frame(frame.planes, 0, frame.time_base, Colour("bt709"))
    assert np.abs(to_bgr(frame).astype(int) - to_bgr(wrong)).max() > 10


@pytest.mark.parametrize("chroma", [(2, 1), (4, 1), (4, 4)])
def test_odd_sizes_and_rare_chroma_formats_are_converted(chroma: tuple[int, int]) -> None:
    across, down = chroma
    height, width = 65, 97
    planes = [np.full((height, width), 126, np.uint8)]
    planes += [np.full((-(-height // down), -(-width // across)), 128, np.uint8)] * 2
    bgr = to_bgr(Frame((planes[0], planes[1], planes[2]), 0, Fraction(1, 25), Colour()))
    assert (bgr == 128).all()


def test_gray_stays_gray() -> None:
    neutral = np.full((1, 1), 128, np.uint8)
    y = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    bgr = to_bgr(Frame((y, neutral, neutral), 0, Fraction(1, 25), Colour(full_range=True)))
    assert (bgr == y[..., None]).all()


@pytest.mark.parametrize("size", [(33, 49), (132, 196), (40, 98)])
def test_frames_are_scaled(size: tuple[int, int]) -> None:
    bgr = to_bgr(frame_of(smooth(), Colour(), 2, 2), size)
    assert bgr.shape == (*size, 3)
    middle = bgr[size[0] // 2, size[1] // 2, ::-1] / 255
    assert middle == pytest.approx([0.5, 0.5, 0.5], abs=0.02)
