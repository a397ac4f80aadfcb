"""How the pictures of a video are to be shown: size of a sample, rotation, colour, HDR, fields."""

from __future__ import annotations

import struct
from enum import IntEnum
from fractions import Fraction
from typing import Any

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc
from av.video.stream import VideoStream

from rtdeblur.media.planes import depth_of, has_alpha, is_full_range, is_rgb

# ITU-T H.273, table 4
_MATRICES = {
    0: "rgb", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 14: "ictcp",
}  # fmt: skip
_UNTAGGED = "untagged"
_UPRIGHT = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


def appearance(video: VideoStream, frame: VideoFrame) -> dict[str, Any]:
    """What is known of how a video is shown, by name.

    Args:
        video: the stream.
        frame: its first picture.
    """
    source = frame.format
    colours = [component for component in source.components if not component.is_alpha]
    chroma = "4:4:4" if is_rgb(source) else _chroma(source.chroma_width(8), source.chroma_height(8))
    return {
        "aspect ratio": Fraction(video.sample_aspect_ratio or 1),
        "rotation": _rotation(_side_data(frame, Type.DISPLAYMATRIX)),
        "depth": depth_of(source),
        "chroma": "none" if len(colours) == 1 else chroma,
        "alpha": has_alpha(source),
        "rgb": is_rgb(source),
        "colour range": "full" if is_full_range(frame) else "limited",
        "colour matrix": _MATRICES.get(int(frame.colorspace), _UNTAGGED),
        "colour transfer": _name(ColorTrc, frame.color_trc),
        "colour primaries": _name(ColorPrimaries, frame.color_primaries),
        "mastering display": _mastering(_side_data(frame, Type.MASTERING_DISPLAY_METADATA)),
        "light levels": _light(_side_data(frame, Type.CONTENT_LIGHT_LEVEL)),
        "interlaced": frame.interlaced_frame,
    }


def _chroma(width: int, height: int) -> str:
    names = {
        (8, 8): "4:4:4",
        (4, 8): "4:2:2",
        (4, 4): "4:2:0",
        (8, 4): "4:4:0",
        (2, 8): "4:1:1",
        (2, 2): "4:1:0",
    }
    return names.get((width, height), f"{width}x{height} of 8x8")


def _name(kind: type[IntEnum], value: int) -> str:
    try:
        name = kind(value).name.lower()
    except ValueError:
        return str(value)
    return _UNTAGGED if name == "unspecified" or value == 0 else name


def _side_data(frame: VideoFrame, kind: Type) -> bytes | None:
    entries: Any = frame.side_data
    entry = entries.get(kind)
    return None if entry is None else bytes(entry)


def _rotation(matrix: bytes | None) -> tuple[int, ...] | None:
    values = None if matrix is None else struct.unpack("9i", matrix)
    return None if values == _UPRIGHT else values


def _mastering(data: bytes | None) -> tuple[float, ...] | None:
    """Chromaticities and luminances, as FFmpeg's AVMasteringDisplayMetadata holds them."""
    if data is None:
        return None
    numbers = struct.unpack_from("20i", data)
    return tuple(round(n / d, 5) if d else 0.0 for n, d in zip(numbers[::2], numbers[1::2], strict=True))


def _light(data: bytes | None) -> tuple[int, int] | None:
    if data is None:
        return None
    brightest, average = struct.unpack_from("2I", data)
    return brightest, average
