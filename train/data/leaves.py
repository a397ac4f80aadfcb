"""Drawn scenes: steep edges next to areas without any detail, as in animations and games."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.trajectory import Floats

_SHAPES = (40, 900)
_SMALLEST, _LARGEST = (0.005, 0.04), 0.5
"""Radii, as shares of the shorter side; scenes differ in the smallest one and in the number of shapes."""
_WORDS = 0.2
"""Share of the shapes that are words instead."""
_MOST_GRAIN = 0.015
_FINE = 2
"""Supersampling factor, for smooth edges."""
_LETTERS = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


def draw_leaves(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Draw shapes and words that cover each other: (height, width, 3) float32 in [0, 1].

    The number of shapes falls with the cube of their size, which gives the statistics of natural scenes
    (dead leaves; Lee, Mumford and Huang, IJCV 2001).
    """
    tall, wide = _FINE * height, _FINE * width
    canvas = np.full((tall, wide, 3), _colour(rng), np.uint8)
    least, most = (share * min(tall, wide) for share in (_between(rng, *_SMALLEST), _LARGEST))
    for uniform in rng.random(round(_between(rng, *_SHAPES))):
        radius = (least**-2 + uniform * (most**-2 - least**-2)) ** -0.5  # density ∝ radius⁻³
        centre = int(rng.integers(wide)), int(rng.integers(tall))
        if rng.random() < _WORDS:
            _word(rng, canvas, centre, radius)
        else:
            cv2.fillPoly(canvas, [_outline(rng, radius) + centre], _colour(rng), cv2.LINE_AA)
    light = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    grain = rng.normal(0, rng.uniform(0, _MOST_GRAIN), (height, width, 1))
    return np.asarray(np.clip(light + grain, 0, 1), np.float32)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw evenly on a logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _outline(rng: np.random.Generator, radius: float) -> NDArray[np.int32]:
    """Corners of a turned polygon about the origin, or of an ellipse, which has very many."""
    corners = int(rng.choice([3, 4, 4, 6, 64]))
    angles = 2 * np.pi * (np.arange(corners) + rng.random()) / corners
    points = radius * np.stack([np.cos(angles), rng.uniform(0.3, 1) * np.sin(angles)], axis=1)
    turn = rng.uniform(0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    outline: NDArray[np.int32] = np.rint(points @ rotation.T).astype(np.int32)
    return outline


def _word(
    rng: np.random.Generator, canvas: NDArray[np.uint8], centre: tuple[int, int], radius: float
) -> None:
    """Write a word whose letters are as tall as a shape of this radius."""
    word = "".join(rng.choice(_LETTERS, int(rng.integers(1, 8))))
    size = radius / 12  # letters of this font are 24 pixels tall at size 1
    stroke = max(1, round(size * rng.uniform(1, 3)))
    cv2.putText(canvas, word, centre, cv2.FONT_HERSHEY_SIMPLEX, size, _colour(rng), stroke, cv2.LINE_AA)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue
