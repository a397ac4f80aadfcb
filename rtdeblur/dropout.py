"""Dropout at inference (Kupyn et al., DeblurGAN, CVPR 2018): one mask from a seed for a whole stream.

A full mask for 720p would take a quarter of a gigabyte. A product of three ±1 tables has the same values with
the same probabilities in 3 MB: mask[c, y, x] = 1 + rows[c, y] · columns[c, x] · plane[y, x]. Tables of zeros
make every mask value 1, which disables dropout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Signs = tuple[NDArray[np.float16], NDArray[np.float16], NDArray[np.float16]]
"""rows (S, C, h), columns (S, C, w), plane (S, h, w): ±1, or all 0 if dropout is off."""

INPUTS = ("dropout_rows", "dropout_columns", "dropout_plane")
"""Input names of the tables in a video graph, after those of `rtdeblur.model.INPUTS`."""

Policy = Literal["paper", "off"]


@dataclass(frozen=True)
class DropoutSites:
    """Dropout layers of a generator: S (`count`) of C (`channels`) channels each, at the stride's resolution.

    h and w are the height and width of the picture divided by the stride, rounded up.
    """

    count: int
    channels: int
    stride: int

    def shapes(self, height: int, width: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the three tables for a picture of height × width pixels."""
        h, w = -(-height // self.stride), -(-width // self.stride)
        return (self.count, self.channels, h), (self.count, self.channels, w), (self.count, h, w)

    def draw(self, seed: int, height: int, width: int) -> Signs:
        """Draw the tables of a seed; identical on every machine, since NumPy's Philox stream is fixed."""
        shapes = self.shapes(height, width)
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        words = np.random.Philox(seed).random_raw(-(-int(ends[-1]) // 64)).astype("<u8")
        signs = np.unpackbits(words.view(np.uint8))[: ends[-1]].astype(np.float16) * 2 - 1
        rows, columns, plane = (
            part.reshape(shape) for part, shape in zip(np.split(signs, ends[:-1]), shapes, strict=True)
        )
        return rows, columns, plane

    def off(self, height: int, width: int) -> Signs:
        """Return the tables that disable dropout."""
        rows, columns, plane = (np.zeros(shape, np.float16) for shape in self.shapes(height, width))
        return rows, columns, plane


@dataclass(frozen=True)
class Dropout:
    """Dropout mask of a stream.

    Attributes:
        sites: dropout layers of the generator.
        seed: seed of the mask; None disables dropout.
    """

    sites: DropoutSites
    seed: int | None

    def __str__(self) -> str:
        return "dropout off" if self.seed is None else f"dropout seed {self.seed}"

    def inputs(self, height: int, width: int) -> dict[str, NDArray[np.float16]]:
        """Return the tables by input name, for a picture of height × width pixels."""
        sites = self.sites
        tables = sites.off(height, width) if self.seed is None else sites.draw(self.seed, height, width)
        return dict(zip(INPUTS, tables, strict=True))
