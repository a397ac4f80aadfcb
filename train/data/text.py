"""Rendered text, which is rare in photographs."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from train.data.trajectory import Floats

_LETTERS = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:-?!&")


def render_text(rng: np.random.Generator, size: int) -> Floats:
    """Render lines of random words on a plain background: (size, size, 3) float32 in [0, 1]."""
    ground, ink = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    ink = np.where(np.abs(ink - ground) < 90, (ground + 128) % 256, ink)
    canvas = Image.new("RGB", (size, size), _rgb(ground))
    draw = ImageDraw.Draw(canvas)
    y = float(rng.uniform(-10, 10))
    while y < size:
        height = float(rng.uniform(10, 48))
        letters = "".join(rng.choice(_LETTERS, int(rng.integers(8, 40))))
        words = " ".join(letters[i : i + 6] for i in range(0, len(letters), 6))
        draw.text((rng.uniform(-20, 20), y), words, _rgb(ink), ImageFont.load_default(height))
        y += height * rng.uniform(1.1, 1.6)
    return np.asarray(np.asarray(canvas, np.float32) / 255, np.float32)


def _rgb(colour: np.typing.NDArray[np.int64]) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in colour)
    return red, green, blue
