"""Whether the GPU encodes here: asked by opening, since a list shows only what was compiled in."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

from av.codec.context import CodecContext
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

ENCODER = "h264_nvenc"
OPTIONS = {"preset": "p4", "rc": "vbr", "cq": "19", "b": "0"}
"""Constant quality: without b=0 FFmpeg's default bit rate would bound it."""

# The least that NVENC takes is 145×49, and 4096 the most for H.264 (NVIDIA, NVENC Video Encoder API).
_LEAST, _MOST = (64, 160), 4096


def suits(frame: VideoFrame) -> bool:
    """Whether NVENC would keep all of a picture: 8 bits, 4:2:0, progressive, of a size that it takes."""
    height, width = frame.height, frame.width
    return (
        frame.format.name in ("yuv420p", "nv12")
        and not frame.interlaced_frame
        and height % 2 == width % 2 == 0
        and height >= _LEAST[0]
        and width >= _LEAST[1]
        and max(height, width) <= _MOST
    )


def is_one(codec: str) -> bool:
    """Whether an encoder of FFmpeg is the GPU's."""
    return codec.endswith("_nvenc")


@cache
def opens() -> bool:
    """Whether an encoder can be had from the GPU."""
    try:
        context = CodecContext.create(ENCODER, "w")
        assert isinstance(context, VideoCodecContext)
        context.width = context.height = 256
        context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
        context.options = dict(OPTIONS)
        context.open()
    except (FFmpegError, ValueError):  # no GPU, no driver, a GPU without NVENC; or not compiled in
        return False
    return True
