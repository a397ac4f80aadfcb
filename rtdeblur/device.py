"""Frames that stay in a GPU's memory."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rtdeblur.frames import Colour


@dataclass(frozen=True, slots=True)
class DevicePlane:
    """Rows of bytes in a GPU's memory.

    Attributes:
        address: of the first row.
        pitch: bytes from one row to the next.
        rows: how many.
        width: bytes of a row.
    """

    address: int
    pitch: int
    rows: int
    width: int

    def each(self, step: int) -> DevicePlane:
        """The first of every `step` rows."""
        return DevicePlane(self.address, self.pitch * step, -(-self.rows // step), self.width)


DevicePlanes = tuple[DevicePlane, DevicePlane]
"""Y, then interleaved UV, of an 8-bit 4:2:0 picture of even size: NV12."""


@dataclass(frozen=True, slots=True)
class DeviceFrame:
    """One decoded picture that stays in the GPU's memory, and is restored there, in its place.

    Attributes:
        planes: where it lies; the memory is the carrier's.
        pts: presentation time in units of `time_base`.
        time_base: seconds a unit.
        colour: what the code values mean.
        carrier: as `Frame.carrier`.
    """

    planes: DevicePlanes
    pts: int
    time_base: Fraction
    colour: Colour
    carrier: Any = None

    @property
    def layout(self) -> tuple[tuple[int, int], Colour]:
        """What must agree for frames to share a batch."""
        return (self.planes[0].rows, self.planes[0].width), self.colour


@dataclass(frozen=True, slots=True)
class DeviceBatch:
    """Consecutive device frames of one layout.

    Attributes:
        planes: where each of N frames lies.
        pts: N presentation times in units of `time_base`.
        time_base: seconds a unit.
        colour: what the code values mean.
        carriers: N opaque values, one per frame (see `Frame.carrier`).
    """

    planes: tuple[DevicePlanes, ...]
    pts: tuple[int, ...]
    time_base: Fraction
    colour: Colour
    carriers: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures."""
        return self.planes[0][0].rows, self.planes[0][0].width

    @classmethod
    def of(cls, frames: list[DeviceFrame]) -> DeviceBatch:
        """Take frames of one layout together; nothing is copied."""
        first = frames[0]
        if any(f.layout != first.layout or f.time_base != first.time_base for f in frames):
            raise ValueError("frames of a batch differ in size, colour or time base")
        return cls(
            tuple(f.planes for f in frames), tuple(f.pts for f in frames), first.time_base, first.colour,
            tuple(f.carrier for f in frames),
        )  # fmt: skip
