"""Data that flows through a run: colour, frames, batches, and facts about the video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.unsignedinteger[Any]]
Planes = tuple[Plane, Plane, Plane]
"""y (H, W), u and v (Hc, Wc): uint8 for 8 bits per sample, uint16 (low bits used) for more."""

Matrix = Literal["bt601", "bt709", "bt2020", "rgb"]
"""Colour matrix of y, u, v; with "rgb" they are green, blue and red (H.273, MatrixCoefficients 0)."""

# Luma weights (Kr, Kb): ITU-T H.273 table 4.
_LUMA_WEIGHTS: dict[str, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}


@dataclass(frozen=True, slots=True)
class Colour:
    """How code values of Y'CbCr relate to R'G'B' (ITU-T H.273, section 8.3).

    Attributes:
        matrix: the luma weights.
        full_range: True if luma uses 0..peak, False if it uses 16..235 (scaled to the depth).
        bit_depth: bits per sample, 8 to 16.
    """

    matrix: Matrix = "bt709"
    full_range: bool = False
    bit_depth: int = 8

    def __post_init__(self) -> None:
        if self.matrix not in (*_LUMA_WEIGHTS, "rgb"):
            raise ValueError(f"matrix is {self.matrix!r}, expected rgb, {', '.join(_LUMA_WEIGHTS)}")
        if not 8 <= self.bit_depth <= 16:
            raise ValueError(f"bit_depth is {self.bit_depth}, expected 8 to 16")

    @property
    def name(self) -> str:
        """Matrix and range in words."""
        return f"{self.matrix} {'full' if self.full_range else 'limited'} range"

    @property
    def peak(self) -> int:
        """Largest code value: 255 for 8 bits."""
        return (1 << self.bit_depth) - 1

    @property
    def luma_range(self) -> tuple[int, int]:
        """Code value of black, and the code values between black and white."""
        unit = 1 << (self.bit_depth - 8)
        return (0, self.peak) if self.full_range else (16 * unit, 219 * unit)

    def yuv_to_rgb(self) -> NDArray[np.float32]:
        """Matrix from code values to R'G'B' in [0, 1]: (3, 4) float32, offset in the last column."""
        forward = self._rgb_to_yuv()
        inverse = np.linalg.inv(forward[:, :3])
        return np.hstack([inverse, -inverse @ forward[:, 3:]]).astype(np.float32)

    def rgb_to_yuv(self) -> NDArray[np.float32]:
        """Matrix from R'G'B' in [0, 1] to code values: (3, 4) float32, offset in the last column."""
        return self._rgb_to_yuv().astype(np.float32)

    def _rgb_to_yuv(self) -> NDArray[np.float64]:
        unit = 1 << (self.bit_depth - 8)
        black, luma_span = self.luma_range
        chroma_span = self.peak if self.full_range else 224 * unit
        if self.matrix == "rgb":
            green_blue_red = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
            return np.hstack([green_blue_red * luma_span, np.full((3, 1), black)])
        kr, kb = _LUMA_WEIGHTS[self.matrix]
        luma = np.array([kr, 1 - kr - kb, kb])
        cb = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - kb))
        cr = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - kr))
        scaled = np.vstack([luma * luma_span, cb * chroma_span, cr * chroma_span])
        return np.hstack([scaled, np.array([[black], [128 * unit], [128 * unit]])])


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded picture; its time in seconds is `pts * time_base`.

    Attributes:
        planes: y, u, v (see `Matrix`); a grey picture has u and v of one neutral sample, shape (1, 1).
        pts: presentation time in units of `time_base`.
        time_base: seconds per unit.
        colour: meaning of the code values.
        carrier: data from the source for its sink (the decoded frame with its side data, packets of other
            streams); opaque to everything between them.
    """

    planes: Planes
    pts: int
    time_base: Fraction
    colour: Colour
    carrier: Any = None

    def __post_init__(self) -> None:
        y, u, v = self.planes
        if y.ndim != 2 or u.ndim != 2 or u.shape != v.shape:
            raise ValueError(
                f"planes are {y.shape}, {u.shape}, {v.shape}, expected (H, W), (Hc, Wc), (Hc, Wc)"
            )
        expected = np.uint8 if self.colour.bit_depth == 8 else np.uint16
        if any(plane.dtype != expected for plane in self.planes):
            raise ValueError(
                f"planes of {self.colour.bit_depth} bits are {y.dtype}, expected {expected.__name__}"
            )

    @property
    def layout(self) -> tuple[tuple[int, ...], tuple[int, ...], Colour]:
        """Properties that must be equal for frames to share a batch."""
        return self.planes[0].shape, self.planes[1].shape, self.colour


@dataclass(frozen=True, slots=True)
class Interlude:
    """Something between two frames; it ends a batch.

    Attributes:
        carrier: data from the source for its sink (see `Frame.carrier`).
        is_gap: whether it is a gap, too long for packets of other streams to wait for the next frame.
    """

    carrier: Any
    is_gap: bool = True


_LONGEST_GAP = Fraction(1, 4)
"""Seconds between two frames of which one still tells something about the other."""


def are_near(seconds: Fraction, others: Fraction) -> bool:
    """Whether frames at two times, in seconds, are neighbours; pictures without times have equal ones."""
    return 0 < abs(seconds - others) <= _LONGEST_GAP


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Consecutive frames of one layout.

    Attributes:
        planes: y (N, 1, H, W), u and v (N, 1, Hc, Wc), C-contiguous, uint8 or uint16.
        pts: N presentation times in units of `time_base`.
        time_base: seconds per unit.
        colour: meaning of the code values.
        carriers: N opaque values, one per frame (see `Frame.carrier`).
    """

    planes: Planes
    pts: tuple[int, ...]
    time_base: Fraction
    colour: Colour
    carriers: tuple[Any, ...]

    def __post_init__(self) -> None:
        n = len(self.pts)
        if not n or len(self.carriers) != n or any(p.ndim != 4 or p.shape[:2] != (n, 1) for p in self.planes):
            shapes = ", ".join(str(p.shape) for p in self.planes)
            raise ValueError(f"a batch of {n} has planes {shapes} and {len(self.carriers)} carriers")

    def __len__(self) -> int:
        return len(self.pts)

    @classmethod
    def stack(cls, frames: list[Frame]) -> FrameBatch:
        """Copy the planes of frames of one layout into a batch."""
        first = frames[0]
        if any(f.layout != first.layout or f.time_base != first.time_base for f in frames):
            raise ValueError("frames of a batch differ in size, chroma, colour or time base")
        y, u, v = (np.stack([f.planes[i] for f in frames])[:, None] for i in range(3))
        return cls(
            (y, u, v), tuple(f.pts for f in frames), first.time_base, first.colour,
            tuple(f.carrier for f in frames),
        )  # fmt: skip

    def select(self, places: Sequence[int]) -> FrameBatch:
        """Copy some of the frames into another batch."""
        y, u, v = (plane[list(places)] for plane in self.planes)
        pts, carriers = (tuple(values[i] for i in places) for values in (self.pts, self.carriers))
        return FrameBatch((y, u, v), pts, self.time_base, self.colour, carriers)

    def frames(self) -> list[Frame]:
        """Return views of the frames."""
        return [
            Frame((y[0], u[0], v[0]), pts, self.time_base, self.colour, carrier)
            for y, u, v, pts, carrier in zip(*self.planes, self.pts, self.carriers, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Facts about a video, known before its frames.

    Attributes:
        height: luma rows of the coded picture (before rotation).
        width: luma columns.
        pix_fmt: FFmpeg's name of the source's pixel format.
        frame_rate: average frames per second; None if unknown.
        duration_seconds: length of the part to be read; None if unknown (pipes, live).
        frame_count: estimated number of frames; None if unknown.
    """

    height: int
    width: int
    pix_fmt: str
    frame_rate: Fraction | None
    duration_seconds: float | None
    frame_count: int | None

    @property
    def is_photo(self) -> bool:
        """Whether it is a single picture, whose rate and length mean nothing."""
        return self.frame_count == 1
