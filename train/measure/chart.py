"""Line charts as pictures, drawn with Pillow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from train.data.pictures import Picture

Line = Sequence[tuple[float, float]]
"""Points (x, y), in order of x."""

WIDTH, HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 40, 44
_COLOURS = ("#1f5fa8", "#c8553d", "#3f8f5b", "#8a5fb0", "#b8860b", "#4a4a4a")
_SCALE = 2
"""Supersampling factor, for smooth lines."""


def line_chart(title: str, x_label: str, lines: Mapping[str, Line]) -> Picture:
    """Draw lines over one x axis.

    Args:
        title: title above the chart; names y.
        x_label: label below it.
        lines: lines by name; points that are not finite are skipped.

    Returns:
        (360, 720, 3) uint8 RGB.
    """
    known = {
        name: [(x, y) for x, y in line if math.isfinite(x) and math.isfinite(y)]
        for name, line in lines.items()
    }
    points = [point for line in known.values() for point in line] or [(0.0, 0.0)]
    xs, ys = (_ticks(min(values), max(values)) for values in zip(*points, strict=True))
    canvas = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), "white")
    chart = _Chart(ImageDraw.Draw(canvas), (xs[0], xs[-1]), (ys[0], ys[-1]))
    chart.axes(xs, ys)
    for colour, (name, line) in zip(_cycle(len(known)), known.items(), strict=True):
        chart.line(line, colour)
        chart.legend(name, colour)
    chart.text((_LEFT, 10), title, "black", 15)
    chart.text((WIDTH - _RIGHT, HEIGHT - 20), x_label, "#555555", 12, anchor="ra")
    return np.asarray(canvas.resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def scatter(
    title: str, extent: float, points: Mapping[str, Line], lines: Mapping[str, Line] | None = None
) -> Picture:
    """Draw points of a plane, and lines through it.

    Args:
        title: title above the picture.
        extent: both axes go from -extent to extent.
        points: points by name.
        lines: lines by name.

    Returns:
        (360, 360, 3) uint8 RGB.
    """
    canvas = Image.new("RGB", (HEIGHT * _SCALE, HEIGHT * _SCALE), "white")
    side = HEIGHT - _TOP - _RIGHT
    chart = _Chart(
        ImageDraw.Draw(canvas), (-extent, extent), (-extent, extent), (_RIGHT // 2, _TOP, side, side)
    )
    chart.frame()
    names = [*points, *(lines or {})]
    for colour, name in zip(_cycle(len(names)), names, strict=True):
        if name in points:
            chart.dots(points[name], colour)
        else:
            chart.line((lines or {})[name], colour)
        chart.legend(name, colour, HEIGHT - 14)
    chart.text((_RIGHT // 2, 12), title, "black", 13)
    return np.asarray(canvas.resize((HEIGHT, HEIGHT), Image.Resampling.BOX))


class _Chart:
    """Maps values to the canvas."""

    def __init__(
        self,
        draw: ImageDraw.ImageDraw,
        x: tuple[float, float],
        y: tuple[float, float],
        area: tuple[int, int, int, int] = (_LEFT, _TOP, WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM),
    ) -> None:
        self._draw, self._x, self._y, self._area = draw, x, y, area
        self._legend = float(area[0] + area[2])

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return canvas coordinates of a point, before scaling."""
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        left, top, width, height = self._area
        return left + across * width, top + (1 - up) * height

    def frame(self) -> None:
        left, top, width, height = self._area
        right, bottom = left + width, top + height
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        self._stroke(corners, "#e2e2e2", 1)

    def dots(self, points: Line, colour: str) -> None:
        for x, y in (self.place(*point) for point in points if max(map(abs, point)) <= self._x[1]):
            corners = [_SCALE * value for value in (x - 1.5, y - 1.5, x + 1.5, y + 1.5)]
            self._draw.ellipse(corners, fill=colour)

    def axes(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        for x in xs:
            left, bottom = self.place(x, self._y[0])
            self._stroke([(left, bottom), (left, bottom + 4)], "#888888", 1)
            self.text((left, bottom + 7), _short(x), "#555555", 12, anchor="ma")
        for y in ys:
            left, level = self.place(self._x[0], y)
            self._stroke([(left, level), (WIDTH - _RIGHT, level)], "#e2e2e2", 1)
            self.text((left - 8, level), _short(y), "#555555", 12, anchor="rm")

    def line(self, points: Line, colour: str) -> None:
        places = [self.place(x, y) for x, y in points]
        if len(places) > 1:
            self._stroke(places, colour, 2)
        for x, y in places if len(places) <= 60 else ():
            corners = [_SCALE * value for value in (x - 2.5, y - 2.5, x + 2.5, y + 2.5)]
            self._draw.ellipse(corners, fill=colour)

    def legend(self, name: str, colour: str, y: float = 12) -> None:
        self.text((self._legend, y), name, colour, 12, anchor="ra")
        self._legend -= self._draw.textlength(name, _font(12)) / _SCALE + 14

    def text(self, place: tuple[float, float], text: str, colour: str, size: int, anchor: str = "la") -> None:
        self._draw.text((place[0] * _SCALE, place[1] * _SCALE), text, colour, _font(size), anchor=anchor)

    def _stroke(self, places: Sequence[tuple[float, float]], colour: str, width: int) -> None:
        flat = [(_SCALE * x, _SCALE * y) for x, y in places]
        self._draw.line(flat, fill=colour, width=width * _SCALE, joint="curve")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _SCALE)


def _cycle(count: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(count)]


def _ticks(low: float, high: float) -> list[float]:
    """Return four to eight round values, the first at most `low` and the last at least `high`."""
    if high == low:
        low, high = low - 0.5, high + 0.5
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * i for i in range(first, last + 1)]


def _short(value: float) -> str:
    """Format a tick briefly: 1.5, 20k, 3M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"
