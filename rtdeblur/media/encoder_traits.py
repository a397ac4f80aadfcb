"""Facts about FFmpeg's video encoders: options per quality, limits, aliases.

| encoder    | small, balanced, high | preset            |
|------------|-----------------------|-------------------|
| libx264    | crf 26, 20, 16        | veryfast          |
| libx265    | crf 26, 20, 16        | superfast         |
| libvpx-vp9 | crf 42, 30, 20        | realtime, speed 6 |
| libsvtav1  | crf 42, 28, 18        | 8                 |
| h264_nvenc | cq 29, 23, 19         | p4                |
| ffv1       | always lossless       |                   |

ENCODERS has more. Any other FFmpeg encoder can be used by name, with FFmpeg's defaults. Lossless
quality, and crf 0, are lossless with libx264, libx264rgb, libx265 and libvpx-vp9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from rtdeblur.system import cpu_flags

Quality = Literal["small", "balanced", "high", "lossless"]
"""Trade-off between size and fidelity, independent of an encoder's own scale."""

CAPTIONS = "a53cc"
"""Option of encoders that write closed captions (ATSC A/53), which travel as frame side data."""

# With AVX-512, the macroblock tree of x264 (164 and 165) is not deterministic for some pictures; with AVX2 it
# is, at 5 % less speed. AVX-512 cannot be disabled by itself.
_X264_REPEATABLE = "asm=avx2,fma3,bmi2"
# If freed early, x264 logs from a thread that it waits for, and PyAV's log handler would make that thread
# wait for the freeing one: a deadlock. Errors in its options are logged by FFmpeg and still appear.
_X264_SILENT = "log=-1"
# A quantiser scale of 1 in FFmpeg's global_quality (FF_QP2LAMBDA).
_LAMBDA = 118
# x264 and x265 accept any text and complain on stderr, once per pixel format tried.
_X26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip


def x264_params() -> str:
    """Return x264 parameters that make it silent and deterministic."""
    repeatable = [_X264_REPEATABLE] if "avx512bw" in (cpu_flags() or ()) else []
    return ":".join([_X264_SILENT, *repeatable])


@dataclass(frozen=True, slots=True)
class HdrParams:
    """Encoder parameters for HDR10 metadata.

    Attributes:
        option: the encoder option that takes parameters.
        display: key of the mastering display.
        light: key of the content light levels.
        also: further parameters, needed with either.
    """

    option: str
    display: str
    light: str
    also: str = ""


@dataclass(frozen=True, slots=True)
class EncoderTraits:
    """Facts about an FFmpeg encoder; unlisted encoders have the defaults.

    Attributes:
        options: options for balanced quality; the user's crf and preset override them.
        qualities: overrides for small and high; None if there are no qualities.
        lossless: options for lossless, also used for crf 0, which may not be lossless at every depth; None if
            the encoder is never or always lossless.
        presets: valid presets, if the encoder does not check them itself.
        hdr: parameters for HDR10 metadata; None if it cannot write any.
        writes_fields: whether it keeps the field order.
        writes_aspect_ratio: whether it passes the aspect ratio to the container.
        least_side: least height and width in pixels.
        tags: codec tag (FourCC) by FFmpeg's name of the container.
        aliases: common names, in lower case.
        sizes: the only supported size, (width, height), per frame rate; empty if any.
        formats: pixel formats to try after the source's, for an encoder that takes any and writes no header,
            so that a container must know the format; empty for other encoders.
        is_jpeg: whether readers take its pictures for full-range BT.601 (JFIF), whatever their tags.
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
    formats: tuple[str, ...] = ()
    is_jpeg: bool = False


_RAW_FORMATS = (
    "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p16le",
    "yuv422p16le", "yuv444p16le", "uyvy422", "yuyv422", "gray", "gray16le", "rgb24", "bgr24", "rgba",
    "bgra", "argb", "rgb48le", "rgb48be",
)  # fmt: skip
NVENC = "h264_nvenc"
# Without b=0, FFmpeg's default bit rate would cap it.
_NVENC_OPTIONS = {"preset": "p4", "rc": "vbr", "b": "0"}
_LOSSLESS_NVENC = {"tune": "lossless", "rc": "constqp", "qp": "0"}


def _numbers(key: str, small: int, high: int) -> Mapping[Quality, Mapping[str, str]]:
    """Make qualities that differ in one option."""
    return {"small": {key: str(small)}, "high": {key: str(high)}}


def _scale(number: int) -> dict[str, str]:
    """Return options for a constant quantiser scale (ffmpeg's -q:v is set per frame instead)."""
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
        lossless={"qp": "0"},  # crf 0 is lossless only for 8 bits
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
        least_side=64,  # below one coding tree block, it overruns its buffers
        tags={"mp4": "hvc1", "mov": "hvc1"},  # the only one that QuickTime plays
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
        # Presets above 8 are for real time and lose much quality (its own warning).
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
    # FFmpeg's default for y4m only refers to the frame, whose memory is reused before it is written.
    "rawvideo": EncoderTraits(formats=_RAW_FORMATS, aliases=("wrapped_avframe",)),
    "mjpeg": EncoderTraits(
        options=_scale(3), qualities={"small": _scale(6), "high": _scale(2)}, is_jpeg=True
    ),
    "ffv1": EncoderTraits(
        options={"level": "3", "g": "1", "slices": "4", "slicecrc": "1"},
        writes_aspect_ratio=False,
        aliases=("ffv1",),
    ),
}
"""Encoders with special options or limits; all others use FFmpeg's defaults."""


def traits_of(codec: str) -> EncoderTraits:
    """Return the traits of an encoder, by FFmpeg's name."""
    return ENCODERS.get(codec, EncoderTraits())


def encoder_of(name: str) -> str:
    """Resolve an alias to FFmpeg's encoder name; other names are returned unchanged."""
    alias = name.lower()
    return next((encoder for encoder, traits in ENCODERS.items() if alias in traits.aliases), name)


def is_nvenc(codec: str) -> bool:
    """Whether an FFmpeg encoder runs on the GPU."""
    return codec.endswith("_nvenc")
