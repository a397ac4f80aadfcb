"""Chooses the video codec and its pixel format.

| codec      | auto chooses it for                          | quality (crf) | preset              |
|------------|----------------------------------------------|---------------|---------------------|
| libx265    | HDR, and more than 10 bits a sample          | 16            | superfast           |
| h264_nvenc | 8-bit 4:2:0, where the GPU encodes           | 19 (cq)       | p4                  |
| libx264    | everything else                              | 16            | veryfast            |
| libvpx-vp9 | containers that hold neither (webm)          | 20            | realtime, speed 6   |
| ffv1       | never; lossless, for mkv                     |               |                     |

Every other encoder of FFmpeg can be named; it starts from FFmpeg's own defaults. crf 0 is lossless in the
first three.

The pixel format is the source's where the encoder has it, else the nearest with no less depth and no less
chroma; RGB becomes full-range BT.709 where the encoder has no RGB. H.264 and HEVC cannot halve odd sizes:
these get full chroma in that direction.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from io import BytesIO
from pathlib import Path

from av.codec import Codec
from av.codec.codec import PixFmtLoss, UnknownCodecError, find_best_pix_fmt_of_list
from av.codec.context import CodecContext
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.reformatter import ColorTrc

from rtdeblur.errors import OutputError, UsageError
from rtdeblur.ffmpeg.container import open_output
from rtdeblur.ffmpeg.formats import refusal
from rtdeblur.ffmpeg.pixels import PLANAR, depth_of, has_alpha
from rtdeblur.frames import Colour
from rtdeblur.media.encoder import CAPTIONS, HDR_PARAMS, Encoding
from rtdeblur.media.source import PictureInfo, SourceInfo

NVENC = "h264_nvenc"
NVENC_OPTIONS = {"preset": "p4", "rc": "vbr", "cq": "19", "b": "0"}
"""Constant quality: without b=0 FFmpeg's default bit rate would bound it."""
# The least that NVENC takes is 145×49, and 4096 the most for H.264 (NVIDIA, NVENC Video Encoder API).
_NVENC_LEAST, _NVENC_MOST = (64, 160), 4096

_DEFAULTS: dict[str, dict[str, str]] = {
    NVENC: NVENC_OPTIONS,
    "libx264": {"crf": "16", "preset": "veryfast"},
    "libx265": {"crf": "16", "preset": "superfast", "x265-params": "log-level=none"},
    "libvpx-vp9": {"crf": "20", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
    "libsvtav1": {"crf": "20", "preset": "10"},
    "ffv1": {"level": "3", "g": "1", "slices": "4", "slicecrc": "1"},
}
# With AVX-512, the macroblock trees of x264 (164 and 165) give other bytes in each run of some pictures; with
# AVX2 they never did, and it is a twentieth slower. There is no way to switch off AVX-512 alone.
_X264_REPEATABLE = "asm=avx2,fma3,bmi2"
# Freed before its end, x264 complains from a thread that it waits for, and PyAV would make that thread wait
# for the one that frees it, for ever. Errors of its options are FFmpeg's words, and still come.
_X264_SILENT = "log=-1"
# What makes them lossless at any depth; their crf 0 is that for 8-bit H.264 alone.
_LOSSLESS = {
    "libx264": {"qp": "0"},
    "libx264rgb": {"qp": "0"},
    "libx265": {"x265-params": "log-level=none:lossless=1"},
    "libvpx-vp9": {"lossless": "1"},
}
# x264 and x265 take any text and complain on stderr, once for each pixel format tried.
_X26X_PRESETS = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
]
# Below one coding tree block libx265 writes past its buffers.
_X265_MIN_SIZE = 64
_LOSSES = PixFmtLoss.DEPTH | PixFmtLoss.RESOLUTION | PixFmtLoss.CHROMA | PixFmtLoss.ALPHA
# Units of the SEI message: SMPTE ST 2086 (0.00002 for chromaticity, 0.0001 cd/m² for luminance).
_CHROMATICITY, _LUMINANCE = 50_000, 10_000
_HDR_TRANSFERS = {ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67}


def choose(
    source: SourceInfo, format_name: str, codec: str, crf: float | None, preset: str | None
) -> Encoding:
    """The first codec and pixel format that the container and the encoder accept.

    Args:
        source: the source.
        format_name: FFmpeg's name of the container.
        codec: FFmpeg's name of an encoder, or 'auto'.
        crf: quality, the lower the better; None for the codec's default.
        preset: the encoder's name of a speed; None for the codec's default.

    Raises:
        UsageError: there is no such encoder, or it knows no crf or presets.
        OutputError: the encoder refuses the size or an option, or the container refuses the encoder.
    """
    picture = source.picture
    # A crf or a preset on its own is meant for the processor's encoders.
    gpu = crf is None and preset is None and suits_nvenc(picture)
    name = _auto(picture, format_name, gpu) if codec == "auto" else codec
    encoder = _encoder(name)
    if name == "libx265" and min(picture.width, picture.height) < _X265_MIN_SIZE:
        size = f"{picture.width}x{picture.height}"
        raise OutputError(f"libx265 encodes {_X265_MIN_SIZE} pixels and more, got {size}; try libx264")
    options = _options(name, crf, preset)
    _add_hdr_params(name, picture, options)
    problem: str | None = None
    encodings = [
        Encoding(name, pix_fmt, options, lost, _colour(picture, pix_fmt))
        for pix_fmt, lost in _ranked(picture.format, encoder)
    ]
    if is_nvenc(name) and source.fits_device:
        encodings.insert(0, replace(encodings[0], pix_fmt="nv12", device="cuda"))
    for encoding in encodings:
        refused = refusal(format_name, partial(encoding.add_to, source=source))
        if refused is None:
            return encoding
        problem = problem or refused
    what = f"{picture.width}x{picture.height} {picture.format.name} as {name} in {format_name}"
    asked = " and ".join(f"{k} {v}" for k, v in (("crf", crf), ("preset", preset)) if v is not None)
    hint = f"leave out {asked}" if asked else "try another codec or container"
    raise OutputError(f"cannot encode {what}: {problem or 'no pixel format fits'}; {hint}")


def _colour(picture: PictureInfo, pix_fmt: str) -> Colour:
    colour = picture.colour
    if colour.matrix == "rgb" and not VideoFormat(pix_fmt).is_rgb:
        return replace(colour, matrix="bt709", full_range=True)  # full range keeps all levels
    return colour


def _auto(picture: PictureInfo, format_name: str, gpu: bool) -> str:
    deep = depth_of(picture.format) > 10 or picture.transfer in _HDR_TRANSFERS
    tiny = min(picture.width, picture.height) < _X265_MIN_SIZE
    if gpu and not deep and _holds(format_name, "libx264") and nvenc_opens():
        return NVENC
    for name in ("libx265", "libx264") if deep and not tiny else ("libx264",):
        if _holds(format_name, name):
            return name
    return "libvpx-vp9"


def _holds(format_name: str, codec: str) -> bool:
    try:
        open_output(BytesIO(), format_name).add_stream(codec)
    except ValueError:
        return False
    return True


def _encoder(name: str) -> Codec:
    try:
        codec = Codec(name, "w")
    except UnknownCodecError:
        codec = None
    if codec is None or codec.type != "video":
        raise UsageError(f"codec {name!r} is no video encoder of FFmpeg; try auto, libx264, libx265 or ffv1")
    return codec


def _options(name: str, crf: float | None, preset: str | None) -> dict[str, str]:
    known = {o.name for o in CodecContext.create(name, "w").supported_options.private}
    options = dict(_DEFAULTS.get(name, {}))
    if CAPTIONS in known:
        options[CAPTIONS] = "1"  # libx265 leaves them out unless asked
    if name in ("libx264", "libx264rgb"):
        options["x264-params"] = x264_params()
    if crf is not None:
        quality = next((key for key in ("crf", "cq") if key in known), None)
        if quality is None:
            raise UsageError(f"codec {name!r} has no crf, got {crf}; leave it out")
        options[quality] = f"{crf:g}"
        if crf == 0 and name in _LOSSLESS:
            del options[quality]
            options |= _LOSSLESS[name]
    if preset is not None:
        if "preset" not in known:
            raise UsageError(f"codec {name!r} has no presets, got {preset!r}; leave it out")
        if name in ("libx264", "libx265") and preset not in _X26X_PRESETS:
            raise UsageError(f"codec {name!r} has no preset {preset!r}; try {', '.join(_X26X_PRESETS)}")
        options["preset"] = preset
    return options


def _add_hdr_params(codec: str, picture: PictureInfo, options: dict[str, str]) -> None:
    """Add what an encoder needs to write the mastering display and content light level of a picture.

    Args:
        codec: FFmpeg's name of the encoder; others than libx264 and libx265 get nothing.
        picture: what the first frame looks like.
        options: options of the encoder, changed in place.
    """
    if codec not in HDR_PARAMS:
        return
    option, mastering_key, light_key = HDR_PARAMS[codec]
    params = [options[option]] if option in options else []
    mastering, light = picture.mastering_display, picture.light_level
    display = _display(mastering.values) if mastering and mastering.is_whole else None
    if display:
        params.append(f"{mastering_key}={display}")
    if light:
        max_cll, max_fall = light
        params.append(f"{light_key}={max_cll},{max_fall}")
    if codec == "libx265" and (display or light):
        params.append("hdr10=1:repeat-headers=1")
    if params:
        options[option] = ":".join(params)


def _display(values: tuple[float, ...]) -> str:
    red, green, blue, white = (
        f"({round(x * _CHROMATICITY)},{round(y * _CHROMATICITY)})"
        for x, y in zip(values[0:8:2], values[1:8:2], strict=True)
    )
    lowest, highest = (round(v * _LUMINANCE) for v in values[8:])
    return f"G{green}B{blue}R{red}WP{white}L({highest},{lowest})"


def x264_params() -> str:
    """What x264 is told beside its options, so that it is silent, and gives the same bytes each time."""
    return ":".join([_X264_SILENT, *([_X264_REPEATABLE] if _has_avx512() else [])])


@cache
def _has_avx512() -> bool:
    """True on such a processor, as far as the system lists its features (Linux does)."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "avx512bw" in cpuinfo.read_text(errors="replace")


def _ranked(source: VideoFormat, encoder: Codec) -> list[tuple[str, PixFmtLoss]]:
    """The formats that an encoder offers for a source, best first by FFmpeg's judgement, and what is lost."""
    offered = [f.name for f in encoder.video_formats or [source] if _is_candidate(f, source)]
    # Among equals FFmpeg takes the first: what needs no conversion, then planar before nv12.
    offered.sort(key=lambda name: (name != source.name, not PLANAR.fullmatch(name)))
    # FFmpeg takes gray for 4:4:4, and would count 4:2:0 as a loss.
    like = source.name if source.name in offered else source.name.replace("gray", "yuv420p")
    ranked = []
    while offered:
        best, loss = find_best_pix_fmt_of_list(offered, like, has_alpha(source))
        if best is None:
            break
        offered.remove(best.name)
        ranked.append((best.name, loss & _LOSSES))
    # FFmpeg would keep transparency rather than depth or chroma.
    return sorted(ranked, key=lambda item: bool(item[1] & ~PixFmtLoss.ALPHA))


def _is_candidate(offered: VideoFormat, source: VideoFormat) -> bool:
    if not offered.components or offered.has_palette:  # on a device, or too few colours
        return False
    if offered.is_rgb and not source.is_rgb:
        return False
    jpeg_range, alpha = offered.name.startswith("yuvj"), has_alpha(offered)
    return (not jpeg_range or source.name.startswith("yuvj")) and (not alpha or has_alpha(source))


def suits_nvenc(picture: PictureInfo) -> bool:
    """Whether NVENC would keep all of a picture: 8 bits, 4:2:0, progressive, of a size that it takes."""
    height, width = picture.height, picture.width
    return (
        picture.format.name in ("yuv420p", "nv12")
        and not picture.is_interlaced
        and height % 2 == width % 2 == 0
        and height >= _NVENC_LEAST[0]
        and width >= _NVENC_LEAST[1]
        and max(height, width) <= _NVENC_MOST
    )


def is_nvenc(codec: str) -> bool:
    """Whether an encoder of FFmpeg is the GPU's."""
    return codec.endswith("_nvenc")


@cache
def nvenc_opens() -> bool:
    """Whether an encoder can be had from the GPU."""
    try:
        context = CodecContext.create(NVENC, "w")
        assert isinstance(context, VideoCodecContext)
        context.width = context.height = 256
        context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
        context.options = dict(NVENC_OPTIONS)
        context.open()
    except (FFmpegError, ValueError):  # no GPU, no driver, a GPU without NVENC; or not compiled in
        return False
    return True
