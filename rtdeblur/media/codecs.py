"""Choice of the encoder and the pixel format for a source and a container.

| `--codec auto` chooses | for                                               |
|------------------------|---------------------------------------------------|
| libx265                | HDR and more than 8 bits: few devices decode such |
|                        | H.264; but not for interlaced video of 10 bits    |
| h264_nvenc             | 8-bit 4:2:0, if the GPU can encode                |
| libx264                | everything else                                   |
| libvpx-vp9             | containers that accept neither (webm)             |
| others                 | containers that accept only these (gif, dv …)     |
| ffv1                   | lossless quality that the others cannot reach     |

The pixel format is the source's if the encoder supports it, else the nearest one with at least its depth and
chroma resolution. RGB becomes full-range BT.709 if the encoder has no RGB. H.264 and HEVC cannot halve odd
sizes: these get full chroma resolution in that direction. `encoder_traits` has the facts about each encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from fractions import Fraction
from functools import partial
from io import BytesIO
from typing import get_args

import av
from av.codec import Codec
from av.codec.codec import PixFmtLoss, UnknownCodecError, find_best_pix_fmt_of_list
from av.codec.context import CodecContext
from av.error import FFmpegError
from av.video import VideoFrame
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.reformatter import ColorTrc

from rtdeblur.errors import OutputError, UsageError
from rtdeblur.ffmpeg.container import open_output
from rtdeblur.ffmpeg.formats import refusal
from rtdeblur.ffmpeg.pixels import PLANAR, depth_of, has_alpha
from rtdeblur.frames import Colour
from rtdeblur.media.encoder import Encoding, frame_rate
from rtdeblur.media.encoder_traits import (
    CAPTIONS,
    ENCODERS,
    NVENC,
    EncoderTraits,
    Quality,
    encoder_of,
    is_nvenc,
    traits_of,
)
from rtdeblur.media.source import PictureInfo, SourceInfo

# NVENC accepts 145×49 to 4096 pixels a side for H.264 (NVIDIA, NVENC Video Encoder API).
_NVENC_LEAST, _NVENC_MOST = (64, 160), 4096
_LOSSES = PixFmtLoss.DEPTH | PixFmtLoss.RESOLUTION | PixFmtLoss.CHROMA | PixFmtLoss.ALPHA
# Units of the SEI message: SMPTE ST 2086 (0.00002 for chromaticity, 0.0001 cd/m² for luminance).
_CHROMATICITY, _LUMINANCE = 50_000, 10_000
_USUAL = "try auto, h264, hevc, av1, vp9, prores or ffv1"
_HDR_TRANSFERS = {ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67}


def choose(
    source: SourceInfo,
    format_name: str,
    codec: str,
    crf: float | None,
    preset: str | None,
    quality: Quality | None = None,
) -> Encoding:
    """Choose the first encoder and pixel format that work for the source and the container.

    Args:
        source: the source.
        format_name: FFmpeg's name of the container.
        codec: FFmpeg's name of an encoder, a common codec name (h264, hevc …), or 'auto'.
        crf: the encoder's quality number, lower is better; None uses `quality`.
        preset: encoder preset; None for the default.
        quality: None for balanced, or for the defaults of an encoder without qualities.

    Raises:
        UsageError: the encoder or quality does not exist, or the encoder lacks the quality, crf or preset.
        OutputError: the encoder refuses the size or an option, or the container refuses the encoder.
    """
    if quality not in (None, *get_args(Quality)):
        raise UsageError(f"quality is {quality!r}, expected one of {', '.join(get_args(Quality))}")
    picture = source.picture
    if codec != "auto":
        return _accepted(source, format_name, encoder_of(codec), crf, preset, quality)
    if quality == "lossless" and crf is None:
        names = _lossless_candidates(picture, format_name)
    else:
        # crf and preset without a codec are meant for the CPU encoders.
        gpu = crf is None and preset is None and suits_nvenc(picture)
        names = _candidates(picture, format_name, gpu)
    problem: OutputError | None = None
    for name in names:
        try:
            return _accepted(source, format_name, name, crf, preset, quality)
        except OutputError as error:
            problem = problem or error
    raise problem or OutputError(f"no encoder available for {format_name}", "try .mkv, .mp4, .mov or .webm")


def _accepted(
    source: SourceInfo,
    format_name: str,
    name: str,
    crf: float | None,
    preset: str | None,
    quality: Quality | None,
) -> Encoding:
    """Choose the first pixel format of one encoder that works for the source and the container."""
    picture, encoder, traits = source.picture, _encoder(name), traits_of(name)
    if not _is_large_enough(picture, traits):
        size = f"{picture.width}x{picture.height}"
        raise OutputError(f"{name} needs {traits.least_side} pixels a side or more, got {size}; try libx264")
    rate = frame_rate(source)
    if traits.sizes and rate not in traits.sizes:
        rates = " or ".join(f"{float(known):.5g}" for known in traits.sizes)
        raise OutputError(f"{name} supports only {rates} frames per second, got {float(rate):.5g}; try .mkv")
    options = _options(encoder, crf, preset, quality)
    _add_hdr_params(name, picture, options)
    aspect_ratio = source.video.sample_aspect_ratio or 1
    problem: str | None = None
    encodings = [
        Encoding(
            name,
            pix_fmt,
            options,
            lost,
            _colour(picture, pix_fmt, traits),
            tag=traits.tags.get(format_name),
            size=traits.sizes.get(rate),
        )
        for pix_fmt, lost in _ranked(picture.format, encoder)
    ]
    if is_nvenc(name) and source.fits_device:
        encodings.insert(0, replace(encodings[0], pix_fmt="nv12", device="cuda"))
    for encoding in encodings:
        refused = refusal(format_name, partial(encoding.add_to, source=source))
        if refused is None and (traits.formats or aspect_ratio != 1) and encoding.device == "cpu":
            pix_fmt, written = _read_back(encoding, format_name, source)
            encoding = replace(encoding, keeps_aspect_ratio=aspect_ratio in (1, written))
            if traits.formats and pix_fmt != encoding.pix_fmt:
                refused = f"readers do not recognise {encoding.pix_fmt} in it"
        if refused is None:
            return encoding
        problem = problem or refused
    what = f"{picture.width}x{picture.height} {picture.format.name} as {name} in {format_name}"
    asked = " and ".join(f"{k} {v}" for k, v in (("crf", crf), ("preset", preset)) if v is not None)
    hint = f"leave out {asked}" if asked else "try another codec or container"
    raise OutputError(f"cannot encode {what}: {problem or 'no pixel format fits'}; {hint}")


def _read_back(
    encoding: Encoding, format_name: str, source: SourceInfo
) -> tuple[str | None, Fraction | None]:
    """Write one frame, and return what readers find out.

    Returns:
        The pixel format and the aspect ratio of the pixels; None if unknown.
    """
    file = BytesIO()
    try:
        with open_output(file, format_name) as container:
            stream, context = encoding.add_to(container, source)
            frame = VideoFrame(context.width, context.height, encoding.pix_fmt)
            for plane in frame.planes:  # samples beyond the bit depth, as in fresh memory, crash libx264
                plane.update(bytes(plane.buffer_size))
            frame.pts, frame.time_base = 0, context.time_base
            container.mux([*stream.encode(frame), *stream.encode()])
        file.seek(0)
        with av.open(file, "r") as written:
            video = written.streams.video[0]
            pix_fmt = next(written.decode(video)).format.name
            return pix_fmt, video.sample_aspect_ratio
    except (FFmpegError, ValueError, StopIteration, IndexError):
        return None, None


def _colour(picture: PictureInfo, pix_fmt: str, traits: EncoderTraits) -> Colour:
    colour = picture.colour
    if traits.is_jpeg:
        return replace(colour, matrix="bt601", full_range=True)
    is_rgb = VideoFormat(pix_fmt).is_rgb
    if colour.matrix == "rgb" and not is_rgb:
        return replace(colour, matrix="bt709", full_range=True)  # full range keeps every level
    return replace(colour, matrix="rgb", full_range=True) if is_rgb else colour


def _candidates(picture: PictureInfo, format_name: str, gpu: bool) -> Iterator[str]:
    """Yield the encoders to try for a container, best first."""
    most = 10 if picture.is_interlaced else 8  # libx265 cannot signal fields, libx264 has 10 bits at most
    deep = depth_of(picture.format) > most or picture.transfer in _HDR_TRANSFERS
    if gpu and not deep and _holds(format_name, "libx264") and nvenc_opens():
        yield NVENC
    for name in ("libx265", "libx264") if deep else ("libx264",):
        if _is_large_enough(picture, traits_of(name)) and _holds(format_name, name):
            yield name
    if _holds(format_name, "libvpx-vp9"):
        yield "libvpx-vp9"
    with suppress(UnknownCodecError):
        yield encoder_of(Codec(open_output(BytesIO(), format_name).default_video_codec, "w").name)


def _lossless_candidates(picture: PictureInfo, format_name: str) -> Iterator[str]:
    """Yield the encoders that keep every sample of a picture, best first; then the other lossless ones."""
    names = ("libx264", "libx264rgb", "libx265", "ffv1", "libvpx-vp9")
    held = [n for n in names if _is_large_enough(picture, traits_of(n)) and _holds(format_name, n)]
    for name in held:
        ranked = _ranked(picture.format, _encoder(name))
        if ranked and not ranked[0][1] and VideoFormat(ranked[0][0]).is_rgb == picture.format.is_rgb:
            yield name
    yield from held


def _is_large_enough(picture: PictureInfo, traits: EncoderTraits) -> bool:
    return min(picture.width, picture.height) >= traits.least_side


def _holds(format_name: str, codec: str) -> bool:
    try:
        open_output(BytesIO(), format_name).add_stream(codec)
    except ValueError:
        return False
    return True


def _encoder(name: str) -> Codec:
    try:
        encoder = Codec(name, "w")
    except UnknownCodecError:
        aliases = [alias for traits in ENCODERS.values() for alias in traits.aliases]
        near = get_close_matches(name.lower(), [*aliases, *ENCODERS, *_video_encoders()], 1)
        hint = f"did you mean {near[0]}? Otherwise {_USUAL}" if near else _USUAL
        raise UsageError(f"FFmpeg has no video encoder called {name!r}", hint) from None
    if encoder.type != "video":
        raise UsageError(f"FFmpeg has no video encoder called {name!r}: it is for {encoder.type}", _USUAL)
    return encoder


def _video_encoders() -> Iterator[str]:
    for name in av.codecs_available:
        try:
            encoder = Codec(name, "w")
        except UnknownCodecError:  # only a decoder
            continue
        if encoder.type == "video":
            yield encoder.name


def _options(
    encoder: Codec, crf: float | None, preset: str | None, quality: Quality | None
) -> dict[str, str]:
    name = encoder.name
    known = {o.name for o in CodecContext.create(name, "w").supported_options.private}
    traits = traits_of(name)
    options = dict(traits.options)
    if CAPTIONS in known:
        options[CAPTIONS] = "1"  # off by default in libx265
    number = next((key for key in ("crf", "cq") if key in known), None)
    if crf is not None:
        if number is None:
            raise UsageError(f"codec {name!r} has no crf, got {crf}; leave it out")
        options[number] = f"{crf:g}"
    if (quality == "lossless" and crf is None) or (crf == 0 and traits.lossless):
        options |= _lossless(encoder)
        options.pop(number or "", None)
    elif quality is not None and crf is None:
        options |= _of_quality(encoder, quality)
    if preset is not None:
        if "preset" not in known:
            raise UsageError(f"codec {name!r} has no presets, got {preset!r}; leave it out")
        if traits.presets and preset not in traits.presets:
            raise UsageError(f"codec {name!r} has no preset {preset!r}; try {', '.join(traits.presets)}")
        options["preset"] = preset
    return options


def _of_quality(encoder: Codec, quality: Quality) -> Mapping[str, str]:
    qualities = traits_of(encoder.name).qualities
    if qualities is None and not _is_always_lossless(encoder) and quality != "balanced":
        with_qualities = ", ".join(name for name, traits in ENCODERS.items() if traits.qualities)
        raise UsageError(
            f"{encoder.name} has no quality {quality!r}; encoders with qualities: {with_qualities}"
        )
    return (qualities or {}).get(quality, {})


def _lossless(encoder: Codec) -> Mapping[str, str]:
    lossless = traits_of(encoder.name).lossless
    if lossless is None and not _is_always_lossless(encoder):
        raise UsageError(f"{encoder.name} is not lossless; try libx264, libx265, libvpx-vp9 or ffv1")
    return lossless or {}


def _is_always_lossless(encoder: Codec) -> bool:
    return encoder.lossless and not encoder.lossy


def _add_hdr_params(codec: str, picture: PictureInfo, options: dict[str, str]) -> None:
    """Add the options that make an encoder write a picture's mastering display and content light level.

    Args:
        codec: FFmpeg's name of the encoder.
        picture: facts about the first frame.
        options: options of the encoder, changed in place.
    """
    hdr = traits_of(codec).hdr
    if hdr is None:
        return
    params = [options[hdr.option]] if hdr.option in options else []
    mastering, light = picture.mastering_display, picture.light_level
    display = _display(mastering.values) if mastering and mastering.is_whole else None
    if display:
        params.append(f"{hdr.display}={display}")
    if light:
        max_cll, max_fall = light
        params.append(f"{hdr.light}={max_cll},{max_fall}")
    if (display or light) and hdr.also:
        params.append(hdr.also)
    if params:
        options[hdr.option] = ":".join(params)


def _display(values: tuple[float, ...]) -> str:
    red, green, blue, white = (
        f"({round(x * _CHROMATICITY)},{round(y * _CHROMATICITY)})"
        for x, y in zip(values[0:8:2], values[1:8:2], strict=True)
    )
    lowest, highest = (round(v * _LUMINANCE) for v in values[8:])
    return f"G{green}B{blue}R{red}WP{white}L({highest},{lowest})"


def _ranked(source: VideoFormat, encoder: Codec) -> list[tuple[str, PixFmtLoss]]:
    """Rank an encoder's pixel formats for a source as FFmpeg does, each with its losses."""
    formats = encoder.video_formats or [source, *map(VideoFormat, traits_of(encoder.name).formats)]
    offered = [f.name for f in formats if _is_candidate(f, source)]
    has_colour = any(len(VideoFormat(name).components) > 2 for name in offered)
    # GIF, PNG and others encode colour only as RGB, GIF with few bits.
    if not offered or (len(source.components) > 2 and not has_colour):
        offered = [f.name for f in formats if f.components and not f.has_palette and len(f.components) == 3]
    # FFmpeg takes the first of equals: prefer no conversion, then planar over nv12.
    offered.sort(key=lambda name: (name != source.name, not PLANAR.fullmatch(name)))
    # FFmpeg treats gray as 4:4:4, and would count 4:2:0 as a loss.
    like = source.name if source.name in offered else source.name.replace("gray", "yuv420p")
    ranked = []
    while offered:
        best, loss = find_best_pix_fmt_of_list(offered, like, has_alpha(source))
        if best is None:
            break
        offered.remove(best.name)
        ranked.append((best.name, loss & _LOSSES))
    # FFmpeg would rather keep transparency than depth or chroma.
    return sorted(ranked, key=lambda item: bool(item[1] & ~PixFmtLoss.ALPHA))


def _is_candidate(offered: VideoFormat, source: VideoFormat) -> bool:
    if not offered.components or offered.has_palette:  # hardware frames, or too few colours
        return False
    if offered.is_rgb and not source.is_rgb:
        return False
    jpeg_range, alpha = offered.name.startswith("yuvj"), has_alpha(offered)
    return (not jpeg_range or source.name.startswith("yuvj")) and (not alpha or has_alpha(source))


def suits_nvenc(picture: PictureInfo) -> bool:
    """Whether NVENC can encode a picture without loss of format: 8-bit 4:2:0, progressive, supported size."""
    height, width = picture.height, picture.width
    return (
        picture.format.name in ("yuv420p", "nv12")
        and not picture.is_interlaced
        and height % 2 == width % 2 == 0
        and height >= _NVENC_LEAST[0]
        and width >= _NVENC_LEAST[1]
        and max(height, width) <= _NVENC_MOST
    )


def nvenc_opens(name: str = NVENC) -> bool:
    """Whether a GPU encoder can be opened.

    Args:
        name: FFmpeg's name of the encoder.
    """
    try:
        context = CodecContext.create(name, "w")
        assert isinstance(context, VideoCodecContext)
        context.width = context.height = 256
        context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
        context.options = dict(traits_of(name).options)
        with av.logging.Capture():  # FFmpeg logs a missing driver as an error
            context.open()
    except (FFmpegError, ValueError):  # no GPU, no driver, a GPU without NVENC, or an FFmpeg without it
        return False
    return True
