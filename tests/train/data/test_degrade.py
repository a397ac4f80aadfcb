from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from train.data.degrade import as_h264, as_jpeg, degrade
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
