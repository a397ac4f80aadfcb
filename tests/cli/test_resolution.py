"""`--resolution` restores at another resolution, and reports what auto chose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtdeblur import resolution
from rtdeblur.cli import main

WORDS = ["--precision", "fp32", "--gate", "off"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Edges blurred over 60 pixels, 256 lines high."""
    row = np.convolve(np.repeat(np.tile([60, 200], 4), 96), np.ones(60) / 60, "same")
    path = tmp_path / "photo.png"
    Image.fromarray(np.tile(row, (256, 1)).round().astype(np.uint8)).convert("RGB").save(path)
    return path


def restored(photo: Path, *words: str) -> np.ndarray:
    output = photo.with_name("out.png")
    assert main([str(photo), "-o", str(output), "-y", *WORDS, *words]) == 0
    return np.asarray(Image.open(output)).astype(int)


def test_each_resolution_changes_the_picture_in_its_own_way(
    photo: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = {name: restored(photo, "--resolution", name) for name in ("full", "half", "quarter")}
    assert all(picture.shape == (256, 768, 3) for picture in results.values())
    assert not (results["full"] == results["half"]).all()
    assert not (results["half"] == results["quarter"]).all()
    assert (restored(photo) == results["full"]).all()  # too small for auto
    assert "half resolution" not in capfd.readouterr().err

    monkeypatch.setattr(resolution, "_LEAST_LINES", 256)
    before = np.asarray(Image.open(photo)).astype(int)
    energies = [np.square(results[name] - before).sum() for name in ("full", "half")]
    better = "half" if energies[1] > 1.1 * energies[0] else "full"
    assert better == "half"  # this blur is too long for the model
    assert (restored(photo) == results[better]).all()
    assert "100% of frames at half resolution" in capfd.readouterr().err


def test_the_json_report_counts_what_auto_halved(
    photo: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolution, "_LEAST_LINES", 256)
    restored(photo, "--json")
    assert json.loads(capfd.readouterr().out)["frames_halved_by_auto"] == 1


def test_an_unknown_resolution_is_wrong_usage(photo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(photo), "--resolution", "1280x720"]) == 2
    assert "'1280x720' is not one of 'auto', 'full', 'half', 'quarter'" in capfd.readouterr().err
