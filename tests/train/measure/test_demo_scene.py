from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from train.data.pictures import read_picture
from train.measure.demo_scene import SIZE, blurred_scene, filmed_scene, sharp_scene

ROOT = Path(__file__).parents[3]


def test_the_readme_s_picture_is_restored_by_the_bundled_models(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts/video_image.py", tmp_path]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    again, published = (read_picture(folder / "video.jpg") for folder in (tmp_path, ROOT / "docs/images"))
    assert np.abs(again.astype(int) - published).mean() < 0.5, "python scripts/video_image.py"
    readme = (ROOT / "README.md").read_text()
    assert "docs/images/video.jpg" in readme
    scores = [float(score) for score in re.findall(r"([\d.]+) dB", printed)]
    stated = [float(score) for score in re.findall(r"\(([\d.]+) dB\)", readme)]
    assert stated == pytest.approx(scores, abs=0.07)  # rounding, and other processors


def test_a_filmed_scene_moves_around_the_blurred_one() -> None:
    frames = filmed_scene()
    assert [frame.shape for frame in frames] == [(*SIZE, 3)] * 5
    assert np.array_equal(frames[2], blurred_scene())
    sharp = sharp_scene().astype(int)
    inner = (slice(40, -40), slice(40, -40))
    for frame, (x, y) in zip(frames, ((-9, 5), (-4, -3), (0, 0), (6, -2), (11, 4)), strict=True):
        found = min(
            ((dx, dy) for dx in range(-12, 13) for dy in range(-6, 7)),
            key=lambda move: float(
                np.abs(frame[inner] - np.roll(sharp, (-move[1], -move[0]), (0, 1))[inner]).sum()
            ),
        )
        assert abs(found[0] - x) <= 3
        assert abs(found[1] - y) <= 3
