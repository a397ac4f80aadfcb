"""A picture in memory, as samples and as planes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur.frames import Colour, Frame, Plane

MILLISECOND = Fraction(1, 1000)

_GREEN_BLUE_RED = (1, 2, 0)
"""Channels in the order of the planes of Colour("rgb"): green, blue, red."""


@dataclass(frozen=True, slots=True)
class Still:
    """One picture.

    Attributes:
        samples: (H, W, C), C of 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; uint8 or uint16, full
            range.
        milliseconds: display time in an animation; else 0.
    """

    samples: NDArray[np.uint8 | np.uint16]
    milliseconds: int = 0

    def __post_init__(self) -> None:
        if self.samples.ndim != 3 or self.samples.shape[2] not in (1, 2, 3, 4):
            raise ValueError(f"samples are {self.samples.shape}, expected (H, W, 1 to 4)")

    @property
    def depth(self) -> int:
        """Bits per sample, 8 or 16."""
        return 8 * self.samples.itemsize

    @property
    def colours(self) -> int:
        """Channels without alpha: 1 or 3."""
        return 1 if self.samples.shape[2] < 3 else 3

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.samples.shape[2] in (2, 4)

    def frame(self, milliseconds: int = 0) -> Frame:
        """Return the picture as a frame that carries it.

        Args:
            milliseconds: presentation time.
        """
        if self.colours == 1:
            neutral = np.full((1, 1), 1 << (self.depth - 1), self.samples.dtype)
            planes = (np.ascontiguousarray(self.samples[..., 0]), neutral, neutral)
            return Frame(planes, milliseconds, MILLISECOND, Colour("bt709", True, self.depth), self)
        green, blue, red = (np.ascontiguousarray(self.samples[..., c]) for c in _GREEN_BLUE_RED)
        return Frame((green, blue, red), milliseconds, MILLISECOND, Colour("rgb", True, self.depth), self)

    def with_planes(self, planes: list[Plane]) -> Still:
        """Return the picture with the planes of its restored frame; alpha stays."""
        samples = self.samples.copy()
        channels = (0,) if self.colours == 1 else _GREEN_BLUE_RED
        for channel, plane in zip(channels, planes, strict=False):  # grey has only one plane
            samples[..., channel] = plane
        return replace(self, samples=samples)

    def in_8_bits(self) -> Still:
        """Return the picture rounded to 8 bits per sample."""
        if self.depth == 8:
            return self
        rounded: NDArray[Any] = (self.samples.astype(np.uint32) * 255 + 32767) // 65535
        return replace(self, samples=rounded.astype(np.uint8))

    def upright(self, orientation: int) -> Still:
        """Return the picture rotated by its EXIF orientation (tag 0x0112).

        Args:
            orientation: 1 to 8; other values leave it unchanged.
        """
        samples = self.samples
        if orientation in (5, 6, 7, 8):
            samples = samples.transpose(1, 0, 2)
        if orientation in (2, 3, 6, 7):
            samples = samples[:, ::-1]
        if orientation in (3, 4, 7, 8):
            samples = samples[::-1]
        return replace(self, samples=np.ascontiguousarray(samples))
