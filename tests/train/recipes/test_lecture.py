from __future__ import annotations

import math
from pathlib import Path

import pytest

from train.data.pictures import read_picture
from train.fit.adversarial import Wgan, WganGp
from train.recipes import lecture


def test_divergences_of_equal_distributions_are_0_and_of_distant_ones_their_limits() -> None:
    assert lecture.jensen_shannon(0.0) == pytest.approx(0, abs=1e-9)
    assert lecture.pearson(0.0) == 0
    assert lecture.jensen_shannon(12.0) == pytest.approx(math.log(2), abs=1e-6)
    assert lecture.pearson(12.0) == pytest.approx(2, abs=1e-6)


def test_divergences_match_integrals_of_the_densities() -> None:
    import numpy as np

    distance, x = 1.5, np.linspace(-12, 14, 200_001)
    p, q = (np.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi) for mean in (0, distance))
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(d > 0, d * np.log(d / middle), 0) for d in (p, q)]
    assert lecture.jensen_shannon(distance) == pytest.approx(np.trapezoid(sum(terms), x) / 2, rel=1e-3)
    assert lecture.pearson(distance) == pytest.approx(np.trapezoid((p - q) ** 2 / (p + q), x), rel=1e-3)


@pytest.mark.parametrize("distance", [0.5, 3.0, 8.0])
def test_wasserstein_s_distance_and_pull_do_not_level_off(distance: float) -> None:
    assert lecture.wasserstein(distance) == pytest.approx(distance)
    assert lecture.pull("Wasserstein", distance) == pytest.approx(1)


def test_the_pull_of_saturating_losses_vanishes_and_the_heuristic_s_grows() -> None:
    assert lecture.pull("minimax", 8.0) < 0.01 < 0.3 < lecture.pull("minimax", 1.5)
    assert lecture.pull("least squares", 8.0) < 0.001
    assert lecture.pull("non-saturating", 8.0) == pytest.approx(8, rel=1e-3)


def test_clipping_flattens_the_critic_and_the_penalty_keeps_its_slope_near_1() -> None:
    clipped, penalised = (lecture.critic_norms(game, 60)[-1][1] for game in (Wgan(clip=0.01), WganGp()))
    assert clipped < 0.01
    assert penalised == pytest.approx(1, abs=0.2)


def test_the_lecture_is_a_page_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lecture, "CRITIC_STEPS", 20)
    page = lecture.write_lecture(tmp_path, steps=2)
    shown = [
        line.split("(")[1][:-1]
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("![](")
    ]
    assert len(shown) == 7
    for name in shown:
        assert read_picture(tmp_path / name).std() > 10, name
