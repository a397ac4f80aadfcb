"""Demo: a training run of three minutes on generated pictures, without downloads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from train.data.blur import BoxBlur, convolve
from train.data.pairs import DataOptions
from train.data.pictures import Picture, write_picture
from train.data.pool import PoolOptions
from train.data.text import render_text
from train.data.trajectory import uniform_kernel
from train.errors import DataError
from train.fit.config import (
    Config,
    LossOptions,
    OptimizerOptions,
    RuntimeOptions,
    ScheduleOptions,
    ValidationOptions,
)
from train.fit.journal import lines_of, read_rows
from train.fit.run import fit
from train.measure.demo_scene import sharp_scene
from train.networks.generators import FastOptions

BLUR = BoxBlur(size=7)
"""A single fixed blur, which can be learnt in minutes; varied motion takes hours."""
_PICTURES = 48
_SIZE = 256


@dataclass(frozen=True)
class Result:
    """Result of the demo.

    Attributes:
        before: mean PSNR of blurred test pictures, dB.
        after: mean PSNR of the restored ones, dB.
        curves: picture of the loss and the PSNR over crops seen.
        sheet: picture of blurred, restored and sharp ones.
    """

    before: float
    after: float
    curves: Path
    sheet: Path


def demo(folder: Path, minutes: float, began: float | None = None) -> Result:
    """Generate pictures, train a small network on them, and measure it on others.

    Args:
        folder: output folder. An existing run in it is continued.
        minutes: wall time.
        began: `time.perf_counter()` at which it starts; now by default.

    Raises:
        DataError: the time was too short for a single step.
    """
    make_pictures(folder / "data")
    fit(configuration(folder, minutes), began)
    scores = lines_of(read_rows(folder), "psnr")
    sheets = sorted((folder / "sheets").glob("*.jpg"))
    if not sheets or len(scores) < 2:
        raise DataError(
            f"{minutes} minutes are too short for a training step on this machine; raise --minutes"
        )
    return Result(scores[0][1], scores[-1][1], folder / "curves.png", sheets[-1])


def configuration(folder: Path, minutes: float) -> Config:
    """Return the configuration of the run."""
    return Config(
        output=str(folder),
        data=DataOptions(
            sharp=(str(folder / "data" / "train"),),
            real=0.0,
            blur=BLUR,
            text=0.1,
            min_scale=1.0,
            noise=1.0,
            jpeg=0.0,
            video=0.0,
        ),
        loss=LossOptions(charbonnier=1.0, frequency=0.05),
        schedule=ScheduleOptions(minutes=minutes, warmup_steps=50),
        generator=FastOptions(widths=(16, 32, 48, 64)),
        optimizer=OptimizerOptions("adamw", 2e-3, (0.9, 0.99)),
        validation=ValidationOptions(pairs=str(folder / "data" / "test"), every=200),
        pool=PoolOptions(capacity=512),
        runtime=RuntimeOptions(channels_last=True),
        crop=64,
        batch=16,
        ema=0.99,
        clip=0.5,
        save_every=500,
    )


def make_pictures(folder: Path) -> None:
    """Write sharp pictures to `train/`, and blurred and sharp ones to `test/`; deterministic."""
    for name in ("train", "test/blur", "test/sharp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for seed in range(_PICTURES):
        write_picture(folder / "train" / f"{seed:02d}.png", draw_picture(seed))
    rng = np.random.default_rng(0)
    tests = [sharp_scene(), *(draw_picture(1000 + seed, *sharp_scene().shape[:2]) for seed in range(2))]
    for i, sharp in enumerate(tests):
        blurred = convolve(sharp.astype(np.float32), uniform_kernel(BLUR.size)) + rng.normal(
            0, 0.6, sharp.shape
        )
        write_picture(folder / "test" / "sharp" / f"{i}.png", sharp)
        write_picture(folder / "test" / "blur" / f"{i}.png", np.clip(blurred + 0.5, 0, 255).astype(np.uint8))


def draw_picture(seed: int, height: int = _SIZE, width: int = _SIZE) -> Picture:
    """Draw overlapping shapes of all sizes, lines and letters: (height, width, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)

    def colour() -> tuple[int, int, int]:
        red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
        return red, green, blue

    canvas = Image.new("RGB", (width, height), colour())
    draw = ImageDraw.Draw(canvas)
    for _ in range(90):
        x, y = float(rng.uniform(0, width)), float(rng.uniform(0, height))
        size = float(4 / rng.uniform(0.03, 1))
        box = (x - size, y - size * rng.uniform(0.3, 1), x + size, y + size * rng.uniform(0.3, 1))
        kind = rng.integers(4)
        if kind == 0:
            draw.ellipse(box, colour())
        elif kind == 1:
            draw.rectangle(box, colour())
        elif kind == 2:
            corners = [(x + size * float(dx), y + size * float(dy)) for dx, dy in rng.normal(0, 1, (3, 2))]
            draw.polygon(corners, colour())
        else:
            draw.line(box, colour(), int(rng.integers(1, 5)))
    letters = np.asarray(render_text(rng, 96) * 255, np.uint8)
    canvas.paste(Image.fromarray(letters), (int(rng.integers(width - 96)), int(rng.integers(height - 96))))
    return np.asarray(canvas)
