"""Makes of a decoded frame and its restored planes what the encoder takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation

from rtdeblur.frames import Plane
from rtdeblur.media.encoder import Encoding
from rtdeblur.media.planes import COLORSPACES, colour_of, plane_views

_ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND


def put_planes(frame: VideoFrame, planes: list[Plane]) -> VideoFrame:
    """The decoded planar frame, with its side data, and the planes in place of its own."""
    frame.make_writable()
    for view, plane in zip(plane_views(frame), planes, strict=False):  # gray has one view
        np.copyto(view, plane)
    return frame


def fit(
    frame: VideoFrame, context: VideoCodecContext, encoding: Encoding, warn: Callable[[str], None]
) -> VideoFrame:
    """The frame in the size, pixel format and colour that an encoder was told.

    Args:
        frame: planar, or in the GPU's memory, from where it is copied if it does not fit.
        context: of the encoder.
        encoding: what it was told.
        warn: is told of what changed in the middle of the video.
    """
    source, target = colour_of(frame), encoding.colour
    resized = (frame.width, frame.height) != (context.width, context.height)
    changed = (source.matrix, source.full_range) != (target.matrix, target.full_range)
    if not resized and not changed and encoding.takes(frame):
        return frame
    if resized:
        size = f"{context.width}x{context.height}"
        warn(f"the picture changes to {frame.width}x{frame.height}: scaled to {size}")
    if changed and source.matrix != "rgb":
        warn(f"the colour changes to {source.name}: converted to {target.name}")
    fitted = frame.reformat(
        context.width,
        context.height,
        encoding.pix_fmt,
        src_colorspace=COLORSPACES[source.matrix],
        dst_colorspace=COLORSPACES[target.matrix],
        interpolation=_ACCURATE,
        src_color_range=ColorRange.JPEG if source.full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG if target.full_range else ColorRange.MPEG,
    )
    fitted.colorspace, fitted.color_range = context.colorspace, context.color_range
    return fitted
