"""Small squares cut from pictures, for networks of a fixed small size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from train.data.pictures import list_pictures, read_picture
from train.errors import DataError

_LEAST_SHARE = 0.3


def small_squares(folder: Path, size: int, count: int, seed: int = 0) -> Tensor:
    """Cut random squares from the pictures of a folder, and shrink them.

    A square's side is 30 to 100 % of the picture's shorter side, so that the squares show things at many
    scales. Pictures that already are `size` × `size` are taken whole.

    Args:
        folder: pictures of any size from `size` up.
        size: side of the squares in pixels.
        count: approximate number of squares, spread evenly over larger pictures.
        seed: seed of the places.

    Returns:
        (N, 3, size, size) uint8 RGB.

    Raises:
        DataError: there are no pictures, or one is damaged or too small.
    """
    rng, paths, squares = np.random.default_rng(seed), list_pictures(folder), []
    each = -(-count // len(paths))
    for path in paths:
        picture = read_picture(path)
        height, width = picture.shape[:2]
        if min(height, width) < size:
            raise DataError(f"{path} is {height}×{width} (height×width); expected at least {size}×{size}")
        if (height, width) == (size, size):
            squares.append(picture)
            continue
        for _ in range(each):
            side = max(size, round(min(height, width) * rng.uniform(_LEAST_SHARE, 1)))
            y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
            square = picture[y : y + side, x : x + side]
            squares.append(
                np.asarray(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
            )
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).contiguous()
