from __future__ import annotations

import math

import pytest

from train.measure.chart import line_chart, scatter


@pytest.mark.parametrize("value", [0.0, 26.5, -3e7, 4.698e15, 1e-9])
def test_a_single_value_of_any_size_is_drawn(value: float) -> None:
    chart = line_chart("title", "steps", {"one": [(0.0, value)]})
    assert chart.shape == (360, 720, 3)
    assert (chart == (31, 95, 168)).all(2).any()  # its point


def test_values_that_are_not_finite_are_skipped() -> None:
    with_gap = line_chart("title", "steps", {"a": [(0, 1.0), (1, math.nan), (2, 3.0)]})
    assert (with_gap == line_chart("title", "steps", {"a": [(0, 1.0), (2, 3.0)]})).all()


def test_points_of_a_plane_are_drawn_within_it() -> None:
    empty = scatter("title", 2.0, {"a": []})
    drawn = scatter("title", 2.0, {"a": [(-2.0, 2.0), (5.0, 0.0)]})
    assert drawn.shape == (360, 360, 3)
    rows, columns = (drawn != empty).any(2).nonzero()
    assert rows.max() < 50  # only the upper left corner; the other point is outside
    assert columns.max() < 20
