"""CIFAR-10 (Krizhevsky, 2009) as it is downloaded: python or binary batches, in a folder or the archive."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.errors import DataError

_PIXELS = 3 * 32 * 32
_ALLOWED = {"_reconstruct", "_frombuffer", "ndarray", "dtype", "encode"}
"""Names in NumPy and `_codecs` that the official batches refer to; none of them runs other code."""


def is_cifar(path: Path) -> bool:
    """Whether this is a folder with batches of CIFAR-10, or its archive."""
    return path.suffixes[-2:] == [".tar", ".gz"] or next(path.glob("data_batch_*"), None) is not None


def read_cifar(path: Path) -> tuple[Tensor, Tensor]:
    """Read the training batches.

    Args:
        path: `cifar-10-python.tar.gz`, `cifar-10-binary.tar.gz`, or a folder with the batches of either.

    Returns:
        pictures, (N, 3, 32, 32) uint8 RGB, and labels, (N,) int64 from 0 to 9.

    Raises:
        DataError: there are no batches, or one is damaged.
    """
    pictures, labels = [], []
    try:
        for name, data in _batches(path):
            values, classes = _binary(data) if name.endswith(".bin") else _python(data)
            if values.shape != (len(classes), _PIXELS) or values.dtype != np.uint8 or not len(classes):
                raise ValueError(
                    f"{name} has pictures of {values.shape} {values.dtype}, {len(classes)} labels"
                )
            if classes.min() < 0 or classes.max() > 9:
                raise ValueError(
                    f"{name} has labels from {classes.min()} to {classes.max()}, expected 0 to 9"
                )
            pictures.append(values)
            labels.append(classes)
    except (OSError, EOFError, tarfile.TarError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise DataError(f"cannot read {path} as CIFAR-10: {error}; download it again") from None
    if not pictures:
        raise DataError(
            f"no data_batch_* of CIFAR-10 in {path}; expected its archive, or the unpacked folder"
        )
    stacked = torch.from_numpy(np.concatenate(pictures).reshape(-1, 3, 32, 32))
    return stacked, torch.from_numpy(np.concatenate(labels))


def _batches(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the training batches, in order."""
    if path.is_dir():
        for file in sorted(path.glob("data_batch_*")):
            yield file.name, file.read_bytes()
        return
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            content = archive.extractfile(member)
            if content and Path(member.name).name.startswith("data_batch_"):
                yield Path(member.name).name, content.read()


def _binary(data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Records of one byte of label and 3072 of picture."""
    rows = np.frombuffer(data, np.uint8).reshape(-1, 1 + _PIXELS)
    return rows[:, 1:], rows[:, 0].astype(np.int64)


def _python(data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A pickled dictionary of Python 2."""
    batch = _BatchUnpickler(io.BytesIO(data), encoding="bytes").load()
    if not isinstance(batch, dict):
        raise ValueError(f"a batch is {type(batch).__name__}, expected a dictionary")
    return np.asarray(batch[b"data"]), np.asarray(batch[b"labels"], np.int64)


class _BatchUnpickler(pickle.Unpickler):
    """Reads arrays, lists and dictionaries, and refuses everything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] not in ("numpy", "_codecs") or name not in _ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which a batch does not need")
        return super().find_class(module, name)
