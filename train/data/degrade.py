"""What a camera does to a picture after its blur: sensor noise, then JPEG or H.264."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np

from train.data.pictures import Picture
from train.data.trajectory import Floats

_NOISY = 0.5
"""Share of pictures that get noise."""


def degrade(rng: np.random.Generator, picture: Floats, noise: float, jpeg: float, video: float) -> Floats:
    """Add noise to half of the pictures, and compress some.

    Args:
        rng: source of randomness.
        picture: (H, W, 3) float32 code values in [0, 1].
        noise: largest standard deviation, code values of 255.
        jpeg: share compressed as JPEG, quality 60 to 98.
        video: share compressed as H.264, CRF 16 to 32; H and W are even.

    Returns:
        the same shape, rounded to the 8 bits that a decoder hands over.
    """
    if rng.random() < _NOISY:
        sigma = rng.uniform(0, noise) / 255
        picture = picture + rng.standard_normal(picture.shape, np.float32) * np.float32(sigma)
    code = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    kind = rng.random()
    if kind < jpeg:
        code = as_jpeg(code, int(rng.integers(60, 99)))
    elif kind < jpeg + video:
        code = as_h264(code, int(rng.integers(16, 33)))
    return np.asarray(code / np.float32(255), np.float32)


def as_jpeg(picture: Picture, quality: int) -> Picture:
    """What JPEG leaves of an (H, W, 3) RGB picture; `quality` 1 to 100, chroma of half the size."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1].astype(np.uint8)


def as_h264(picture: Picture, crf: int) -> Picture:
    """What an H.264 key frame leaves of an (H, W, 3) RGB picture, H and W even; `crf` 0 to 51."""
    import av  # here, since a machine that only trains may lack it

    from rtdeblur.media.codecs import x264_params

    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 30), 1
    encoder.options = {"crf": str(crf), "preset": "veryfast", "x264-params": x264_params()}
    # OpenCV's conversion rounds; FFmpeg's default one darkens by a level.
    planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts = 0
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    (decoded,) = [out for packet in [*packets, None] for out in decoder.decode(packet)]
    return cv2.cvtColor(decoded.to_ndarray(format="yuv420p"), cv2.COLOR_YUV2RGB_I420).astype(np.uint8)
