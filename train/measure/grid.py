"""Grids of samples as pictures."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from train.data.pictures import Picture

_GAP = 2


def grid(samples: Tensor, columns: int, least: int = 56) -> Picture:
    """Arrange samples in rows on white.

    Args:
        samples: (N, 1 or 3, H, W) in [-1, 1].
        columns: samples per row.
        least: smaller samples are enlarged by a whole factor to at least this height, each pixel a square.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    tiles = to_pictures(samples)
    zoom = -(-least // tiles.shape[1])
    tiles = tiles.repeat(zoom, 1).repeat(zoom, 2)
    count, height, width = tiles.shape[:3]
    rows = -(-count // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * (height + _GAP), i % columns * (width + _GAP)
        sheet[y : y + height, x : x + width] = tile
    return sheet


def to_pictures(samples: Tensor) -> Picture:
    """Convert (N, 1 or 3, H, W) in [-1, 1] to (N, H, W, 3) uint8 RGB."""
    codes = ((samples.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return np.broadcast_to(codes, (*codes.shape[:3], 3))
