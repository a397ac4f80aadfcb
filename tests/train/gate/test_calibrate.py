"""Calibration of the blur gate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from brighten import brighten

from rtdeblur.model import Model
from train.errors import DataError
from train.gate.calibrate import MOST_LOSS, Tiles, calibrate, choose_threshold
from train.gate.frames import frames


def tiles(seed: int, gain: float = 150.0) -> Tiles:
    """A tile that restoration helps if its need is above 0.5, more the larger it is; else it harms it."""
    need = np.random.default_rng(seed).uniform(0, 1, (1, 1))
    before = np.full((1, 1), 100.0)
    return Tiles(need, before, before - np.where(need > 0.5, gain * (need - 0.5), -1.0))


def test_the_threshold_is_where_restoring_begins_to_help() -> None:
    sharp = Tiles(np.full((8, 8), 0.2), np.zeros((8, 8)), np.zeros((8, 8)))
    result = choose_threshold({"blurred": [tiles(seed) for seed in range(900)], "sharp": [sharp]})
    assert 0.5 < result.threshold < 0.8
    assert 0 < result.loss["blurred"] <= MOST_LOSS
    assert result.restored["blurred"] == pytest.approx(1 - result.threshold, abs=0.05)
    assert result.restored["sharp"] == 0


def test_no_set_pays_for_the_others() -> None:
    """Nor does a sharp one count, which may gain or lose what it likes."""
    sets = {"blurred": [tiles(seed) for seed in range(900)]}
    needy = Tiles(np.full((8, 8), 0.3), np.full((8, 8), 100.0), np.full((8, 8), 50.0))
    assert choose_threshold(sets | {"sharp": [needy]}).threshold > 0.5
    assert choose_threshold(sets | {"mild": [needy]}).threshold == 0.3


def test_a_set_that_cannot_be_spared_has_the_lowest_threshold() -> None:
    needy = Tiles(np.zeros((8, 8)), np.full((8, 8), 100.0), np.full((8, 8), 50.0))
    assert choose_threshold({"blurred": [needy]}).threshold == 0.01


@pytest.mark.parametrize("names", [("bright", "bright-fp16"), ("bright-fp16", "bright-int8")])
def test_a_calibration_is_written_to_the_manifests_of_all_precisions(
    names: tuple[str, str], make_pairs: Callable[..., Path], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / f"{name}.onnx").write_bytes(brighten())
        manifest = {
            "format_version": 1, "name": name, "sha256": hashlib.sha256(brighten()).hexdigest(),
            "architecture": {}, "stride": 16, "precision": name[7:] or "fp32",
            "dropout": "off", "licence": "MIT", "scores": {"kept": 1},
        }  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps(manifest))
    result = calibrate(tmp_path / f"{names[0]}.onnx", [make_pairs()], [])
    for name in names:
        manifest = Model.load(str(tmp_path / f"{name}.onnx")).manifest
        assert manifest.gate_threshold == result.threshold
        assert manifest.scores == {"kept": 1}
    # Brightening by one level helps nothing.
    assert set(result.restored.values()) == {0.0}


def test_a_calibration_needs_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures in"):
        calibrate(Model.load("fast").path, [], [tmp_path / "empty"])


def test_a_calibration_shows_frames_of_many_sizes_and_text_as_a_video_encoder_leaves_them(
    make_pairs: Callable[..., Path],
) -> None:
    pairs = make_pairs(1)
    found = list(frames([pairs], [pairs / "sharp"], every=10))
    names = {name for name, _, _ in found}
    kinds = ("long", "short", "objects", "part", "sharp")
    assert {f"{what}, {kind}" for what in ("sharp", "text", "drawn") for kind in kinds} <= names
    assert len({truth.shape for name, _, truth in found if name.startswith("text")}) > 3
    assert all(blurred.shape == truth.shape for _, blurred, truth in found)
    # Compressed sharp pictures are no longer their own truth, and some are left as they are.
    same = [np.array_equal(blurred, truth) for name, blurred, truth in found if name == "text, sharp"]
    assert 0 < sum(same) < len(same)
