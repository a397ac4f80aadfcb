"""Conversion of frames for the screen: BGR pixels, scaling, rotation, and display properties."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from rtdeblur.ffmpeg.pixels import COLORSPACES, plane_views, video_frame
from rtdeblur.ffmpeg.side_data import display_matrix
from rtdeblur.frames import Frame, Plane

_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Setting up swscale costs more than a picture does; a context serves one thread.
_local = threading.local()
_UNKNOWN = 2
"""Unspecified colour, in every table of ITU-T H.273."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """Display properties; the `Frame.carrier` from live sources to sinks.

    Attributes:
        primaries: colour primaries (ITU-T H.273, table 2).
        transfer: transfer characteristics (table 3).
        matrix: matrix coefficients (table 4).
        pixel_aspect: width of a pixel divided by its height.
    """

    primaries: int = _UNKNOWN
    transfer: int = _UNKNOWN
    matrix: int = _UNKNOWN
    pixel_aspect: Fraction = Fraction(1)


def to_bgr(frame: Frame, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Convert a frame to screen pixels.

    Args:
        frame: any layout and depth; its matrix and range are used.
        size: (height, width) to scale to; None for the size of the frame.

    Returns:
        (H, W, 3) uint8, blue, green, red, full range; C-contiguous.
    """
    rows, columns = frame.planes[0].shape
    height, width = size or (rows, columns)
    if not hasattr(_local, "reformatter"):
        _local.reformatter = VideoReformatter()
    gbr = _local.reformatter.reformat(  # planar: swscale is several times faster at it
        video_frame(frame),
        width,
        height,
        "gbrp",
        src_colorspace=COLORSPACES[frame.colour.matrix],
        src_color_range=ColorRange.JPEG if frame.colour.full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=(Interpolation.AREA if height < rows else Interpolation.BILINEAR) | _EXACT,
        threads=1,
    )
    bgr = np.empty((height, width, 3), np.uint8)
    for channel, plane in zip((1, 0, 2), plane_views(gbr), strict=True):
        bgr[..., channel] = plane
    return bgr


def fitted(
    reformatter: VideoReformatter, frame: Frame, size: tuple[int, int], pix_fmt: str, *, full_range: bool
) -> VideoFrame:
    """Convert to an FFmpeg frame in the size, format and range of a stream; RGB becomes BT.709 YUV.

    Args:
        reformatter: keeps the filters from picture to picture; used by one thread.
        frame: any layout and depth.
        size: (height, width) of the result.
        pix_fmt: FFmpeg's name of the YUV format of the result.
        full_range: range of the result.
    """
    height, width = size
    picture, is_rgb = video_frame(frame), frame.colour.matrix == "rgb"
    if (picture.height, picture.width, picture.format.name, frame.colour.full_range) == (
        height, width, pix_fmt, full_range,
    ):  # fmt: skip
        return picture
    return reformatter.reformat(
        picture,
        width,
        height,
        pix_fmt,
        dst_colorspace=Colorspace.ITU709 if is_rgb else None,
        src_color_range=ColorRange.JPEG if frame.colour.full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC,
    )


def upright(frame: Frame, decoded: VideoFrame) -> Frame:
    """Rotate a frame upright, to the nearest quarter turn.

    Args:
        frame: the planes as they were coded.
        decoded: FFmpeg's frame, with the display matrix if the stream has one.
    """
    swapped, mirrored, upturned = _turns(decoded)
    if not (swapped or mirrored or upturned):
        return frame
    y, u, v = frame.planes
    if swapped:
        u, v = _evenly(u, y.shape), _evenly(v, y.shape)
    y, u, v = (_turn(plane, swapped, mirrored, upturned) for plane in (y, u, v))
    return replace(frame, planes=(y, u, v))


def appearance_of(decoded: VideoFrame, pixel_aspect: Fraction | None) -> Appearance:
    """Return the display properties of a frame rotated by `upright`.

    Args:
        decoded: FFmpeg's frame, with the colour tags.
        pixel_aspect: pixel aspect ratio of the stream as coded; None or 0 if it is not stated.
    """
    aspect = pixel_aspect or Fraction(1)
    is_on_its_side = _turns(decoded)[0]
    return Appearance(
        int(decoded.color_primaries),
        int(decoded.color_trc),
        int(decoded.colorspace),
        1 / aspect if is_on_its_side else aspect,
    )


def _turns(decoded: VideoFrame) -> tuple[bool, bool, bool]:
    """Return whether to swap rows and columns, then mirror, then flip vertically."""
    matrix = display_matrix(decoded)
    if matrix is None:
        return False, False, False
    # A pixel (x, y) goes to (a x + c y, b x + d y), and the whole back to the corner (libavutil/display.h).
    a, b, _, c, d, *_ = matrix
    swapped = abs(b) > abs(a)
    across, down = (c, b) if swapped else (a, d)
    return swapped, across < 0, down < 0


def _evenly(chroma: Plane, luma: tuple[int, ...]) -> Plane:
    """Make chroma rotatable: 4:2:2 and 4:1:1 have no rotated counterpart, and become 4:4:4."""
    down, across = (-(-side // samples) for side, samples in zip(luma, chroma.shape, strict=True))
    if down == across or chroma.size == 1:  # gray's neutral sample
        return chroma
    return chroma.repeat(down, 0).repeat(across, 1)[: luma[0], : luma[1]]


def _turn(plane: Plane, swapped: bool, mirrored: bool, upturned: bool) -> Plane:
    turned = plane.T if swapped else plane
    return np.ascontiguousarray(turned[:: -1 if upturned else 1, :: -1 if mirrored else 1])
