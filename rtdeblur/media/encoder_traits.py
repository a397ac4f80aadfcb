"""What is known of FFmpeg's video encoders: options per quality, limits, aliases.

| encoder    | small, balanced, high | preset            |
|------------|-----------------------|-------------------|
| libx264    | crf 26, 20, 16        | veryfast          |
| libx265    | crf 26, 20, 16        | superfast         |
| libvpx-vp9 | crf 42, 30, 20        | realtime, speed 6 |
| libsvtav1  | crf 42, 28, 18        | 8                 |
| h264_nvenc | cq 29, 23, 19         | p4                |
| ffv1       | always lossless       |                   |

ENCODERS has more. Any other encoder of FFmpeg can be used by name, with FFmpeg's own defaults. Lossless
quality, and crf 0, are lossless with libx264, libx264rgb, libx265 and libvpx-vp9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from rtdeblur.system import cpu_flags

Quality = Literal["small", "balanced", "high", "lossless"]
"""Size against fidelity, for users who do not think in an encoder's numbers."""

# With AVX-512, the macroblock trees of x264 (164 and 165) give other bytes in each run of some pictures; with
# AVX2 they never did, and it is a twentieth slower. There is no way to switch off only AVX-512.
_X264_REPEATABLE = "asm=avx2,fma3,bmi2"
# Freed before its end, x264 complains from a thread that it waits for, and PyAV would make that thread wait
# for the one that frees it, for ever. Errors of its options are FFmpeg's words, and still come.
_X264_SILENT = "log=-1"
# A quantiser scale of 1 in FFmpeg's global_quality (FF_QP2LAMBDA).
_LAMBDA = 118
# x264 and x265 take any text and complain on stderr, once for each pixel format tried.
_X26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip


def x264_params() -> str:
    """Parameters of x264 beside its options, so that it is silent, and returns the same bytes each time."""
    repeatable = [_X264_REPEATABLE] if "avx512bw" in (cpu_flags() or ()) else []
    return ":".join([_X264_SILENT, *repeatable])


@dataclass(frozen=True, slots=True)
class HdrParams:
    """HDR10 metadata of a video as an encoder's options.

    Attributes:
        option: its option that takes parameters.
        display: key of the mastering display.
        light: key of the content light levels.
        also: further parameters, given with either.
    """

    option: str
    display: str
    light: str
    also: str = ""


@dataclass(frozen=True, slots=True)
class EncoderTraits:
    """What is known of an encoder of FFmpeg; the defaults hold for those that are not in the table.

    Attributes:
        options: of balanced quality, unless the user's crf and preset replace them.
        qualities: options in their place for small and high; None if the encoder has only its own default.
        lossless: options for lossless, and for crf 0 if that alone is not lossless at every depth; None if
            the encoder is never or always lossless.
        presets: all that it has, where it does not check them itself.
        hdr: how it takes HDR10 metadata; None if it writes none.
        writes_fields: whether it keeps the field order.
        writes_aspect_ratio: whether containers learn the aspect ratio from it.
        least_side: height and width that it needs at least, in pixels.
        tags: how containers should call its codec, by FFmpeg's name of the container.
        aliases: what users call it, in lower case.
        sizes: the only sizes that it encodes, as (width, height), by frame rate; empty if it encodes any.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    qualities: Mapping[Quality, Mapping[str, str]] | None = None
    lossless: Mapping[str, str] | None = None
    presets: tuple[str, ...] = ()
    hdr: HdrParams | None = None
    writes_fields: bool = True
    writes_aspect_ratio: bool = True
    least_side: int = 1
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    sizes: Mapping[Fraction, tuple[int, int]] = field(default_factory=dict)


NVENC = "h264_nvenc"
_NVENC_OPTIONS = {
    "preset": "p4",
    "rc": "vbr",
    "b": "0",
}  # without b=0 FFmpeg's default bit rate would bound it
_LOSSLESS_NVENC = {"tune": "lossless", "rc": "constqp", "qp": "0"}


def _numbers(key: str, small: int, high: int) -> Mapping[Quality, Mapping[str, str]]:
    """Qualities that differ in one option."""
    return {"small": {key: str(small)}, "high": {key: str(high)}}


def _scale(number: int) -> dict[str, str]:
    """A constant quantiser scale; -q:v of the ffmpeg program is a property of its frames."""
    return {"qmin": str(number), "qmax": str(number)}


_MPEG = EncoderTraits(options=_scale(3), qualities={"small": _scale(6), "high": _scale(2)})
ENCODERS: dict[str, EncoderTraits] = {
    NVENC: EncoderTraits(
        options=_NVENC_OPTIONS | {"cq": "23"}, qualities=_numbers("cq", 29, 19), lossless=_LOSSLESS_NVENC
    ),
    "hevc_nvenc": EncoderTraits(
        options=_NVENC_OPTIONS | {"cq": "25"},
        qualities=_numbers("cq", 31, 20),
        lossless=_LOSSLESS_NVENC,
        tags={"mp4": "hvc1", "mov": "hvc1"},
    ),
    "av1_nvenc": EncoderTraits(options=_NVENC_OPTIONS | {"cq": "30"}, qualities=_numbers("cq", 38, 23)),
    "libx264": EncoderTraits(
        options={"crf": "20", "preset": "veryfast", "x264-params": x264_params()},
        qualities=_numbers("crf", 26, 16),
        lossless={"qp": "0"},  # crf 0 is that only for 8 bits
        presets=_X26X_PRESETS,
        hdr=HdrParams("x264-params", "mastering-display", "cll"),
        aliases=("h264", "h.264", "x264", "avc"),
    ),
    "libx264rgb": EncoderTraits(
        options={"crf": "20", "preset": "veryfast", "x264-params": x264_params()},
        qualities=_numbers("crf", 26, 16),
        lossless={"qp": "0"},
        presets=_X26X_PRESETS,
    ),
    "libx265": EncoderTraits(
        options={"crf": "20", "preset": "superfast", "x265-params": "log-level=none"},
        qualities=_numbers("crf", 26, 16),
        lossless={"x265-params": "log-level=none:lossless=1"},
        presets=_X26X_PRESETS,
        hdr=HdrParams("x265-params", "master-display", "max-cll", "hdr10=1:repeat-headers=1"),
        writes_fields=False,
        least_side=64,  # below one coding tree block it writes past its buffers
        tags={"mp4": "hvc1", "mov": "hvc1"},  # QuickTime plays no other
        aliases=("hevc", "h265", "h.265", "x265"),
    ),
    "libvpx": EncoderTraits(
        # Its crf needs a bit rate as its upper bound.
        options={"crf": "20", "b": "60M", "deadline": "realtime", "cpu-used": "4"},
        qualities=_numbers("crf", 32, 8),
        writes_fields=False,
        aliases=("vp8",),
    ),
    "libvpx-vp9": EncoderTraits(
        options={"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
        qualities=_numbers("crf", 42, 20),
        lossless={"lossless": "1"},
        writes_fields=False,
        aliases=("vp9",),
    ),
    "libsvtav1": EncoderTraits(
        # Presets above 8 are for real time, and lose much (its own warning).
        options={"crf": "28", "preset": "8"},
        qualities=_numbers("crf", 42, 18),
        writes_fields=False,
        aliases=("av1",),
    ),
    "prores_ks": EncoderTraits(
        options={"flags": "+qscale", "global_quality": str(4 * _LAMBDA)},
        qualities=_numbers("global_quality", 9 * _LAMBDA, 2 * _LAMBDA),
        aliases=("prores",),
    ),
    "mpeg1video": _MPEG,
    "mpeg2video": _MPEG,
    "mpeg4": _MPEG,
    # The two profiles of consumer DV (SMPTE 314M).
    "dvvideo": EncoderTraits(
        aliases=("dv",), sizes={Fraction(25): (720, 576), Fraction(30000, 1001): (720, 480)}
    ),
    "ffv1": EncoderTraits(
        options={"level": "3", "g": "1", "slices": "4", "slicecrc": "1"},
        writes_aspect_ratio=False,
        aliases=("ffv1",),
    ),
}
"""Encoders with options or limits of their own; every other one starts from FFmpeg's defaults."""


def traits_of(codec: str) -> EncoderTraits:
    """What is known of an encoder, by FFmpeg's name."""
    return ENCODERS.get(codec, EncoderTraits())


def encoder_of(name: str) -> str:
    """FFmpeg's name of the encoder that a user means; the name itself if it is no alias."""
    alias = name.lower()
    return next((encoder for encoder, traits in ENCODERS.items() if alias in traits.aliases), name)


def is_nvenc(codec: str) -> bool:
    """Whether an encoder of FFmpeg is the GPU's."""
    return codec.endswith("_nvenc")
