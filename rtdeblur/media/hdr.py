"""HDR10 metadata: from the side data of a frame to the options of an encoder."""

from __future__ import annotations

import struct
from typing import Any

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

# AVMasteringDisplayMetadata (libavutil/mastering_display_metadata.h): AVRational (two ints) of the x and
# y of red, green, blue and white, of the minimum and maximum luminance, then two flags.
_MASTERING = struct.Struct("20i2i")
_CONTENT_LIGHT = struct.Struct("2I")
# Units of the SEI message: SMPTE ST 2086 (0.00002 for chromaticity, 0.0001 cd/m² for luminance).
_CHROMATICITY, _LUMINANCE = 50_000, 10_000
# It changes with the scene; no encoder takes it through PyAV.
_DYNAMIC = (Type.DOVI_METADATA, Type.DYNAMIC_HDR_PLUS)
_PARAMS = {
    "libx265": ("x265-params", "master-display", "max-cll"),
    "libx264": ("x264-params", "mastering-display", "cll"),
}


def add_params(codec: str, frame: VideoFrame, options: dict[str, str]) -> None:
    """Add what an encoder needs to write the mastering display and content light level of a frame.

    Args:
        codec: FFmpeg's name of the encoder; others than libx264 and libx265 get nothing.
        frame: the first frame.
        options: options of the encoder, changed in place.
    """
    if codec not in _PARAMS:
        return
    option, mastering_key, light_key = _PARAMS[codec]
    params = [options[option]] if option in options else []
    mastering, light = (
        side_data(frame, Type.MASTERING_DISPLAY_METADATA),
        side_data(frame, Type.CONTENT_LIGHT_LEVEL),
    )
    display = None if mastering is None else _display(mastering)
    if display:
        params.append(f"{mastering_key}={display}")
    if light:
        max_cll, max_fall = _CONTENT_LIGHT.unpack_from(light)
        params.append(f"{light_key}={max_cll},{max_fall}")
    if codec == "libx265" and (display or light):
        params.append("hdr10=1:repeat-headers=1")
    if params:
        options[option] = ":".join(params)


def lost(codec: str, frame: VideoFrame) -> list[str]:
    """One line for each kind of HDR metadata of a frame that an encoder cannot write."""
    missing = [] if codec in _PARAMS else [Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL]
    names = {
        kind.name.replace("_", " ").lower()
        for kind in (*missing, *_DYNAMIC)
        if side_data(frame, kind) is not None
    }
    return [f"HDR metadata is not kept by {codec}: {', '.join(sorted(names))}"] if names else []


def side_data(frame: VideoFrame, kind: Type) -> bytes | None:
    """The side data of one kind, None where the frame has none."""
    entries: Any = frame.side_data
    entry = entries.get(kind)
    return None if entry is None else bytes(entry)


def _display(mastering: bytes) -> str | None:
    *numbers, has_primaries, has_luminance = _MASTERING.unpack_from(mastering)
    if not (has_primaries and has_luminance):
        return None
    values = [n / d if d else 0.0 for n, d in zip(numbers[::2], numbers[1::2], strict=True)]
    red, green, blue, white = (
        f"({round(x * _CHROMATICITY)},{round(y * _CHROMATICITY)})"
        for x, y in zip(values[0:8:2], values[1:8:2], strict=True)
    )
    lowest, highest = (round(v * _LUMINANCE) for v in values[8:])
    return f"G{green}B{blue}R{red}WP{white}L({highest},{lowest})"
