from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from train.data.degrade import add_sensor_noise, as_h264, as_jpeg, degrade
from train.data.pictures import Picture
from train.measure.evaluate import psnr

Scene = Callable[..., Picture]


@pytest.mark.parametrize(("compress", "weak", "strong"), [(as_jpeg, 95, 30), (as_h264, 16, 38)])
def test_compression_loses_a_little_and_shifts_nothing(
    compress: Callable[[Picture, int], Picture], weak: int, strong: int, make_scene: Scene
) -> None:
    picture = make_scene(3, 96, 128)
    good, bad = compress(picture, weak), compress(picture, strong)
    assert good.shape == bad.shape == picture.shape
    assert psnr(good, picture) > psnr(bad, picture) + 2
    # No pixel moves and no level shifts: else a network would learn to undo that.
    assert abs(good.astype(float).mean() - picture.mean()) < 0.5
    moved = psnr(np.roll(good, 1, axis=1)[:, 1:], picture[:, 1:])
    assert psnr(good, picture) > moved


def test_shares_of_noise_and_compression(make_scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = make_scene(4, 32, 32).astype(np.float32) / np.float32(255)
    counts = {"as_jpeg": 0, "as_h264": 0}
    for name in counts:

        def count(code: Picture, strength: int, name: str = name) -> Picture:
            counts[name] += 1
            return code

        monkeypatch.setattr(f"train.data.degrade.{name}", count)
    rng = np.random.default_rng(0)
    results = [degrade(rng, picture, 3.0, 0.3, 0.2) for _ in range(400)]
    assert 90 < counts["as_jpeg"] < 150
    assert 55 < counts["as_h264"] < 105
    assert 140 < sum(np.array_equal(result, picture) for result in results) < 260  # half without noise
    assert all(result.dtype == np.float32 and 0 <= result.min() <= result.max() <= 1 for result in results)


class TestSensorNoise:
    def test_it_is_always_added_and_follows_its_strength(self) -> None:
        grey = np.full((64, 64, 3), 0.5, np.float32)
        deviations = [
            float(degrade(np.random.default_rng(seed), grey, 4.0, 0, 0, sensor=True).std() * 255)
            for seed in range(60)
        ]
        assert min(deviations) > 0.2 * 4.0 * 0.9
        assert max(deviations) < 4.0 * 1.1
        assert np.mean(deviations) == pytest.approx(0.6 * 4.0, rel=0.15)  # uniform from 0.2 to 1 of it

    def test_zero_noise_adds_none(self) -> None:
        grey = np.full((16, 16, 3), 128 / 255, np.float32)
        assert np.array_equal(degrade(np.random.default_rng(0), grey, 0.0, 0, 0, sensor=True), grey)

    def test_its_deviation_matches_photon_noise_after_gamma(self) -> None:
        # Photons simulated outright: light = code ** gamma, a Poisson count of it, read noise, and back.
        for seed, code in ((1, 0.25), (2, 0.5), (3, 0.9)):
            rng = np.random.default_rng(seed)
            flat = np.full((200, 200, 3), code, np.float32)
            measured = (add_sensor_noise(rng, flat, 0.01) - flat).std()
            rng = np.random.default_rng(seed)
            gamma, read = rng.uniform(1.8, 2.4), rng.uniform(0, 0.1)
            middle = 0.5**gamma
            variance = (gamma * 0.5 ** (gamma - 1) * 0.01) ** 2  # of the light at mid-grey
            electrons = middle / ((1 - read) * variance)  # of full light: shot variance is light / electrons
            light = rng.poisson(code**gamma * electrons, 200_000) / electrons
            light = light + rng.normal(0, np.sqrt(read * variance), light.shape)
            codes = np.clip(light, 0, None) ** (1 / gamma)
            assert measured == pytest.approx(codes.std(), rel=0.03)

    def test_dark_tones_are_noisier_than_mid_grey_up_to_a_limit(self) -> None:
        deviations = []
        for code in (0.0, 0.1, 0.5):
            flat = np.full((100, 100, 3), code, np.float32)
            deviations.append(float((add_sensor_noise(np.random.default_rng(5), flat, 0.01) - flat).std()))
        assert deviations[0] == pytest.approx(deviations[1], rel=0.03)
        assert deviations[2] < deviations[1] < 5 * deviations[2]

    def test_its_mean_is_zero(self) -> None:
        flat = np.full((200, 200, 3), 0.4, np.float32)
        assert abs(float((add_sensor_noise(np.random.default_rng(1), flat, 0.02) - flat).mean())) < 3e-4
