from fractions import Fraction

import numpy as np
import pytest

from rtdeblur.frames import Colour, Frame, FrameBatch


@pytest.mark.parametrize(
    ("colour", "yuv", "rgb"),
    [
        # Black, white and 75 % red of the usual colour bars, ITU-R BT.601 and BT.709 in 8 and 10 bits.
        (Colour("bt709"), (16, 128, 128), (0, 0, 0)),
        (Colour("bt709"), (235, 128, 128), (1, 1, 1)),
        (Colour("bt709", bit_depth=10), (940, 512, 512), (1, 1, 1)),
        (Colour("bt601", full_range=True), (255, 128, 128), (1, 1, 1)),
        (Colour("bt601"), (65, 100, 212), (0.75, 0, 0)),
        (Colour("bt709"), (51, 109, 212), (0.75, 0, 0)),
    ],
)
def test_conversions_match_reference_colours(
    colour: Colour, yuv: tuple[int, ...], rgb: tuple[float, ...]
) -> None:
    got = colour.yuv_to_rgb() @ np.array([*yuv, 1])
    # Code values are rounded to integers: half a level of 224 in chroma, times at most 1.9.
    np.testing.assert_allclose(got, rgb, atol=0.5 / 219 + 1.9 * 0.5 / 224)


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("bit_depth", [8, 10, 12])
def test_the_two_matrices_are_inverse(matrix: str, full_range: bool, bit_depth: int) -> None:
    colour = Colour(matrix, full_range, bit_depth)  # type: ignore[arg-type]
    rgb = np.random.default_rng(0).random((3, 50))
    yuv = colour.rgb_to_yuv() @ np.vstack([rgb, np.ones(50)])
    back = colour.yuv_to_rgb() @ np.vstack([yuv, np.ones(50)])
    np.testing.assert_allclose(back, rgb, atol=1e-5)


def test_colour_refuses_unknown_matrices_and_depths() -> None:
    with pytest.raises(ValueError, match="ycgco"):
        Colour("ycgco")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bit_depth is 7"):
        Colour(bit_depth=7)


def frame(shape: tuple[int, int] = (4, 6), pts: int = 0, dtype: type = np.uint8, **colour: int) -> Frame:
    chroma = np.zeros((shape[0] // 2, shape[1] // 2), dtype)
    return Frame(
        (np.full(shape, pts, dtype), chroma, chroma), pts, Fraction(1, 25), Colour(**colour), f"carrier {pts}"
    )  # type: ignore[arg-type]


def test_frame_checks_its_planes() -> None:
    with pytest.raises(ValueError, match="expected uint16"):
        frame(bit_depth=10)
    frame(bit_depth=10, dtype=np.uint16)
    plane = np.zeros((4, 6), np.uint8)
    with pytest.raises(ValueError, match="expected \\(H, W\\)"):
        Frame((plane, plane, plane[:2]), 0, Fraction(1, 25), Colour())


def test_stack_copies_strided_planes_in_order() -> None:
    wide = np.arange(48, dtype=np.uint8).reshape(4, 12)
    chroma = np.zeros((2, 3), np.uint8)
    padded = Frame((wide[:, :6], chroma, chroma), 7, Fraction(1, 25), Colour(), "a")
    batch = FrameBatch.stack([padded, frame(pts=8)])
    assert batch.pts == (7, 8)
    assert batch.carriers == ("a", "carrier 8")
    assert batch.planes[0].shape == (2, 1, 4, 6)
    assert batch.planes[0].flags.c_contiguous
    np.testing.assert_array_equal(batch.planes[0][0, 0], wide[:, :6])
    wide[:] = 0
    assert batch.planes[0][0].any()


def test_stack_refuses_mixed_layouts() -> None:
    with pytest.raises(ValueError, match="differ"):
        FrameBatch.stack([frame(), frame((6, 6))])
