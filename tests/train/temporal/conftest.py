from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.pictures import Picture, write_picture

MakeScene = Callable[..., Picture]
MakeClip = Callable[..., Path]


@pytest.fixture
def make_clip(tmp_path: Path, make_scene: MakeScene) -> MakeClip:
    """Writes pairs of consecutive frames, (80, 104): a scene moving to the left by two pixels per frame."""

    def make(names: list[str], folder: str = "clip") -> Path:
        scene = make_scene(5, 80, 104 + 2 * len(names))
        rng = np.random.default_rng(0)
        for kind in ("blur", "sharp"):
            (tmp_path / folder / kind).mkdir(parents=True)
        for number, name in enumerate(names):
            sharp = scene[:, 2 * number : 2 * number + 104]
            noisy = cv2.blur(sharp, (3, 1)) + rng.normal(0, 6, sharp.shape)
            write_picture(tmp_path / folder / "sharp" / name, sharp)
            write_picture(tmp_path / folder / "blur" / name, noisy.clip(0, 255).astype(np.uint8))
        return tmp_path / folder

    return make


@pytest.fixture
def photos(tmp_path: Path, make_scene: MakeScene) -> Path:
    """A folder of two photographs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        write_picture(folder / f"{seed}.png", make_scene(seed, 200, 240))
    return folder
