"""From y, u, v planes to the BGR pixels of a display or a still picture."""

from __future__ import annotations

import threading

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from rtdeblur.frames import Frame
from rtdeblur.media.planes import COLORSPACES, plane_views

# Columns and rows of luma for one sample of chroma, and FFmpeg's name of it.
_SUBSAMPLINGS = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440", (4, 1): "411", (4, 4): "410"}
_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Setting swscale up costs more than a picture does; a context serves one thread.
_local = threading.local()


def to_bgr(frame: Frame, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The picture as a screen shows it.

    Args:
        frame: of any layout and depth; its matrix and range are honoured.
        size: (height, width) to scale to; None for the frame's own.

    Returns:
        (H, W, 3), blue, green, red, full range; C-contiguous.
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


def video_frame(frame: Frame) -> VideoFrame:
    """FFmpeg's frame with a copy of the planes, its colour untagged; gray becomes 4:2:0."""
    (rows, columns), chroma = frame.planes[0].shape, frame.planes[1].shape
    subsampling = next(
        (
            name
            for (across, down), name in _SUBSAMPLINGS.items()
            if chroma == (-(-rows // down), -(-columns // across))
        ),
        "420",  # gray: the one neutral sample fills any chroma
    )
    depth = frame.colour.bit_depth
    suffix = "" if depth == 8 else f"{depth}le"
    name = "gbrp" if frame.colour.matrix == "rgb" else f"yuv{subsampling}p"
    video = VideoFrame(columns, rows, name + suffix)
    for view, plane in zip(plane_views(video), frame.planes, strict=True):
        np.copyto(view, plane)
    return video
