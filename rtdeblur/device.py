"""Frames in GPU memory."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rtdeblur.frames import Colour


@dataclass(frozen=True, slots=True)
class DevicePlane:
    """Rows of bytes in GPU memory.

    Attributes:
        address: address of the first row.
        pitch: bytes from one row to the next.
        rows: number of rows.
        width: bytes per row.
    """

    address: int
    pitch: int
    rows: int
    width: int

    def each(self, step: int) -> DevicePlane:
        """Select the first of every `step` rows."""
        return DevicePlane(self.address, self.pitch * step, -(-self.rows // step), self.width)


DevicePlanes = tuple[DevicePlane, DevicePlane]
"""Planes of an NV12 picture (8-bit 4:2:0, even size): Y, then interleaved UV."""


@dataclass(frozen=True, slots=True)
class DeviceFrame:
    """A decoded picture in GPU memory, restored in place.

    Attributes:
        planes: its memory, owned by the carrier.
        pts: presentation time in units of `time_base`.
        time_base: seconds per unit.
        colour: meaning of the code values.
        carrier: see `Frame.carrier`.
    """

    planes: DevicePlanes
    pts: int
    time_base: Fraction
    colour: Colour
    carrier: Any = None

    @property
    def layout(self) -> tuple[tuple[int, int], Colour]:
        """Properties that must be equal for frames to share a batch."""
        return (self.planes[0].rows, self.planes[0].width), self.colour


@dataclass(frozen=True, slots=True)
class DeviceBatch:
    """Consecutive device frames of one layout.

    Attributes:
        planes: memory of each of N frames.
        pts: N presentation times in units of `time_base`.
        time_base: seconds per unit.
        colour: meaning of the code values.
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
        """Combine frames of one layout into a batch, without copying."""
        first = frames[0]
        if any(f.layout != first.layout or f.time_base != first.time_base for f in frames):
            raise ValueError("frames of a batch differ in size, colour or time base")
        return cls(
            tuple(f.planes for f in frames), tuple(f.pts for f in frames), first.time_base, first.colour,
            tuple(f.carrier for f in frames),
        )  # fmt: skip
