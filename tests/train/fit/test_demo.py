from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from train.data.pictures import find_pairs, list_pictures, read_picture
from train.errors import DataError
from train.fit import demo as module
from train.fit.config import Config, RuntimeOptions, ScheduleOptions
from train.fit.demo import BLUR, demo, draw_picture, make_pictures
from train.measure.evaluate import psnr


def test_pictures_are_deterministic_and_test_ones_are_not_trained_on(tmp_path: Path) -> None:
    make_pictures(tmp_path)
    first = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    make_pictures(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == first
    trained = [read_picture(path) for path in list_pictures(tmp_path / "train")]
    assert len(trained) == 48
    for blurred, sharp in find_pairs(tmp_path / "test"):
        picture = read_picture(sharp)
        assert 12 < psnr(read_picture(blurred), picture) < 32
        assert all(picture.shape != other.shape or psnr(picture, other) < 20 for other in trained)


def test_a_drawn_picture_has_edges_everywhere() -> None:
    picture = draw_picture(3).astype(int)
    quarters = [half for rows in np.split(picture, 2) for half in np.split(rows, 2, axis=1)]
    assert all(np.abs(np.diff(quarter, axis=1)).mean() > 1 for quarter in quarters)


def test_the_demo_reports_the_gain_curves_and_a_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = module.configuration

    def short(folder: Path, minutes: float) -> Config:
        config = whole(folder, minutes)
        assert config.schedule.minutes == minutes
        assert config.data.blur == BLUR
        return replace(
            config, batch=2, crop=32, pool=replace(config.pool, capacity=4),
            schedule=ScheduleOptions(steps=4), validation=replace(config.validation, every=2),
            runtime=RuntimeOptions(accelerator="cpu", workers=0),
        )  # fmt: skip

    monkeypatch.setattr(module, "configuration", short)
    result = demo(tmp_path / "new" / "demo", 2.5)
    assert 10 < result.before < 32
    assert result.after == pytest.approx(result.before, abs=1)
    assert read_picture(result.curves).shape == (720, 720, 3)
    assert result.sheet.name == "00000004.jpg"
    assert read_picture(result.sheet).shape == (3 * 320, 3 * 480, 3)


def test_too_little_time_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fit", lambda *_: tmp_path)
    with pytest.raises(DataError, match=r"0\.1 minutes are too short for a training step"):
        demo(tmp_path, 0.1)
