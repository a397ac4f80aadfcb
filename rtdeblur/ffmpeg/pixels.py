"""Conversion of FFmpeg's pixel formats to y, u, v planes, and the meaning of their code values.

| source                                      | becomes            | how                                    |
|---------------------------------------------|--------------------|----------------------------------------|
| planar YUV of 8 to 16 bits, any subsampling | itself             | views on the decoded frame             |
| planar RGB of 8 to 16 bits                  | itself             | views: y, u, v are green, blue, red    |
| the same with alpha                         | itself             | views; alpha stays in the frame        |
| gray of 8 to 16 bits                        | itself             | view; u, v are one neutral sample      |
| big-endian or MSB-aligned samples           | same, little-endian| bit exact                              |
| nv12, p010, yuyv422 and similar             | planar, same depth | bit exact                              |
| packed RGB, with alpha or without           | planar, same depth | bit exact                              |
| palette, Bayer, XYZ                         | planar RGB         | what swscale makes of it               |
| gray with alpha                             | yuva420p           | bit exact                              |
| one bit per pixel                           | gray               | bit exact                              |
| 11, 13, 15 bits; more than 16 or floating   | next depth up; 16  |                                        |
"""

from __future__ import annotations

import re
import zlib
from typing import Any

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from rtdeblur.device import DevicePlane, DevicePlanes
from rtdeblur.frames import Colour, Frame, Matrix, Plane, Planes

PLANAR = re.compile(r"(yuv[ja]?4\d\dp|gbra?p|gray)(\d+le)?")
_DEPTHS = (8, 9, 10, 12, 14, 16)

# ITU-T H.273 table 4, MatrixCoefficients (AVColorSpace has the same numbers). SMPTE 240M (7) differs
# from BT.709 by less than 0.001 in Kr and 0.015 in Kb.
_MATRICES: dict[int, Matrix] = {
    1: "bt709",
    4: "bt601",
    5: "bt601",
    6: "bt601",
    7: "bt709",
    9: "bt2020",
    10: "bt2020",
}
COLORSPACES: dict[Matrix, Colorspace] = {
    "bt601": Colorspace.ITU601,
    "bt709": Colorspace.ITU709,
    "bt2020": Colorspace.BT2020,
    "rgb": Colorspace.ITU709,  # fallback if conversion is needed
}
"""swscale's name of a colour matrix."""

_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Columns and rows of luma per chroma sample, and FFmpeg's name for the subsampling.
_SUBSAMPLINGS = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440", (4, 1): "411", (4, 4): "410"}


def depth_of(pix_fmt: VideoFormat) -> int:
    """Bits per sample, as stored."""
    return max(component.bits for component in pix_fmt.components)


def has_alpha(pix_fmt: VideoFormat) -> bool:
    """True if the format has an alpha channel."""
    return any(component.is_alpha for component in pix_fmt.components)


def is_full_range(frame: VideoFrame) -> bool:
    """True for full range (black is 0), by the frame's tag or its format (yuvj, untagged gray and RGB)."""
    if frame.format.name.startswith("yuvj"):
        return True
    if frame.color_range == ColorRange.UNSPECIFIED:
        return frame.format.name.startswith(("gray", "ya")) or frame.format.is_rgb
    return frame.color_range == ColorRange.JPEG


def colour_of(frame: VideoFrame) -> Colour:
    """Return how to interpret the code values of a planar frame, or of one in GPU memory.

    An untagged matrix is guessed as players do: BT.709 from 720 lines up, else BT.601.
    """
    depth = depth_of(frame.sw_format or frame.format)
    if frame.format.is_rgb:
        return Colour("rgb", is_full_range(frame), depth)
    guess: Matrix = "bt709" if frame.height >= 720 else "bt601"
    matrix = _MATRICES.get(int(frame.colorspace), guess)
    return Colour(matrix, is_full_range(frame), depth)


def planar(frame: VideoFrame) -> VideoFrame:
    """Return the frame itself if its planes are usable as they are, else a converted copy (see the table)."""
    source = frame.format
    if PLANAR.fullmatch(source.name):
        return frame
    scale = ColorRange.JPEG if is_rgb(source) or is_full_range(frame) else ColorRange.MPEG
    converted = frame.reformat(
        format=_planar_name(source), interpolation=_EXACT, src_color_range=scale, dst_color_range=scale
    )
    # Restore the source's tags: swscale knows only some of them.
    converted.colorspace = frame.colorspace
    converted.color_range = scale if is_full_range(frame) else frame.color_range
    return converted


def is_rgb(pix_fmt: VideoFormat) -> bool:
    """True for RGB and for formats converted to it."""
    return pix_fmt.is_rgb or pix_fmt.has_palette or pix_fmt.is_bayer or pix_fmt.name.startswith("xyz")


def _planar_name(source: VideoFormat) -> str:
    bits = next((d for d in _DEPTHS if d >= depth_of(source)), 16)
    suffix = "" if bits == 8 else f"{bits}le"
    alpha = "a" if has_alpha(source) else ""
    if is_rgb(source):
        return f"gbr{alpha}p{suffix}"
    if len(source.components) == 1:
        return f"gray{suffix}"
    if len(source.components) == 2:
        return f"yuva420p{suffix}"
    chroma = (source.chroma_width(4), source.chroma_height(4))
    subsampling = {(2, 2): "420", (2, 4): "422"}.get(chroma, "444")
    return f"yuv{alpha}{subsampling}p{suffix}"


def plane_views(frame: VideoFrame) -> tuple[Plane, ...]:
    """Return views of the colour planes of a planar frame, without row padding.

    Returns:
        y, u, v of (H, W), (Hc, Wc), (Hc, Wc); green, blue, red for RGB; only y for gray. uint8, or
        uint16 above 8 bits.
        Writing to them writes to the frame.
    """
    return _views(frame, 3)


def _views(frame: VideoFrame, most: int) -> tuple[Plane, ...]:
    dtype: Any = np.uint8 if depth_of(frame.format) == 8 else "<u2"
    views: list[Plane] = []
    for plane in frame.planes[:most]:
        rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)[:, : plane.width]
        # The buffer of a bottom-up picture starts at its last row.
        views.append(rows if plane.line_size > 0 else rows[::-1])
    return tuple(views)


def checksum(frame: VideoFrame) -> int:
    """Return a CRC-32 of all that an encoder reads of a planar frame, except its timestamp."""
    tags = (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range)
    facts = (frame.format.name, frame.width, frame.height, frame.duration, frame.interlaced_frame, *tags)
    total = zlib.crc32(repr(tuple(map(str, facts))).encode())
    for view in _views(frame, 4):
        total = zlib.crc32(np.ascontiguousarray(view).data, total)
    entries: Any = frame.side_data
    for entry in entries:
        total = zlib.crc32(bytes(entry), zlib.crc32(str(entry.type).encode(), total))
    return total


def planes_of(frame: VideoFrame) -> Planes:
    """Return y, u, v of a planar frame; gray gets one neutral sample as u and v, shape (1, 1)."""
    views = plane_views(frame)
    if len(views) == 3:
        return views[0], views[1], views[2]
    neutral = np.full((1, 1), 1 << (depth_of(frame.format) - 1), views[0].dtype)
    return views[0], neutral, neutral


def device_planes(frame: VideoFrame) -> DevicePlanes | None:
    """Return the device planes of an NV12 frame in GPU memory; None for any other frame."""
    sw_format = frame.sw_format
    if sw_format is None or sw_format.name != "nv12" or frame.width % 2 or frame.height % 2:
        return None
    y, uv = frame.planes
    return (
        DevicePlane(y.buffer_ptr, y.line_size, y.height, y.width),
        DevicePlane(uv.buffer_ptr, uv.line_size, uv.height, 2 * uv.width),
    )


def downloaded(frame: VideoFrame) -> VideoFrame:
    """Return the frame itself, or a host copy of a frame in GPU memory."""
    sw_format = frame.sw_format
    return frame if sw_format is None else frame.reformat(format=sw_format.name)


def video_frame(frame: Frame) -> VideoFrame:
    """Return an FFmpeg frame with a copy of the planes and no colour tags; gray becomes 4:2:0."""
    (rows, columns), chroma = frame.planes[0].shape, frame.planes[1].shape
    subsampling = next(
        (
            name
            for (across, down), name in _SUBSAMPLINGS.items()
            if chroma == (-(-rows // down), -(-columns // across))
        ),
        "420",  # gray: the neutral sample is broadcast to any chroma size
    )
    depth = frame.colour.bit_depth
    suffix = "" if depth == 8 else f"{depth}le"
    name = "gbrp" if frame.colour.matrix == "rgb" else f"yuv{subsampling}p"
    video = VideoFrame(columns, rows, name + suffix)
    for view, plane in zip(plane_views(video), frame.planes, strict=True):
        np.copyto(view, plane)
    return video
