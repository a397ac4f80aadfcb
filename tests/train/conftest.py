from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch._inductor.codecache  # sets TORCHINDUCTOR_CACHE_DIR once, wherever it is first imported
from exports import Exported, exported_fast

from train.data.pairs import DataOptions
from train.data.pictures import Picture, write_picture
from train.fit.config import Config

# PyTorch and Lightning set environment variables as they are imported: now, not within a test.
importlib.import_module("train.fit.run")


@pytest.fixture(autouse=True)
def quiet_and_repeatable() -> None:
    torch.set_num_threads(1)  # two slow cores: threads would cost more than they bring
    cv2.setNumThreads(1)
    torch.manual_seed(0)


@pytest.fixture
def make_scene() -> Callable[..., Picture]:
    """A sharp picture by seed, height and width."""
    return scene


def scene(seed: int, height: int = 96, width: int = 112) -> Picture:
    """A sharp picture with edges of every direction and some texture."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 90, np.uint8)
    for _ in range(30):
        corners = rng.integers(0, (width, height), (3, 2)).astype(np.int32)
        cv2.fillPoly(picture, [corners], rng.integers(0, 256, 3).tolist())
    noise = rng.normal(0, 6, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def make_pairs(tmp_path: Path) -> Callable[..., Path]:
    """Writes `count` pairs to a folder with `blur/` and `sharp/`."""

    def make(count: int = 2, name: str = "pairs") -> Path:
        folder = tmp_path / name
        for kind in ("blur", "sharp"):
            (folder / kind).mkdir(parents=True)
        for i in range(count):
            sharp = scene(i)
            write_picture(folder / "sharp" / f"{i:03d}.png", sharp)
            write_picture(folder / "blur" / f"{i:03d}.png", cv2.blur(sharp, (7, 1)))
        return folder

    return make


@pytest.fixture
def plain_data() -> Callable[[Path], DataOptions]:
    """Only real pairs, as they are."""

    def make(folder: Path) -> DataOptions:
        return DataOptions(pairs=(str(folder),), real=1.0, recolour=False, real_scale=(1.0, 1.0))

    return make


TINY = """
output = "{folder}/run"
crop = 32
batch = 2
ema = 0.9
clip = 0.5
save_every = 2
[generator]
kind = "fast"
widths = [4, 8, 8, 8]
encoder_blocks = [1, 1, 1]
middle_blocks = 1
decoder_blocks = [1, 1, 1]
[data]
pairs = ["{folder}/pairs"]
[pool]
capacity = 8
replays = 2
[loss]
charbonnier = 1
[schedule]
steps = 6
warmup_steps = 2
decay_steps = 2
[runtime]
accelerator = "cpu"
workers = 0
"""


@pytest.fixture
def tiny(make_pairs: Callable[..., Path], tmp_path: Path) -> Callable[[str], Config]:
    """Configuration of a run of six steps on a tiny network, plus more TOML."""
    from train.fit.config import load_config

    make_pairs()

    def make(more: str = "") -> Config:
        path = tmp_path / "tiny.toml"
        path.write_text(TINY.format(folder=tmp_path) + more)
        return load_config(path)

    return make


@pytest.fixture(scope="session")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A network, and its bundles named donor."""
    return exported_fast(tmp_path_factory)
