"""Camera degradation after the blur: sensor noise, then JPEG or H.264."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np

from train.data.pictures import Picture
from train.data.trajectory import Floats

_NOISY = 0.5
"""Share of pictures that get Gaussian noise."""
_LEAST = 0.2
"""Least standard deviation relative to the largest, since no sensor is noise-free."""
_READ = 0.1
"""Largest share of read noise in the variance at mid-grey; the rest is shot noise."""
_GAMMA = (1.8, 2.4)
"""Exponents of the camera's response: light = code ** gamma."""
_DARKEST = 0.1
"""Code value below which noise does not increase further, since cameras suppress it."""


def degrade(
    rng: np.random.Generator, picture: Floats, noise: float, jpeg: float, video: float, sensor: bool = False
) -> Floats:
    """Add noise, and compress some pictures.

    Args:
        rng: source of randomness.
        picture: (H, W, 3) float32 code values in [0, 1].
        noise: largest standard deviation, at mid-grey, code values of 255.
        jpeg: share compressed as JPEG, quality 60 to 98.
        video: share compressed as H.264, CRF 16 to 32; H and W are even.
        sensor: add a sensor's noise to every picture; else Gaussian noise to half of them.

    Returns:
        the same shape, rounded to 8 bits like a decoder's output.
    """
    if noise and sensor:
        picture = add_sensor_noise(rng, picture, rng.uniform(_LEAST, 1) * noise / 255)
    elif rng.random() < _NOISY:
        sigma = rng.uniform(0, noise) / 255
        picture = picture + rng.standard_normal(picture.shape, np.float32) * np.float32(sigma)
    code = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    kind = rng.random()
    if kind < jpeg:
        code = as_jpeg(code, int(rng.integers(60, 99)))
    elif kind < jpeg + video:
        code = as_h264(code, int(rng.integers(16, 33)))
    return np.asarray(code / np.float32(255), np.float32)


def add_sensor_noise(rng: np.random.Generator, picture: Floats, sigma: float) -> Floats:
    """Add a sensor's shot and read noise, transformed by the camera's response.

    In light the variance is a x + b (Foi et al., TIP 2008, eq. 3). A code value is x ** (1 / gamma), whose
    slope turns it into the deviation of code values; both are normal to a good approximation.

    Args:
        rng: source of randomness; also draws the exponent and the share of read noise.
        picture: (H, W, 3) float32 code values in [0, 1].
        sigma: standard deviation of code values at mid-grey, 0.5.

    Returns:
        the same shape; values may lie beyond the range.
    """
    gamma, read = rng.uniform(*_GAMMA), rng.uniform(0, _READ)
    relative = np.maximum(np.arange(256) / 255, _DARKEST) / 0.5  # code values relative to mid-grey
    variance = ((1 - read) * relative**gamma + read) / relative ** (2 * (gamma - 1))
    deviations = (sigma * np.sqrt(variance)).astype(np.float32)
    codes = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    noise = rng.standard_normal(picture.shape, np.float32)
    return picture + noise * cv2.LUT(codes, deviations)


def as_jpeg(picture: Picture, quality: int) -> Picture:
    """Compress an (H, W, 3) RGB picture as JPEG and decode it; `quality` 1 to 100, 4:2:0 chroma."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1].astype(np.uint8)


def as_h264(picture: Picture, crf: int) -> Picture:
    """Compress an (H, W, 3) RGB picture, H and W even, as an H.264 key frame and decode it; `crf` 0 to 51."""
    import av  # imported here, since a training machine may lack it

    from rtdeblur.media.encoder_traits import x264_params

    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 30), 1
    encoder.options = {"crf": str(crf), "preset": "veryfast", "x264-params": x264_params()}
    # OpenCV's conversion rounds; FFmpeg's default darkens by one level.
    planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts = 0
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    (decoded,) = [out for packet in [*packets, None] for out in decoder.decode(packet)]
    return cv2.cvtColor(decoded.to_ndarray(format="yuv420p"), cv2.COLOR_YUV2RGB_I420).astype(np.uint8)
