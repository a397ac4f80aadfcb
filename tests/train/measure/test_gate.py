"""Calibration of the blur gate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brighten import brighten

from rtdeblur.model import GATE_FEATURES, Model
from rtdeblur.need import LARGEST_STEP, need_of
from train.errors import DataError
from train.measure.gate import (
    MOST_LOSS,
    VISIBLE,
    Tiles,
    calibrate,
    calibration_pictures,
    fit_gate,
)

CONTRAST = np.log(100.0)


def tiles(seed: int, *, sharp: bool = False) -> Tiles:
    """Tiles that restoration helps if the first feature is positive, more the larger it is."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 2, (8, 8, GATE_FEATURES))
    features[..., LARGEST_STEP] = CONTRAST
    if sharp:
        features[..., 0] = -np.abs(features[..., 0]) - 0.2
    samples = np.full((8, 8), 100.0)
    gain = np.where(features[..., 0] > 0, VISIBLE + 20 * features[..., 0], -1.0)
    before = np.full((8, 8), 100.0) * samples
    return Tiles(features, before, before - gain * samples, samples)


def test_the_gate_learns_which_tiles_restoration_helps() -> None:
    result = fit_gate({"blurred": [tiles(i) for i in range(30)], "sharp": [tiles(9, sharp=True)]})
    assert result.loss["blurred"] <= MOST_LOSS
    assert 0.3 < result.restored["blurred"] < 0.6  # half of them gain, some of these very little
    assert result.restored["sharp"] < 0.1
    unseen = tiles(20)
    need = need_of(unseen.features.astype(np.float32), result.fit)
    assert ((need > 0.5) == (unseen.features[..., 0] > 0)).mean() > 0.9


def test_sets_count_alike_however_many_tiles_they_have() -> None:
    """One picture of a kind whose tiles gain where those of 40 pictures of another kind do not."""
    pictures = [tiles(i) for i in range(42)]
    for picture in pictures:
        picture.features[..., 1:] = 0
        picture.features[..., LARGEST_STEP] = CONTRAST
    *many, one, unseen = pictures
    gain = np.where(one.features[..., 0] < 0, VISIBLE - 20 * one.features[..., 0], -1.0)
    one = replace(one, after=one.before - gain * one.samples)
    need = need_of(unseen.features.astype(np.float32), fit_gate({"many": many, "one": [one]}).fit)
    clear = np.abs(unseen.features[..., 0]) > 1
    assert (need[clear] > 0.5).all()  # of both: to miss one costs more than to restore one in vain


def test_no_set_pays_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    mild = tiles(50)
    mild.features[..., 0] = np.abs(mild.features[..., 0]) * 0.03  # hard to tell, and all gain 10
    mild = replace(mild, after=mild.before - 10 * mild.samples)
    sets = {f"blurred {i}": [tiles(i)] for i in range(30)} | {"mild": [mild]}
    limited = fit_gate(sets)
    assert limited.loss["mild"] <= MOST_LOSS
    monkeypatch.setattr("train.measure.gate.MOST_LOSS", 99.0)
    free = fit_gate(sets)
    assert free.loss["mild"] > MOST_LOSS
    assert free.fit.threshold > limited.fit.threshold


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
        assert manifest.gate == result.fit
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
    found = list(calibration_pictures([pairs], [pairs / "sharp"], every=10))
    names = {name for name, _, _ in found}
    kinds = ("long", "short", "objects", "part", "sharp")
    assert {f"{what}, {kind}" for what in ("sharp", "text", "drawn") for kind in kinds} <= names
    assert len({truth.shape for name, _, truth in found if name.startswith("text")}) > 3
    assert all(blurred.shape == truth.shape for _, blurred, truth in found)
    # Compressed sharp pictures are no longer their own truth, and some are left as they are.
    same = [np.array_equal(blurred, truth) for name, blurred, truth in found if name == "text, sharp"]
    assert 0 < sum(same) < len(same)
