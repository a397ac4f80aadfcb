"""Side data of a decoded frame: mastering display, content light level, display matrix."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

# AVMasteringDisplayMetadata (libavutil/mastering_display_metadata.h): AVRational (two ints) for x and y of
# red, green, blue and white, and for minimum and maximum luminance, then two flags.
_MASTERING = struct.Struct("20i2i")
_CONTENT_LIGHT = struct.Struct("2I")
_MATRIX = struct.Struct("9i")


@cache
def _unnamed(kind: int) -> Type:
    """Make an enum member for a kind of side data that PyAV does not name."""
    member: Type = object.__new__(Type)
    member._name_ = f"KIND_{kind}"
    member._value_ = kind  # type: ignore[assignment]
    return member


# PyAV 18 names 28 kinds, but its FFmpeg has more (MV-HEVC views, JPEG EXIF); any of those makes all side data
# of its frame unreadable: "31 is not a valid Type".
Type._missing_ = staticmethod(_unnamed)  # type: ignore[method-assign]


@dataclass(frozen=True, slots=True)
class MasteringDisplay:
    """Mastering display: the display that a video was graded on (SMPTE ST 2086).

    Attributes:
        values: x and y of red, green, blue and white, then the lowest and highest luminance in cd/m².
        is_whole: whether the frame states both the chromaticities and the luminances.
    """

    values: tuple[float, ...]
    is_whole: bool


def side_data(frame: VideoFrame, kind: Type) -> bytes | None:
    """Return the side data of one kind; None if the frame has none."""
    entries: Any = frame.side_data
    entry = entries.get(kind)
    return None if entry is None else bytes(entry)


def mastering_display(frame: VideoFrame) -> MasteringDisplay | None:
    """Return the mastering display; None if not stated."""
    data = side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    if data is None:
        return None
    *numbers, has_primaries, has_luminance = _MASTERING.unpack_from(data)
    values = tuple(n / d if d else 0.0 for n, d in zip(numbers[::2], numbers[1::2], strict=True))
    return MasteringDisplay(values, bool(has_primaries and has_luminance))


def light_level(frame: VideoFrame) -> tuple[int, int] | None:
    """Return MaxCLL and MaxFALL in cd/m²; None if not stated."""
    data = side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    if not data:
        return None
    max_cll, max_fall = _CONTENT_LIGHT.unpack_from(data)
    return max_cll, max_fall


def display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """Return the display matrix, which rotates or mirrors pictures (libavutil/display.h); None if not set."""
    data = side_data(frame, Type.DISPLAYMATRIX)
    return None if data is None else _MATRIX.unpack(data)


def angle_of(matrix: tuple[int, ...]) -> str:
    """Describe a display matrix: its angle, counter-clockwise as in ffprobe, or its numbers if it mirrors."""
    a, b, _, c, d, *rest = matrix
    if (a, b) != (d, -c) or rest[:3] != [0, 0, 0]:
        return " ".join(map(str, matrix))
    return f"{-math.degrees(math.atan2(b, a)):g}°"
