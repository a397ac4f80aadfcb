"""Evaluation of a generator on pairs of whole pictures: PSNR, SSIM, sharpness and time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rtdeblur import parity
from train.data.pictures import Pair, Picture, read_picture, sharpness
from train.measure.parallel import in_order
from train.networks.generators import Generator
from train.networks.vgg import Vgg

Restore = Callable[[Picture], Picture]
Row = dict[str, float]
Table = dict[str, Row]
"""Maps a picture's name to its metrics."""
Watch = Callable[[Picture, Picture, Picture], None]
"""Called with a blurred, a restored and a sharp picture."""

MOST_PSNR = 100.0
"""Upper limit in dB, instead of infinity, which JSON does not have and which would spoil means."""


def restore_with(generator: Generator, dropout_seed: int | None = None) -> Restore:
    """Make a function that restores an (H, W, 3) uint8 RGB picture, reflection-padded to the stride.

    Args:
        generator: on any device; run unchanged except for evaluation mode.
        dropout_seed: seed of the dropout mask; None disables dropout.
    """
    device, stride = next(generator.parameters()).device, generator.stride

    @torch.inference_mode()
    def restore(picture: Picture) -> Picture:
        was_training = generator.training
        generator.eval()
        height, width = picture.shape[:2]
        x = to_tensor(picture).to(device)
        x = F.pad(x, (0, -width % stride, 0, -height % stride), mode="reflect")
        signs: list[Tensor] = []
        if dropout_seed is not None and generator.sites:
            tables = generator.sites.draw(dropout_seed, height, width)
            signs = [torch.from_numpy(table).to(device) for table in tables]
        y = generator(x, *signs)[0, :, :height, :width].float()
        generator.train(was_training)
        code = ((y + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0)
        return code.cpu().numpy()  # type: ignore[no-any-return]

    return restore


def to_tensor(picture: Picture) -> Tensor:
    """Convert (H, W, 3) uint8 to (1, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def psnr(picture: Picture, reference: Picture) -> float:
    """Peak signal-to-noise ratio over R, G and B together, dB; MOST_PSNR for equal pictures."""
    decibels = parity.psnr(picture, reference, 255)
    return decibels if math.isfinite(decibels) else MOST_PSNR


def ssim(picture: Picture, reference: Picture) -> float:
    """Structural similarity, mean of R, G and B (Wang et al., TIP 2004: Gaussian window, σ 1.5, 11×11)."""
    from skimage.metrics import structural_similarity  # imported here, since a training machine may lack it

    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    similarity = structural_similarity(  # type: ignore[no-untyped-call]
        reference, picture, channel_axis=2, data_range=255, **options
    )
    return float(similarity)


def evaluate(
    restore: Restore,
    pairs: Iterable[Pair],
    vgg: Vgg | None = None,
    watch: Iterable[Watch] = (),
    jobs: int = 1,
) -> Table:
    """Restore and measure every pair.

    Args:
        restore: restores a picture.
        pairs: pairs of blurred and sharp pictures.
        vgg: VGG weights, for the feature distance.
        watch: each is called with every pair, in order.
        jobs: number of pictures measured at the same time, if `restore` may be called by several threads.

    Returns:
        by picture: `psnr`, `ssim` and, given VGG weights, `distance`, each `_in` (blurred) and `_out`
        (restored), against the sharp one; `psnr_unharmed`, of the restored sharp picture;
        `sharpness_` of the sharp, the blurred and the restored picture and the `ratio` of restored to sharp,
        at full size and (`_256`) of the whole picture shrunk to 256 × 256 before it is restored;
        `milliseconds` to restore it.
    """
    table, watch = {}, list(watch)
    for name, row, pictures in in_order(partial(_measured, restore, vgg), pairs, jobs):
        table[name] = row
        for see in watch:
            see(*pictures)
    return table


def _measured(
    restore: Restore, vgg: Vgg | None, pair: Pair
) -> tuple[str, Row, tuple[Picture, Picture, Picture]]:
    path, twin = pair
    blurred, sharp = read_picture(path), read_picture(twin)
    began = time.perf_counter()
    restored = restore(blurred)
    row = {"milliseconds": 1000 * (time.perf_counter() - began)}
    for end, picture in (("in", blurred), ("out", restored)):
        row |= {f"psnr_{end}": psnr(picture, sharp), f"ssim_{end}": ssim(picture, sharp)}
        if vgg:
            row[f"distance_{end}"] = vgg.distance(to_tensor(picture), to_tensor(sharp))
    row["psnr_unharmed"] = psnr(restore(sharp), sharp)
    row |= _sharpness_row(sharp, blurred, restored, "")
    small_blurred, small_sharp = _shrink(blurred), _shrink(sharp)
    row |= _sharpness_row(small_sharp, small_blurred, restore(small_blurred), "_256")
    return _name(path), row, (blurred, restored, sharp)


def mean(table: Table) -> Row:
    """Return the mean of every column."""
    rows = list(table.values())
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _sharpness_row(sharp: Picture, blurred: Picture, restored: Picture, suffix: str) -> Row:
    scores = {"sharp": sharpness(sharp), "blurred": sharpness(blurred), "restored": sharpness(restored)}
    row = {f"sharpness_{name}{suffix}": value for name, value in scores.items()}
    row[f"sharpness_ratio{suffix}"] = scores["restored"] / scores["sharp"] if scores["sharp"] else 1.0
    return row


def _shrink(picture: Picture) -> Picture:
    return cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _name(path: Path) -> str:
    """Return the scene and the file name, or only the file name if there are no scenes."""
    return f"{path.parent.parent.name}/{path.stem}"
