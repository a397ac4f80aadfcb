"""Opening of containers through PyAV, with the limits and options that the whole package relies on."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from contextlib import suppress
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, cast

import av
import av.logging
from av.codec.codec import Codec, UnknownCodecError
from av.codec.context import CodecContext, Flags
from av.codec.hwaccel import HWAccel, HWDeviceType
from av.container import Container, InputContainer, OutputContainer
from av.error import FFmpegError
from av.format import ContainerFormat
from av.format import Flags as FormatFlags
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from rtdeblur.errors import GpuDecodingError, InputError, NoVideoError
from rtdeblur.pictures import kind_of

MAX_PIXELS = 8192 * 8192
"""Default for the largest picture accepted, in pixels: enough for 8K, and 360° video of 8192x8192."""

Device = Literal["cpu", "cuda"]

# A crafted file must not make FFmpeg read other files or fetch URLs.
_PROTOCOLS = "file,pipe,fd"
_NAMING_OTHERS = {
    "concat", "dash", "hls", "imf", "image2", "lavfi", "rtp", "rtsp", "sap", "sdp", "vobsub",
    "webm_dash_manifest",
}  # fmt: skip

# Brands of ISO base media files with a single picture: HEIF (ISO/IEC 23008-12, section 10) and AVIF.
_PHOTO_BRANDS = {"heic", "heix", "heim", "heis", "mif1", "avif"}

# PyAV forwards FFmpeg's log to Python's logging; hide it by default.
av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)
logging.getLogger("libav").addHandler(logging.NullHandler())

# Preserve the bytes of tags in legacy encodings; PyAV 19 always does.
_OLD = int(av.__version__.split(".")[0]) < 19
_TAGS: dict[str, Any] = {"metadata_errors": "surrogateescape"} if _OLD else {}
VARIANTS = {"m2ts": ("mpegts", {"mpegts_m2ts_mode": "1"})}
"""Containers that FFmpeg tells apart by the name of the file only, each as a muxer and its options.

A file is written under a temporary name, and standard output has none. m2ts is the transport stream of
Blu-ray and AVCHD cameras: each packet has 192 bytes, the first four a time code.
"""
_NOT_THE_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails


def is_seekable(path: Path) -> bool:
    """True for a regular file; False for a pipe or standard input ('-')."""
    return path != Path("-") and path.is_file()


def open_input(path: Path, max_pixels: int = MAX_PIXELS, device: Device = "cpu") -> InputContainer:
    """Open a local file, or standard input for '-'.

    Args:
        path: the file.
        max_pixels: the largest picture that may be decoded for probing.
        device: decoder: cpu, or cuda (NVDEC), which keeps frames in GPU memory.

    Raises:
        InputError: it is missing, neither file nor pipe, empty, unreadable or not a media file; or there is
            no GPU decoder.
    """
    name = str(path)
    if name == "-":
        # Redirected files are seekable; pipes are not.
        url = "fd:" if stat.S_ISREG(os.fstat(0).st_mode) else "pipe:0"
    elif not path.exists():
        raise InputError(f"input {name!r} does not exist; {_advice(name)}")
    elif path.is_dir():
        raise InputError(f"input {name!r} is a directory, expected a video file")
    elif not (path.is_file() or path.is_fifo()):
        raise InputError(f"input {name!r} is a device or socket, expected a video file or a pipe")
    elif path.is_file() and not path.stat().st_size:
        raise InputError(f"input {name!r} is empty (0 bytes), expected a video file")
    else:
        url = str(path.absolute())  # so that no name is parsed as a URL
    # The GPU may be unable to decode cover art: `main_video` checks the video itself.
    accelerator = _nvdec() if device == "cuda" else None
    try:
        with av.logging.Capture() as log:
            container: InputContainer = av.open(
                url,
                "r",
                hwaccel=accelerator,
                options={"max_pixels": str(max_pixels)},
                container_options={"protocol_whitelist": _PROTOCOLS, "format_whitelist": _self_contained()},
                **_TAGS,
            )
    except FFmpegError as error:
        if accelerator:
            _raise_missing(error)
        said = log[-1][2].strip() if log else ""
        why = f"{reason(error)} ({said})" if said else reason(error)
        if "whitelist" in said and log[-1][1] == "image2":
            raise NoVideoError(_photo(path)) from error
        if "whitelist" in said:
            why = "it is a playlist or similar, which refers to other files"
        whole = "complete " if "moov atom not found" in said else ""  # mp4: written when a recording ends
        # FFmpeg says the same about nothing as about frames without a header.
        hint = ", not nothing; raw frames need a container such as y4m or nut" if name == "-" else ""
        raise InputError(
            f"cannot read {described(path)}: {why}; expected a {whole}video file{hint}"
        ) from error
    return container


def described(path: Path) -> str:
    """Return what messages call an input: `standard input`, or `input` and its name."""
    return "standard input" if path == Path("-") else f"input {str(path)!r}"


def _nvdec() -> HWAccel:
    """Return the settings of a decoder on the GPU, which keeps frames in its memory."""
    return HWAccel("cuda", allow_software_fallback=True, is_hw_owned=True)


def _raise_missing(error: FFmpegError) -> None:
    """Raise FFmpeg's errors for a GPU that does not open as GpuDecodingError; return for other errors."""
    if error.errno == errno.EPERM:  # FFmpeg's error for a missing GPU
        raise GpuDecodingError("no GPU decoder for --decoder cuda") from error
    if error.errno == errno.EOPNOTSUPP:
        raise GpuDecodingError("FFmpeg cannot share the GPU context of this program") from error


def _advice(name: str) -> str:
    """Return a hint about the name of a missing file."""
    if re.search(r"%\d*d|[*?]|\[.+\]", name):
        return "patterns are not supported here: give files or a folder, or make a video first with ffmpeg -i"
    return "check the name"


def _photo(path: Path) -> str:
    """Return the message for a file with a single picture."""
    with path.open("rb") as file:
        start = file.read(64)
    if start[8:12] == b"WEBP" and b"ANIM" in start:
        return f"input {str(path)!r} is an animated WebP, which FFmpeg cannot read; convert it to GIF or APNG"
    hint = "" if kind_of(path) else "; a photo needs its extension, such as .jpg or .png"
    return f"input {str(path)!r} is a photo, expected a video{hint}"


@cache
def _self_contained() -> str:
    """Return the self-contained formats, as a value for FFmpeg's format whitelist."""
    names: set[str] = set()
    for name in av.formats_available:
        with suppress(ValueError):  # some are only for writing
            names.update(ContainerFormat(name, "r").name.split(","))
    return ",".join(sorted(names - _NAMING_OTHERS))


def main_video(container: InputContainer, path: Path, max_pixels: int = MAX_PIXELS) -> VideoStream:
    """Return the stream that a player shows: the default video, else the first, but never cover art.

    Its decoder refuses pictures larger than `max_pixels`, including later ones.

    Raises:
        NoVideoError: there is no video, or only one picture.
        InputError: FFmpeg has no decoder for it, or its pictures are too large.
    """
    videos = [s for s in container.streams.video if not s.disposition & _NOT_THE_PICTURE]
    if not videos:
        held = ", ".join("cover art" if s.type == "video" else s.type for s in container.streams)
        raise NoVideoError(f"{described(path)} contains no video, only {held or 'nothing'}; expected a video")
    chosen = next((s for s in videos if s.disposition & Disposition.default), videos[0])
    if chosen.codec_context is None:
        raise InputError(f"{described(path)}: this build of FFmpeg cannot decode its video")
    size = (chosen.codec_context.width, chosen.codec_context.height)
    if size[0] * size[1] > max_pixels:
        raise InputError(
            f"{described(path)} has pictures of {size[0]}x{size[1]}, more than {max_pixels} pixels; "
            "if you trust it, raise --max-pixels"
        )
    brand = container.metadata.get("major_brand", "")
    is_picture = container.format.name.endswith("_pipe") or brand in _PHOTO_BRANDS
    # A pipe may contain many pictures. A stream without a size was too large for FFmpeg (decoding will report
    # that) or is an animated WebP.
    if is_picture and is_seekable(path) and (size[0] or container.format.name == "webp_pipe"):
        raise NoVideoError(_photo(path))
    # Decoders include row padding in the limit.
    chosen.codec_context.options = {"max_pixels": str(2 * max_pixels + 65536)}
    return chosen


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Average frames per second; None if unknown.

    FFmpeg assumes 25 for a raw stream, which has no timestamps; use the rate in its headers instead.
    """
    own = stream.codec_context.framerate
    if own and FormatFlags.no_timestamps in FormatFlags(stream.container.format.flags):
        return Fraction(own)
    rate = stream.average_rate or stream.guessed_rate
    return Fraction(rate) if rate else None


def decoder(stream: VideoStream, device: Device = "cpu") -> VideoCodecContext:
    """Create the decoder of a stream, set up to output everything decodable.

    FFmpeg's default is not always suitable: its native VP8 and VP9 decoders ignore transparency, unlike
    libvpx, and libdav1d has no hardware acceleration, unlike the native decoder of AV1.

    Args:
        stream: the video, opened with the same `device`.
        device: cpu, or cuda, which is used if FFmpeg supports it for the codec (`is_hwaccel`).

    Raises:
        GpuDecodingError: no GPU decoder opens.
    """
    context = stream.codec_context
    codec = context.codec.canonical_name
    with_alpha = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(codec)
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if with_alpha and tags.get("alpha_mode") == "1":
        context = _other_decoder(context, with_alpha)
    elif device == "cuda" and not context.is_hwaccel and _has_nvdec(codec):
        try:
            context = _other_decoder(context, codec, _nvdec())
        except FFmpegError as error:
            _raise_missing(error)
            raise
    context.thread_type = "SLICE"  # frame threads lose the end of a truncated file
    context.flags |= Flags.output_corrupt
    return context


def _has_nvdec(name: str) -> bool:
    """Whether a decoder can use NVDEC; FFmpeg's native decoders have the names of their codecs."""
    try:
        configs = Codec(name, "r").hardware_configs
    except UnknownCodecError:
        return False
    return any(c.device_type == HWDeviceType.cuda and c.is_supported for c in configs)


def _other_decoder(
    default: VideoCodecContext, name: str, accelerator: HWAccel | None = None
) -> VideoCodecContext:
    """Create another decoder for the stream of FFmpeg's default decoder.

    PyAV cannot copy the stream's own side data; see `rtdeblur.ffmpeg.stream_data`.
    """
    context = cast(VideoCodecContext, CodecContext.create(name, "r", accelerator))
    context.extradata, context.options = default.extradata, default.options
    return context


def refused_by_gpu(context: VideoCodecContext, source: str) -> GpuDecodingError:
    """Return the error for a video whose codec the GPU cannot decode.

    Args:
        context: its decoder.
        source: name of the input.
    """
    return GpuDecodingError(f"the GPU cannot decode {context.codec.canonical_name}, the codec of {source!r}")


def open_video(
    path: Path, max_pixels: int = MAX_PIXELS, device: Device = "cpu"
) -> tuple[InputContainer, VideoStream, VideoCodecContext]:
    """Open a file to decode its main video.

    Args:
        path: see `open_input`.
        max_pixels: the largest picture that may be decoded.
        device: decoder, cpu or cuda.

    Returns:
        The container, its main video, and a decoder; its `is_hwaccel` is True if the GPU decodes.

    Raises:
        InputError: see `open_input`, `main_video` and `decoder`.
    """
    container = open_input(path, max_pixels, device)
    try:
        stream = main_video(container, path, max_pixels)
        return container, stream, decoder(stream, device)
    except BaseException:
        container.close()
        raise


def open_output(
    file: str | BytesIO, format_name: str, options: dict[str, str] | None = None
) -> OutputContainer:
    """Open a container for writing; nothing is written until its header.

    Args:
        file: the output.
        format_name: FFmpeg's name of the container, or a key of `VARIANTS`.
        options: muxer options.
    """
    muxer, fixed = VARIANTS.get(format_name, (format_name, {}))
    everything = {**fixed, **(options or {})}
    container: OutputContainer = av.open(file, "w", format=muxer, container_options=everything, **_TAGS)
    return container


def library_version() -> str:
    """Return the versions of PyAV and FFmpeg."""
    return f"{av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def name_of(container: Container) -> str:
    """Return the name by which a container was opened: FFmpeg's, or a key of `VARIANTS`."""
    muxer, options = container.format.name, container.container_options.items()
    for name, (other, fixed) in VARIANTS.items():
        if muxer == other and fixed.items() <= options:
            return name
    return muxer


def reason(error: Exception) -> str:
    """Return the message of a library's error in one line: the system's text if it has one."""
    if isinstance(error, FFmpegError | OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
