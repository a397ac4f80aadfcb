"""Labelled pictures in MNIST's idx format, such as Fashion-MNIST (Xiao et al., 2017)."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Folder of Debian's package dataset-fashion-mnist."""
FASHION = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
"""Names of Fashion-MNIST's classes, by label."""


def read_labelled(folder: Path, part: str = "train") -> tuple[Tensor, Tensor]:
    """Read the pictures and labels of one part of an idx data set.

    Args:
        folder: contains `PART-images-idx3-ubyte` and `PART-labels-idx1-ubyte`, also compressed (`.gz`).
        part: `train` or `t10k`.

    Returns:
        pictures, (N, 1, H, W) uint8, and labels, (N,) int64.

    Raises:
        DataError: a file is missing or damaged, or the numbers of pictures and labels differ.
    """
    pictures = _read(folder, f"{part}-images-idx3-ubyte", 3)
    labels = _read(folder, f"{part}-labels-idx1-ubyte", 1)
    if len(pictures) != len(labels):
        raise DataError(
            f"{folder} has {len(pictures)} pictures but {len(labels)} labels in its part {part!r}"
        )
    return torch.from_numpy(pictures)[:, None], torch.from_numpy(labels.astype(np.int64))


def _read(folder: Path, name: str, dimensions: int) -> NDArray[np.uint8]:
    """Read an array of unsigned bytes: magic number, big-endian sizes, values."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise DataError(
            f"no {name}[.gz] in {folder}; install Debian's dataset-fashion-mnist, or download the files there"
        )
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        magic, *sizes = struct.unpack_from(f">{1 + dimensions}I", data)
    except (OSError, EOFError, struct.error) as error:
        raise DataError(f"cannot read {path} as an idx file: {error}; download it again") from None
    values = np.frombuffer(data, np.uint8, offset=4 * (1 + dimensions))
    if magic != 0x0800 + dimensions or values.size != np.prod(sizes) or not values.size:
        raise DataError(
            f"{path} has the magic number {magic:#06x}, sizes {sizes} and {values.size} values; expected "
            f"{0x0800 + dimensions:#06x} and as many values as the sizes say; download it again"
        )
    return values.reshape(sizes).copy()
