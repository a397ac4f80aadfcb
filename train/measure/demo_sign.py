"""A rendered sign, blurred and sharp: a picture of our own to show what a model does and where it fails."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from train.data.blur import convolve, from_linear, to_linear
from train.data.pictures import Picture
from train.data.trajectory import kernel, smooth_trajectory

_LINES = ("09:14  Harbour Street", "09:26  Old Mill, Kingsway", "09:41  Airport express")
_LAMPS = ("#cc3d32", "#e8a92a", "#3f8f5b", "#455aad")


def sharp_sign() -> Picture:
    """(320, 480, 3): a headline, three lines of text, four lamps."""
    canvas = Image.new("RGB", (480, 320), "#ece8dc")
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, 480, 84), "#27466f")
    draw.text((24, 18), "Platform 7", "white", ImageFont.load_default(46))
    for i, line in enumerate(_LINES):
        draw.text((24, 106 + 44 * i), line, "#222222", ImageFont.load_default(30))
    for i, lamp in enumerate(_LAMPS):
        draw.ellipse((30 + 110 * i, 248, 86 + 110 * i, 304), lamp, "black", 2)
    return np.asarray(canvas)


def blurred_sign(length: float = 14.0) -> Picture:
    """The sign as a moving camera sees it, along some `length` pixels; linear light, noise of σ 1.5."""
    rng = np.random.default_rng(5)
    light = to_linear(np.asarray(sharp_sign() / 255, np.float32))
    blurred = 255 * from_linear(convolve(light, kernel(smooth_trajectory(rng, length))))
    noisy = blurred + rng.normal(0, 1.5, blurred.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
