"""Frames like those of users, blurred and sharp, from which the gate learns.

A frame is a real one or a photograph, a page of text or a drawn scene; blurred whole, in part, or not at all;
of many sizes; and often as a video encoder leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtdeblur.frames import Colour
from train.data.blur import MotionBlur
from train.data.degrade import degrade
from train.data.leaves import draw_leaves
from train.data.pictures import Picture, find_pairs, list_pictures, read_picture
from train.data.text import render_text
from train.measure.suite import KEPT_CLIP

_BLURS = {
    "long": MotionBlur(max_length=48, sharp=0),
    "short": MotionBlur(max_length=10, sharp=0),
    "objects": MotionBlur(sharp=0, layered=1),
    "part": MotionBlur(max_length=24, sharp=0),
    "sharp": MotionBlur(sharp=1),
}
_STILL = (np.ones((1, 1), np.float32),)
"""Kernel of a camera that does not move."""
_USUAL = (768, 1024)
"""Usual height and width of a frame."""
_SIZES = (0.3, 0.36, 0.43, 0.52, 0.62, 0.75, 0.87, 1.0, 1.3, 1.8)
"""Frames are drawn at one of these multiples of that. A frame is judged as a whole, so many small ones teach
more than few large ones; but these are softer. The model is compiled for each size.
"""
_PAGES = 60
"""Pages of rendered text, for screens and signs, and as many drawn scenes."""
_REDUCTIONS = (1.4, 2.0, 2.8, 4.0)
"""Real pairs are shown reduced by one of these factors, too."""
_LEAST_REDUCED = 128
_NOISE, _JPEG, _H264 = 2.0, 0.25, 0.45
"""Degradation (see `train.data.degrade`): most frames of users come out of a video encoder."""

_COLOUR = Colour()

Luma = NDArray[np.uint8]
Values = NDArray[np.float32]
"""Code values of a picture in [0, 1], (H, W, 3)."""
Size = tuple[int, int]
"""Height and width."""


def frames(
    pairs: Sequence[Path], photos: Sequence[Path], every: int = 1, seed: int = 0
) -> Iterator[tuple[str, Picture, Picture]]:
    """Yield frames: name of the set, blurred and sharp, both (H, W, 3) uint8 RGB.

    Args:
        pairs: folders of real pairs; the sharp picture of each is a frame that needs nothing.
        photos: folders of sharp photographs, blurred here; pages of text and drawn scenes come with them.
        every: use every n-th picture only.
        seed: seed of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    for folder in pairs:
        found = [pair for pair in find_pairs(folder) if not pair[0].name.startswith(KEPT_CLIP)]
        for paths in found[::every]:
            blurred, sharp = (_whole(read_picture(path)) for path in paths)
            yield folder.name, _coded(blurred, rng), sharp
            yield f"{folder.name}, sharp", _coded(sharp, rng), sharp
            height, width = _even(sharp.shape[:2], 1 / rng.choice(_REDUCTIONS))
            if min(height, width) >= _LEAST_REDUCED:
                smaller = [
                    np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
                    for picture in (blurred, sharp)
                ]
                yield f"{folder.name}, small", _coded(smaller[0], rng), smaller[1]
                yield f"{folder.name}, small and sharp", _coded(smaller[1], rng), smaller[1]
    for folder in photos:
        files = list_pictures(folder)[::every]
        yield from _blurred(folder.name, len(files), partial(_photo, files), rng)
    if photos:
        for name, draw in (("text", _text), ("drawn", _drawn)):
            yield from _blurred(name, -(-_PAGES // every), partial(draw, rng), rng)


def _blurred(
    name: str, count: int, draw: Callable[[int, Size], Values], rng: np.random.Generator
) -> Iterator[tuple[str, Picture, Picture]]:
    """Blur `count` sharp pictures in every way; `draw` makes one of a number and a size."""
    for number in range(count):
        for kind, blur in _BLURS.items():
            size = _even(_USUAL, rng.choice(_SIZES))
            motion = blur.draw(rng)
            if kind == "objects":  # fast, in front of a sharp background
                motion = replace(motion, kernels=_STILL)
            other = partial(draw, int(rng.integers(count)), size)
            soft, truth = motion.blur(draw(number, size), rng, other)
            if kind == "part":
                soft = np.where(_half_plane(rng, size), soft, truth)
            noise = 0.0 if kind == "sharp" else _NOISE
            degraded = degrade(rng, soft, noise, _JPEG, _H264, sensor=True)
            yield f"{name}, {kind}", _codes(degraded), _codes(truth)


def _half_plane(rng: np.random.Generator, size: Size) -> NDArray[np.bool_]:
    """Draw a side of a line through a frame: (height, width, 1)."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.arange(length) - rng.uniform(0.25, 0.75) * length for length in size)
    side: NDArray[np.bool_] = np.sin(angle) * y[:, None, None] + np.cos(angle) * x[:, None] > 0
    return side


def _even(size: tuple[int, ...], factor: float) -> Size:
    """Scale (height, width) to even numbers, as video has."""
    height, width = (2 * round(length * factor / 2) for length in size)
    return height, width


def _whole(picture: Picture) -> Picture:
    """Cut a picture to even sides."""
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]


def _photo(files: Sequence[Path], number: int, size: Size) -> Values:
    """Read a photograph as (height, width) of `size`, cut to its aspect ratio."""
    picture = read_picture(files[number]).astype(np.float32) / 255
    (height, width), (rows, columns) = size, picture.shape[:2]
    scale = max(height / rows, width / columns)
    whole = max(width, round(columns * scale)), max(height, round(rows * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, whole, interpolation=how), np.float32)[:height, :width].clip(0, 1)


def _text(rng: np.random.Generator, number: int, size: Size) -> Values:
    """Render another page of text, whatever its number."""
    return render_text(rng, max(size))[: size[0], : size[1]]


def _drawn(rng: np.random.Generator, number: int, size: Size) -> Values:
    """Draw another scene, whatever its number."""
    return draw_leaves(rng, *size)


def _codes(values: NDArray[np.floating[Any]]) -> Picture:
    codes: Picture = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    return codes


def _coded(picture: Picture, rng: np.random.Generator) -> Picture:
    """Compress some pictures, whose sides are even."""
    return _codes(degrade(rng, np.asarray(picture / 255, np.float32), 0, _JPEG, _H264, sensor=True))


def luma_of(picture: Picture) -> Luma:
    """Luma of (H, W, 3) uint8 RGB: (H, W) uint8, BT.709, limited range."""
    matrix = _COLOUR.rgb_to_yuv()
    codes: Luma = np.rint(picture / 255 @ matrix[0, :3] + matrix[0, 3]).astype(np.uint8)
    return codes
