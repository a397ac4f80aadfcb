"""A drawn street, sharp and blurred, to show what a model can restore and what it cannot."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from train.data.blur import convolve, from_linear, to_linear
from train.data.pictures import Picture, write_picture
from train.data.trajectory import kernel, smooth_trajectory
from train.measure.evaluate import Restore, Row, psnr

SIZE = (320, 480)
"""(height, width) of the scene in pixels."""
BLUR_LENGTH = 10.0
"""Length of the blur in pixels: moderate camera shake."""

_MOVES = ((-9, 5), (-4, -3), (0, 0), (6, -2), (11, 4))
"""Where the camera of a video points, in pixels to the right and down, by frame."""
_FINE = 4
"""Supersampling factor, for smooth edges."""
_BRICK, _INK, _GLASS, _BUS, _CREAM = "#b5654a", "#20242b", "#33475c", "#c8322b", "#f4efe0"


def sharp_scene() -> Picture:
    """Draw a bakery, a street clock and a bus: (320, 480, 3) uint8 RGB."""
    canvas = _Canvas()
    canvas.box(0, 0, 480, 320, "#a9c9e6")
    for left, top, right, wall in (
        (196, 96, 300, "#cbb994"),
        (286, 62, 400, "#8d9aa6"),
        (400, 84, 480, "#d7c7a8"),
    ):
        canvas.box(left, top, right, 262, wall)
        for x in range(left + 12, right - 14, 26):
            for y in range(top + 12, 240, 32):
                canvas.box(x, y, x + 13, y + 19, _GLASS)
    canvas.box(0, 262, 480, 320, "#5b5e63")
    canvas.box(0, 256, 480, 266, "#a7a49c")
    for x in range(8, 480, 80):
        canvas.box(x, 298, x + 44, 304, _CREAM)
    _bakery(canvas)
    _clock(canvas, 232, 96)
    _bus(canvas, 284)
    return canvas.reduced()


def blurred_scene(length: float = BLUR_LENGTH) -> Picture:
    """Return the scene as a shaking camera records it.

    Args:
        length: approximate camera movement during the exposure, in pixels.

    Returns:
        (320, 480, 3) uint8 RGB: blurred in linear light, with sensor noise of σ 1.5 code values.
    """
    return _recorded(sharp_scene(), np.random.default_rng(5), length)


def filmed_scene() -> list[Picture]:
    """Return five frames of a video by a shaking camera; the middle one is `blurred_scene()`.

    The camera moves a few pixels from frame to frame, and shakes in another direction in each.
    """
    frames = []
    border = max(map(abs, sum(_MOVES, ())))
    wide = np.pad(sharp_scene(), ((border, border), (border, border), (0, 0)), mode="edge")
    for index, (x, y) in enumerate(_MOVES):
        seen = wide[border + y : border + y + SIZE[0], border + x : border + x + SIZE[1]]
        seed = [5, index] if x or y else 5
        frames.append(_recorded(seen, np.random.default_rng(seed), BLUR_LENGTH))
    return frames


def _recorded(sharp: Picture, rng: np.random.Generator, length: float) -> Picture:
    light = to_linear(np.asarray(sharp / 255, np.float32))
    blurred = 255 * from_linear(convolve(light, kernel(smooth_trajectory(rng, length))))
    noisy = blurred + rng.normal(0, 1.5, blurred.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def show_scene(restore: Restore, path: Path) -> Row:
    """Write a picture of the scene blurred, restored and sharp, side by side and labelled.

    Args:
        restore: the model under test.
        path: output picture.

    Returns:
        PSNR in dB against the sharp scene, `before` and `after` restoring.
    """
    blurred, sharp = blurred_scene(), sharp_scene()
    restored = restore(blurred)
    panels = {"blurred": blurred, "restored": restored, "sharp": sharp}
    write_picture(path, np.hstack([labelled(panel, words) for words, panel in panels.items()]))
    return {"before": psnr(blurred, sharp), "after": psnr(restored, sharp)}


def labelled(picture: Picture, words: str) -> Picture:
    """Write words into the upper right corner of a picture of the scene."""
    image = Image.fromarray(picture)
    draw, font, at = ImageDraw.Draw(image), ImageFont.load_default(20), (SIZE[1] - 12, 26)
    left, top, right, bottom = draw.textbbox(at, words, font=font, anchor="rm")
    draw.rounded_rectangle((left - 8, top - 6, right + 8, bottom + 6), 5, _INK)
    draw.text(at, words, "white", font, anchor="rm")
    return np.asarray(image)


class _Canvas:
    """A drawing in scene coordinates, rendered at `_FINE` times the size."""

    def __init__(self) -> None:
        height, width = SIZE
        self._image = Image.new("RGB", (width * _FINE, height * _FINE))
        self._draw = ImageDraw.Draw(self._image)

    def box(self, left: float, top: float, right: float, bottom: float, fill: str, radius: float = 0) -> None:
        corners = [_FINE * value for value in (left, top, right, bottom)]
        self._draw.rounded_rectangle(corners, _FINE * radius, fill)

    def disc(self, x: float, y: float, radius: float, fill: str) -> None:
        self._draw.circle((_FINE * x, _FINE * y), _FINE * radius, fill)

    def line(self, x: float, y: float, to_x: float, to_y: float, width: float) -> None:
        self._draw.line([_FINE * value for value in (x, y, to_x, to_y)], _INK, round(_FINE * width))

    def polygon(self, points: list[tuple[float, float]], fill: str) -> None:
        self._draw.polygon([(_FINE * x, _FINE * y) for x, y in points], fill)

    def text(self, x: float, y: float, words: str, size: float, fill: str) -> None:
        """Write words centred at (x, y), in bold."""
        font = ImageFont.load_default(_FINE * size)
        at = (_FINE * x, _FINE * y)
        self._draw.text(at, words, fill, font, anchor="mm", stroke_width=_FINE * size / 40, stroke_fill=fill)

    def reduced(self) -> Picture:
        return np.asarray(self._image.reduce(_FINE))


def _bakery(canvas: _Canvas) -> None:
    canvas.box(0, 20, 196, 262, _BRICK)
    for x in (20, 82, 144):
        canvas.box(x, 34, x + 32, 84, _CREAM)
        canvas.box(x + 3, 37, x + 29, 81, _GLASS)
        canvas.box(x + 14, 37, x + 18, 81, _CREAM)
    canvas.box(8, 98, 188, 142, "#1f5b46", 5)
    canvas.text(98, 120, "BAKERY", 36, _CREAM)
    for i in range(9):
        x = 8 + 20 * i
        canvas.polygon([(x, 146), (x + 20, 146), (x + 20, 168), (x, 168)], ("#d9463c", _CREAM)[i % 2])
        canvas.disc(x + 10, 168, 10, ("#d9463c", _CREAM)[i % 2])
    canvas.box(14, 184, 122, 246, _CREAM)
    canvas.box(18, 188, 118, 242, "#f0c56b")
    canvas.text(68, 206, "FRESH", 20, _INK)
    canvas.text(68, 228, "BREAD", 20, _INK)
    canvas.box(134, 184, 182, 262, "#4d2f22")
    canvas.box(140, 190, 176, 226, _GLASS)


def _clock(canvas: _Canvas, x: float, y: float) -> None:
    canvas.box(x - 4, y, x + 4, 262, _INK)
    canvas.box(x - 12, 252, x + 12, 264, _INK, 2)
    canvas.disc(x, y, 36, _INK)
    canvas.disc(x, y, 31, "white")
    for hour in range(12):
        angle = math.radians(30 * hour)
        dx, dy = math.sin(angle), -math.cos(angle)
        long = 21 if hour % 3 == 0 else 25
        canvas.line(x + long * dx, y + long * dy, x + 29 * dx, y + 29 * dy, 3 if hour % 3 == 0 else 2)
    for angle, length, width in ((math.radians(305), 16, 4.5), (math.radians(60), 24, 3)):  # ten past ten
        canvas.line(x, y, x + length * math.sin(angle), y - length * math.cos(angle), width)
    canvas.disc(x, y, 3, _INK)


def _bus(canvas: _Canvas, left: float) -> None:
    middle = left + 90
    for x in (left + 14, left + 136):
        canvas.box(x, 284, x + 30, 304, _INK, 4)
    canvas.box(left, 76, left + 180, 292, _BUS, 12)
    canvas.box(left + 12, 86, left + 168, 124, _INK, 4)
    canvas.text(middle, 105, "42 Harbour", 27, "#ffc83d")
    canvas.box(left + 10, 130, left + 170, 220, _GLASS, 6)
    canvas.polygon([(left + 22, 214), (left + 74, 136), (left + 96, 136), (left + 44, 214)], "#4d6680")
    canvas.box(middle - 2, 130, middle + 2, 220, _INK)
    for x in (left + 26, left + 154):
        canvas.disc(x, 250, 15, _INK)
        canvas.disc(x, 250, 12, "#fff3c4")
    canvas.box(middle - 40, 240, middle + 40, 266, "#f5d33b", 3)
    canvas.text(middle, 253, "RD24 BUS", 17, _INK)
