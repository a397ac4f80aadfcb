"""Small test pictures as image files: an animation, and photos in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def _images(count: int) -> list[Image.Image]:
    y, x = np.mgrid[:32, :48]
    return [
        Image.fromarray(
            np.stack([(x * 5 + 9 * i) % 256, (y * 7 + 3 * i) % 256, x + y + i], -1).astype(np.uint8)
        )
        for i in range(count)
    ]


def animation(path: Path, count: int) -> Path:
    """Write an animated WebP, its pictures 40 ms apart."""
    first, *rest = _images(count)
    first.save(path, save_all=True, append_images=rest, duration=40, lossless=True)
    return path


def photos(folder: Path, count: int) -> list[Path]:
    """Write numbered PNG files."""
    folder.mkdir()
    paths = [folder / f"{index:04}.png" for index in range(count)]
    for path, image in zip(paths, _images(count), strict=True):
        image.save(path)
    return paths
