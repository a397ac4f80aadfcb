"""Samples of a trained recipe: a grid, a video between two noise vectors, or an enlarged picture."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtdeblur.frames import Colour, Frame
from rtdeblur.live.sinks.encoded import record_to
from train.data.pictures import Picture, read_picture, write_picture
from train.errors import ConfigError
from train.measure.evaluate import to_tensor
from train.measure.grid import grid, to_pictures
from train.recipes import cgan, dcgan
from train.recipes.cgan import CganGenerator
from train.recipes.dcgan import DcganGenerator
from train.recipes.srgan import SrganGenerator

RATE = 25
"""Frames per second of a video."""
_LEAST = 224
"""Least side of a video, pixels; smaller samples are enlarged, each pixel a square."""
_TILE, _OVERLAP = 128, 16


def sample_grid(
    generator: nn.Module, count: int, columns: int, seed: int, label: int | None = None
) -> Picture:
    """Draw samples and arrange them; a conditional generator without a label gets one row per class.

    Args:
        generator: generator of DCGAN or the conditional GAN.
        count: number of samples; ignored for one row per class.
        columns: samples per row.
        seed: seed of the noise.
        label: the class, for a conditional generator.

    Raises:
        ConfigError: the generator does not draw from noise, or has no such class.
    """
    if isinstance(generator, CganGenerator) and label is None:
        labels = torch.arange(cgan.CLASSES).repeat_interleave(columns)
    else:
        labels = torch.full((count,), _label(generator, label))
    return grid(_draw(generator, _noise(generator, len(labels), seed), labels), columns)


def interpolate(generator: nn.Module, path: Path, seconds: float, seed: int, label: int | None = None) -> int:
    """Write a video from one noise vector to another and back; return its number of frames.

    The path is on the sphere between them, since a straight line passes through vectors that are shorter than
    any that the generator was trained on (White, Sampling Generative Networks, 2016).

    Args:
        generator: generator of DCGAN or the conditional GAN.
        path: the video, Matroska; an existing one is replaced.
        seconds: length.
        seed: seed of both vectors.
        label: the class, for a conditional generator; class 0 by default.

    Raises:
        ConfigError: see `sample_grid`.
        UsageError: the path does not end in .mkv.
        OutputError: the video cannot be written.
    """
    first, last = _noise(generator, 2, seed)
    frames = max(2, round(seconds * RATE))
    shares = [(1 - math.cos(2 * math.pi * i / frames)) / 2 for i in range(frames)]
    noise = torch.stack([between(first, last, share) for share in shares])
    samples = _draw(generator, noise, torch.full((frames,), _label(generator, label)))
    open_sink, sink = record_to(path, overwrite=True), None
    try:
        for i, picture in enumerate(to_pictures(samples)):
            frame = _frame(picture, i)
            sink = sink or open_sink(frame, RATE)
            sink.write(frame, i / RATE)
    finally:
        if sink:
            sink.close()
    return frames


def between(first: Tensor, last: Tensor, share: float) -> Tensor:
    """Spherical interpolation between two vectors (Shoemake, SIGGRAPH 1985)."""
    angle = torch.arccos(torch.cosine_similarity(first, last, dim=0).clamp(-1, 1))
    if angle.sin().abs() < 1e-6:
        return torch.lerp(first, last, share)
    return (torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * last) / torch.sin(angle)


@torch.inference_mode()
def enlarge_picture(generator: nn.Module, picture: Picture) -> Picture:
    """Enlarge a picture of any size with SRGAN's generator, in overlapping tiles.

    Raises:
        ConfigError: the generator does not enlarge pictures.
    """
    if not isinstance(generator, SrganGenerator):
        raise ConfigError("only a checkpoint of srgan enlarges pictures")
    low, scale = to_tensor(picture), generator.scale
    height, width = picture.shape[:2]
    whole = torch.empty(1, 3, scale * height, scale * width)
    for y in range(0, height, _TILE):
        for x in range(0, width, _TILE):
            top, left = max(0, y - _OVERLAP), max(0, x - _OVERLAP)
            bottom, right = min(height, y + _TILE), min(width, x + _TILE)
            tile = generator(low[..., top : bottom + _OVERLAP, left : right + _OVERLAP])
            part = tile[
                ..., scale * (y - top) : scale * (bottom - top), scale * (x - left) : scale * (right - left)
            ]
            whole[..., scale * y : scale * bottom, scale * x : scale * right] = part
    return to_pictures(whole)[0]  # type: ignore[no-any-return]


def enlarge_file(generator: nn.Module, source: Path, path: Path) -> None:
    """Enlarge a picture file.

    Raises:
        ConfigError: see `enlarge_picture`.
        DataError: a file cannot be read or written.
    """
    write_picture(path, enlarge_picture(generator, read_picture(source)))


def _noise(generator: nn.Module, count: int, seed: int) -> Tensor:
    lengths = {DcganGenerator: dcgan.NOISE, CganGenerator: cgan.NOISE}
    if type(generator) not in lengths:
        raise ConfigError("a checkpoint of srgan draws no samples; give it a --picture to enlarge")
    return torch.randn(count, lengths[type(generator)], generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def _draw(generator: nn.Module, noise: Tensor, labels: Tensor) -> Tensor:
    arguments = (noise, labels) if isinstance(generator, CganGenerator) else (noise,)
    parts = [generator(*some) for some in zip(*(torch.split(a, 64) for a in arguments), strict=True)]
    return torch.cat(parts)


def _label(generator: nn.Module, label: int | None) -> int:
    if label is None:
        return 0
    if not isinstance(generator, CganGenerator):
        raise ConfigError(f"class is {label}, but only a checkpoint of cgan has classes")
    if not 0 <= label < cgan.CLASSES:
        raise ConfigError(f"class is {label}, expected 0 to {cgan.CLASSES - 1}")
    return label


def _frame(picture: Picture, index: int) -> Frame:
    """A frame of full-range R'G'B', large enough to watch."""
    zoom = -(-_LEAST // picture.shape[0])
    red, green, blue = (
        np.ascontiguousarray(p) for p in picture.repeat(zoom, 0).repeat(zoom, 1).transpose(2, 0, 1)
    )
    colour = Colour(matrix="rgb", full_range=True)
    return Frame((green, blue, red), pts=index, time_base=Fraction(1, RATE), colour=colour)
