"""Enlarged pictures against true ones and bicubic enlargement: PSNR, SSIM, distance of VGG features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.data.pictures import Picture
from train.measure.evaluate import psnr, ssim
from train.measure.grid import grid, to_pictures
from train.networks.vgg import Vgg

_SHOWN = 4


def compare(
    generator: nn.Module, pictures: Sequence[Tensor], scale: int, vgg: Vgg | None
) -> tuple[dict[str, float], Picture]:
    """Shrink pictures, enlarge them, and measure.

    Args:
        generator: enlarges (1, 3, H, W) in [-1, 1].
        pictures: (1, 3, H, W) in [-1, 1] each, of sizes that are multiples of the scale.
        scale: 2 or 4.
        vgg: network of the feature distance; None leaves that out.

    Returns:
        mean `psnr`, `ssim` and `distance`, each also with `_bicubic`, and a sheet of the first four pictures:
        low (each pixel a square), bicubic, restored, true.
    """
    totals: defaultdict[str, float] = defaultdict(float)
    tiles: list[Tensor] = []
    device = next(generator.parameters()).device
    for true in pictures:
        low = shrink(true, scale)
        bicubic, restored = enlarge(low, scale), generator(low.to(device)).cpu()
        for suffix, picture in (("", restored), ("_bicubic", bicubic)):
            (made,), (wanted,) = to_pictures(picture), to_pictures(true)
            totals["psnr" + suffix] += psnr(made, wanted)
            totals["ssim" + suffix] += ssim(made, wanted)
            if vgg:
                totals["distance" + suffix] += vgg.to("cpu").distance(picture, true)
        tiles += [F.interpolate(low, scale_factor=scale), bicubic, restored, true]
    sheet = grid(torch.cat(tiles[: 4 * _SHOWN]), columns=4)
    return {name: total / len(pictures) for name, total in totals.items()}, sheet


def middle(picture: Picture, most: int) -> Picture:
    """Cut the middle square of a picture, of at most `most` pixels per side, a multiple of 4."""
    side = min(most, *picture.shape[:2]) // 4 * 4
    y, x = ((length - side) // 2 for length in picture.shape[:2])
    return picture[y : y + side, x : x + side]


def shrink(pictures: Tensor, scale: int) -> Tensor:
    """Shrink (N, 3, H, W) in [-1, 1] by a bicubic kernel with antialiasing, to values of 8 bits."""
    low = F.interpolate(pictures, scale_factor=1 / scale, mode="bicubic", antialias=True)
    return ((low.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def enlarge(pictures: Tensor, scale: int) -> Tensor:
    """Enlarge (N, 3, H, W) in [-1, 1] by a bicubic kernel, the baseline."""
    return F.interpolate(pictures, scale_factor=scale, mode="bicubic").clamp(-1, 1)
