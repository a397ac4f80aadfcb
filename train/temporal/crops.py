"""Training crops of the fusion, drawn from prepared examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from train.data.workers import outlast_sigterm, start_method
from train.errors import DataError
from train.temporal.fusion import AFTER, BEFORE, BLURRED, CURRENT, SHARP

_WRONG = 0.06
"""Share of crops with a neighbour that is missing or of another scene, as at a cut."""
_UNCHANGED = 0.06
"""Share of crops of a sharp frame that the model left as it was: nothing is to be done."""
_GAIN = (0.6, 1.1)
_ENDLESS = 2**62

Codes = NDArray[np.uint8]


class Group(NamedTuple):
    """Examples of one kind.

    Attributes:
        share: share of the crops, relative to other groups.
        paths: files of `train.temporal.examples.prepare`.
    """

    share: float
    paths: Sequence[Path]


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Batches of crops by step; a batch depends only on the seed and the step.

    Args:
        groups: the examples.
        size: side of the square crops, pixels.
        count: crops per batch.
        seed: seed of every random choice.

    Raises:
        DataError: an example is smaller than the crops.
    """

    def __init__(self, groups: Sequence[Group], size: int, count: int, seed: int) -> None:
        self._groups, self._size, self._count, self._seed = groups, size, count, seed
        shares = np.array([group.share for group in groups])
        self._shares = shares / shares.sum()
        self._open: dict[Path, Codes] = {}
        for path in (path for group in groups for path in group.paths):
            height, width = np.load(path, mmap_mode="r").shape[1:3]
            if min(height, width) < size:
                raise DataError(f"a frame is {height}×{width} (height×width), expected {size}×{size} or more")

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return code values (N, 5, 3, size, size) uint8 and the gain to apply to each crop, (N,) float32."""
        rng = np.random.default_rng([self._seed, step])
        codes = np.stack([self._crop(rng) for _ in range(self._count)])
        gains = rng.uniform(*_GAIN, self._count).astype(np.float32)
        return torch.from_numpy(codes), torch.from_numpy(gains)

    def _crop(self, rng: np.random.Generator) -> Codes:
        crop = self._window(rng)
        kind = rng.random()
        if kind < _WRONG:
            crop = self._spoiled(rng, crop)
        elif kind < _WRONG + _UNCHANGED:
            crop = crop[[SHARP, BEFORE, AFTER, SHARP, SHARP]]
        if rng.random() < 0.5:
            crop = crop[[CURRENT, AFTER, BEFORE, BLURRED, SHARP]]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if rng.random() < 0.5:
            crop = crop[:, :, ::-1]
        axes = (2, 1) if rng.random() < 0.5 else (1, 2)
        return crop.transpose(0, 3, *axes)[:, rng.permutation(3)]

    def _window(self, rng: np.random.Generator) -> Codes:
        """Draw a window of an example: (5, size, size, 3)."""
        paths = self._groups[rng.choice(len(self._groups), p=self._shares)].paths
        path = paths[int(rng.integers(len(paths)))]
        if path not in self._open:
            self._open[path] = np.load(path, mmap_mode="r")
        example = self._open[path]
        y, x = (int(rng.integers(side - self._size + 1)) for side in example.shape[1:3])
        return np.asarray(example[:, y : y + self._size, x : x + self._size])

    def _spoiled(self, rng: np.random.Generator, crop: Codes) -> Codes:
        """Replace one neighbour or both by the current frame, as at a clip's ends, or by another scene."""
        crop = crop.copy()
        for neighbour in ((BEFORE,), (AFTER,), (BEFORE, AFTER), (BEFORE, AFTER))[rng.integers(4)]:
            crop[neighbour] = crop[CURRENT] if rng.random() < 0.5 else self._window(rng)[CURRENT]
        return crop


def batches(crops: Crops, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of all steps, in order.

    Args:
        crops: the crops.
        workers: processes that make them; 0 makes them in this one.
    """
    loader = DataLoader(
        crops,
        batch_size=None,
        sampler=range(_ENDLESS),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context=start_method(workers),
        worker_init_fn=outlast_sigterm,
    )
    return iter(loader)


def to_floats(codes: Tensor, gains: Tensor) -> Tensor:
    """Convert a batch of `Crops` to float32 from 0 to 1, on its device."""
    return (codes.float() * (gains / 255).view(-1, 1, 1, 1, 1)).clamp_(max=1)
