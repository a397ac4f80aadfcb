"""`--gate` copies tiles that need no restoration, and reports how many."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtdeblur.cli import main
from rtdeblur.frames import Frame
from rtdeblur.media import resume
from rtdeblur.media.reader import FileReader

WORDS = ("--precision", "fp32", "--codec", "ffv1")


def luma(path: Path) -> np.ndarray:
    with closing(FileReader(path)) as reader:
        return np.stack([frame.planes[0].astype(int) for frame in reader if isinstance(frame, Frame)])


@pytest.fixture(scope="module")
def source(make_clip: Callable[..., Path]) -> Path:
    return make_clip(".mkv", "-c:v", "ffv1", frames=6, size="192x66")


@pytest.mark.parametrize(("gate", "tiles", "restored"), [("1", 12, 0), ("0", 12, 12)])
def test_tiles_are_counted_and_reported(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], gate: str, tiles: int, restored: int
) -> None:
    words = [str(source), "-o", str(tmp_path / "out.mkv"), *WORDS, "--gate", gate]
    assert main([*words, "--json"]) == 0
    printed = capfd.readouterr()
    result = json.loads(printed.out)
    assert (result["tiles"], result["tiles_restored"]) == (tiles, restored)
    assert (luma(tmp_path / "out.mkv") == luma(source)).all() == (gate == "1")
    assert main([*words, "-y"]) == 0
    line = capfd.readouterr().err
    assert (
        "100% of tiles restored" if restored else "it is sharp, and was left as it is (--gate off"
    ) in line


def test_the_line_of_a_photo_says_what_the_gate_did(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)).save(photo)
    assert main([str(photo), "-o", str(tmp_path / "out.png"), "--precision", "fp32", "--gate", "1"]) == 0
    assert "it is sharp, and was left as it is" in capfd.readouterr().err


def test_unfinished_work_of_another_threshold_is_refused(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "_FRAMES", 2)
    monkeypatch.setattr(resume, "_FEWEST_FRAMES", 2)
    words = [str(source), "-q", "-o", str(tmp_path / "out.mkv"), *WORDS, "--resume"]

    def full(writer: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("rtdeblur.media.writer.FileWriter.commit", full)
        assert main([*words, "--gate", "1"]) == 1
    assert main([*words, "--gate", "0.9"]) == 1
    assert "gate was 1, is 0.9" in capfd.readouterr().err
    assert main([*words, "--gate", "1"]) == 0


@pytest.mark.parametrize("gate", ["-0.1", "1.1", "on", "nan"])
def test_a_bad_gate_is_refused(source: Path, tmp_path: Path, gate: str) -> None:
    assert main([str(source), "-o", str(tmp_path / "out.mkv"), "--gate", gate]) in (1, 2)
    assert not list(tmp_path.iterdir())


def test_a_threshold_needs_a_calibrated_model(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [str(source), "-o", str(tmp_path / "out.mkv"), "--model", "deblurgan"]
    assert main([*words, "--gate", "0.5"]) == 1
    assert "no calibrated gate; try --gate off" in capfd.readouterr().err
