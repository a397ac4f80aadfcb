from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.blur import MotionBlur, convolve
from train.data.pictures import Picture, read_picture, write_picture
from train.data.trajectory import Trajectory, kernel
from train.errors import DataError
from train.measure.kernels import (
    REACH,
    Measured,
    Shape,
    estimate_kernel,
    measure_blur,
    measure_pairs,
    places,
    shape_of,
    sheet_of,
    table,
)

Floats = np.typing.NDArray[np.float64]


def arc(length: float, angle: float = 0.3, rise: float = 0.0, speed: float = 0.0) -> Trajectory:
    """A path along an arc; `speed` is its change of speed from end to end, over the mean."""
    t = np.linspace(-0.5, 0.5, 400)
    along = t + speed * (t**2 - 1 / 12) / 2
    across = -4 * rise * along**2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    path: Trajectory = length * np.stack([along, across], axis=1) @ turn
    return path


def as_estimated(path: Trajectory, light: Trajectory | None = None) -> Floats:
    """A kernel in the middle of the estimate's window, as soft as an estimate."""
    weights = kernel(path, light)
    margin = REACH - len(weights) // 2
    found = cv2.GaussianBlur(np.pad(weights, margin).astype(np.float64), (0, 0), 0.6)
    return np.asarray(found / found.max(), np.float64)


def known(shape: Shape | None) -> Shape:
    assert shape is not None
    return shape


@pytest.mark.parametrize("length", [8.0, 17.0, 30.0])
@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0])
def test_a_straight_even_line_is_measured(length: float, angle: float) -> None:
    shape = known(shape_of(as_estimated(arc(length, angle))))
    assert shape.length == pytest.approx(length, rel=0.08, abs=0.8)
    turn = abs(shape.angle - angle)
    assert min(turn, np.pi - turn) < 0.06
    assert shape.bend < 0.02
    assert shape.unevenness < 0.12
    assert shape.offset < 0.03


def test_bend_unevenness_and_points_are_distinguished() -> None:
    straight, bent = (known(shape_of(as_estimated(arc(24, rise=rise)))) for rise in (0.0, 0.15))
    assert bent.bend == pytest.approx(0.15, rel=0.25)
    assert straight.bend < 0.01
    uneven = known(shape_of(as_estimated(arc(24, speed=0.6))))
    assert uneven.unevenness == pytest.approx(0.6, rel=0.35)
    assert uneven.bend < 0.03
    phase = np.linspace(0, 7, 400, endpoint=False) % 1
    dotted = known(shape_of(as_estimated(arc(30), (np.abs(phase - 0.5) < 0.06).astype(float))))
    assert dotted.ripple > 0.5 > 4 * straight.ripple


def test_a_point_and_a_blob_have_no_shape() -> None:
    assert shape_of(as_estimated(arc(1.0))) is None
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    assert shape_of(np.exp(-(x**2 + y**2) / (2 * 6.0**2))) is None


def test_a_kernel_is_estimated_from_a_pair(make_scene: Callable[..., Picture]) -> None:
    sharp = cv2.cvtColor(make_scene(3, 300, 300), cv2.COLOR_RGB2GRAY) / 255
    weights = kernel(arc(15, 0.4, rise=0.1))
    blurred = convolve(sharp.astype(np.float32), weights).astype(np.float64)
    found = estimate_kernel(blurred, sharp, 20, 30)
    wanted = as_estimated(arc(15, 0.4, rise=0.1))
    similarity = (found * wanted).sum() / np.sqrt((found**2).sum() * (wanted**2).sum())
    assert similarity > 0.85
    assert known(shape_of(found)).length == pytest.approx(15, abs=2)


def test_windows_are_within_the_picture() -> None:
    for height, width in ((240, 240), (720, 1280)):
        corners = places(height, width)
        assert len(corners) == 6
        for top, left in corners:
            assert 0 <= top <= height - 240
            assert 0 <= left <= width - 240


def test_rotation_is_between_neighbours_in_a_row() -> None:
    def shape(angle: float, length: float) -> Shape:
        return Shape(length, angle, 0, 0, 0, 0)

    row = [shape(0.1, 10), shape(np.pi - 0.1, 20), None]
    angles, lengths = Measured([], [*row, shape(1.0, 5), shape(1.5, 5), shape(1.0, 10)]).rotation()
    assert angles == pytest.approx([0.2, 0.5, 0.5])  # directions of a line, not of an arrow
    assert lengths == pytest.approx([2, 1, 2])


@pytest.fixture
def pairs(tmp_path: Path, make_scene: Callable[..., Picture]) -> Path:
    for kind in ("blur", "sharp"):
        (tmp_path / "large" / kind).mkdir(parents=True)
    for i in range(2):
        sharp = make_scene(40 + i, 260, 420)
        blurred = convolve(sharp.astype(np.float32), kernel(arc(14, 0.2)))
        write_picture(tmp_path / "large" / "sharp" / f"{i}.png", sharp)
        write_picture(tmp_path / "large" / "blur" / f"{i}.png", np.clip(blurred, 0, 255).astype(np.uint8))
    return tmp_path / "large"


def test_pairs_and_the_training_blur_make_a_table_and_a_sheet(pairs: Path, tmp_path: Path) -> None:
    sets = {
        "real pairs": measure_pairs(pairs),
        "training blur": measure_blur(pairs, MotionBlur()),
    }
    lengths = [shape.length for shape in sets["real pairs"].shapes if shape]
    assert len(lengths) >= 10
    assert np.median(lengths) == pytest.approx(14, abs=1.5)
    lines = table(sets).splitlines()
    assert lines[0] == "|  | real pairs | training blur |"
    assert lines[2].startswith("| length, pixels | ")
    assert lines[-1].startswith("| kernels that are one line of 3 pixels or more | ")
    assert all(line.count("|") == 4 for line in lines)
    sheet_of(sets, tmp_path / "sheet.png")
    assert read_picture(tmp_path / "sheet.png").shape[0] == 2 * 2 * (2 * REACH + 3)


def test_pairs_that_are_too_small_are_reported(make_pairs: Callable[..., Path]) -> None:
    with pytest.raises(
        DataError, match=r"000\.png is 96×112 \(height×width\), expected at least 240 both ways"
    ):
        measure_pairs(make_pairs(1))
