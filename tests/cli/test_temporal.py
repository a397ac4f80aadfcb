"""`--temporal` improves the frames of a video with their neighbours; photos have none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtdeblur.cli import main
from rtdeblur.frames import Frame
from rtdeblur.media.reader import FileReader

WORDS = ("--precision", "fp32", "--gate", "off", "--codec", "ffv1", "-y")


def luma(path: Path) -> np.ndarray:
    with closing(FileReader(path)) as reader:
        return np.stack([frame.planes[0].astype(int) for frame in reader if isinstance(frame, Frame)])


@pytest.fixture
def source(make_clip: Callable[..., Path]) -> Path:
    return make_clip(".mkv", "-c:v", "ffv1", frames=6, size="192x66")


def test_auto_is_on_for_a_video(source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    results = {}
    for choice in ("auto", "on", "off"):
        output = tmp_path / f"{choice}.mkv"
        assert main([str(source), "-o", str(output), *WORDS, "--temporal", choice, "-v"]) == 0
        assert (", temporal;" in capfd.readouterr().err) == (choice != "off")
        results[choice] = luma(output)
    assert (results["auto"] == results["on"]).all()
    assert all((a != b).any() for a, b in zip(results["on"], results["off"], strict=True))
    assert (results["off"] != luma(source)).any()


def test_a_photo_is_restored_as_without_it(tmp_path: Path) -> None:
    photo, results = tmp_path / "photo.png", []
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)).save(photo)
    for choice in ("on", "off"):
        output = tmp_path / f"{choice}.png"
        assert main([str(photo), "-o", str(output), "--precision", "fp32", "--temporal", choice]) == 0
        results.append(np.asarray(Image.open(output)))
    assert (results[0] == results[1]).all()
