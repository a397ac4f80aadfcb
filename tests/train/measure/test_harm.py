from __future__ import annotations

import numpy as np
import pytest

from train.measure import harm


@pytest.mark.parametrize("name", harm.UNHARMED)
def test_drawn_pictures_are_the_same_each_time(name: str) -> None:
    draw = harm.UNHARMED[name]
    assert np.array_equal(draw(64, 80), draw(64, 80))
    assert draw(64, 80).shape == (64, 80, 3)
    assert draw(64, 80).std() > 5


def test_a_smooth_picture_has_no_grid() -> None:
    assert harm.grid(harm.smooth(256, 256), 16) < 1e-3


@pytest.mark.parametrize("period", [2, 4, 8, 16])
def test_a_grid_of_each_stride_is_detected(period: int) -> None:
    y, x = np.mgrid[:256, :256]
    checks = np.where((y % period < period // 2) ^ (x % period < period // 2), 1.0, -1.0)
    change = harm.smooth(256, 256) + 0.3 * checks
    assert harm.grid(change, 16) == pytest.approx(0.3, rel=0.02)
    assert harm.grid(harm.smooth(256, 256) * checks, 16) > 0.3  # as it comes with a network's own change


def test_other_repetitions_are_not_a_grid() -> None:
    y, x = np.mgrid[:256, :256]
    assert harm.grid(np.sin(2 * np.pi * x * 24 / 256) + np.sin(2 * np.pi * y * 40 / 256), 16) < 0.02
