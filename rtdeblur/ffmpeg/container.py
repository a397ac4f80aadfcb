"""Opens containers through PyAV, on the terms that the whole package relies on."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import struct
from contextlib import suppress
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import av
import av.logging
from av.codec.context import CodecContext, Flags
from av.codec.hwaccel import HWAccel
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.format import ContainerFormat
from av.format import Flags as FormatFlags
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from rtdeblur.errors import GpuDecodingError, InputError, NoVideoError

MAX_PIXELS = 8192 * 8192
"""The largest picture read unless a larger one is asked for: 8K, and 360° video of 8192x8192."""

Device = Literal["cpu", "cuda"]

# A crafted file must not make FFmpeg read others, nor fetch addresses.
_PROTOCOLS = "file,pipe,fd"
_NAMING_OTHERS = {
    "concat", "dash", "hls", "imf", "image2", "lavfi", "rtp", "rtsp", "sap", "sdp", "vobsub",
    "webm_dash_manifest",
}  # fmt: skip

# ISO base media files of one picture: HEIF (ISO/IEC 23008-12, section 10) and AVIF.
_PHOTO_BRANDS = {"heic", "heix", "heim", "heis", "mif1", "avif"}

# PyAV hands FFmpeg's log to Python's; who does not ask for it should not see it.
av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)
logging.getLogger("libav").addHandler(logging.NullHandler())

# Tags in some old encoding come through as the bytes they are; PyAV 19 always does so.
_OLD = int(av.__version__.split(".")[0]) < 19
_TAGS: dict[str, Any] = {"metadata_errors": "surrogateescape"} if _OLD else {}
_NOT_THE_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails


def is_seekable(path: Path) -> bool:
    """True for a file that has a name, not for a pipe nor standard input ('-')."""
    return path != Path("-") and path.is_file()


def open_input(path: Path, max_pixels: int = MAX_PIXELS, device: Device = "cpu") -> InputContainer:
    """Open a local file, or standard input for '-'.

    Args:
        path: the file.
        max_pixels: the largest picture that may be decoded to see what the file holds.
        device: that decodes: cpu, or cuda: the GPU (NVDEC), in whose memory frames stay.

    Raises:
        InputError: it is missing, neither file nor pipe, empty, not readable or no media file; or no GPU
            decodes here.
    """
    name = str(path)
    if name == "-":
        # A file that was redirected can be searched; a pipe cannot.
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
        url = str(path.absolute())  # so that no name is taken for an address
    # Cover art may be of a kind that the GPU does not decode: `main_video` looks at the video itself.
    accelerator = None
    if device == "cuda":
        accelerator = HWAccel("cuda", allow_software_fallback=True, is_hw_owned=True)
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
        if accelerator and error.errno == errno.EPERM:  # what FFmpeg makes of a GPU that is not there
            raise GpuDecodingError("no GPU decodes here, as --decoder cuda asks") from error
        if accelerator and error.errno == errno.EOPNOTSUPP:
            raise GpuDecodingError("FFmpeg cannot share the GPU with what uses it in this program") from error
        said = log[-1][2].strip() if log else ""
        why = f"{reason(error)} ({said})" if said else reason(error)
        if "whitelist" in said and log[-1][1] == "image2":
            raise NoVideoError(_photo(path)) from error
        if "whitelist" in said:
            why = "a playlist or the like, which names other files"
        raise InputError(f"cannot read input {name!r}: {why}; expected a video file") from error
    return container


def _advice(name: str) -> str:
    """What may be wrong with the name of a file that does not exist."""
    if re.search(r"%\d*d|[*?]|\[.+\]", name):
        return (
            "patterns are not taken: name the files or their folder; join pictures first, as with ffmpeg -i"
        )
    return "check the name"


def _photo(path: Path) -> str:
    """What to say of a file that holds one picture."""
    with path.open("rb") as file:
        start = file.read(64)
    if start[8:12] == b"WEBP" and b"ANIM" in start:
        return f"input {str(path)!r} is an animated WebP, which FFmpeg cannot read; convert it to GIF or APNG"
    return f"input {str(path)!r} is a photo, expected a video; to make one of it: ffmpeg -i PHOTO video.mkv"


@cache
def _self_contained() -> str:
    """The formats that hold all that they show, as FFmpeg's option takes them."""
    names: set[str] = set()
    for name in av.formats_available:
        with suppress(ValueError):  # some are for writing alone
            names.update(ContainerFormat(name, "r").name.split(","))
    return ",".join(sorted(names - _NAMING_OTHERS))


def main_video(container: InputContainer, path: Path, max_pixels: int = MAX_PIXELS) -> VideoStream:
    """The stream that a player shows: the default video, else the first, and never cover art.

    Its decoder refuses larger pictures than `max_pixels`, also where they come later.

    Raises:
        NoVideoError: there is none, or one picture.
        InputError: FFmpeg has no decoder for it, or its pictures are too large.
    """
    videos = [s for s in container.streams.video if not s.disposition & _NOT_THE_PICTURE]
    if not videos:
        held = ", ".join("cover art" if s.type == "video" else s.type for s in container.streams)
        raise NoVideoError(f"input {str(path)!r} holds no video, only {held or 'nothing'}; expected a video")
    chosen = next((s for s in videos if s.disposition & Disposition.default), videos[0])
    if chosen.codec_context is None:
        raise InputError(f"input {str(path)!r}: this build of FFmpeg cannot decode its video")
    size = (chosen.codec_context.width, chosen.codec_context.height)
    if size[0] * size[1] > max_pixels:
        raise InputError(
            f"input {str(path)!r} has pictures of {size[0]}x{size[1]}, more than {max_pixels} pixels; "
            "if you trust it, raise --max-pixels"
        )
    brand = container.metadata.get("major_brand", "")
    is_picture = container.format.name.endswith("_pipe") or brand in _PHOTO_BRANDS
    # Pictures in a pipe may be many; one without a size was too large for FFmpeg, and decoding says so. An
    # animated WebP has none either.
    if is_picture and is_seekable(path) and (size[0] or container.format.name == "webp_pipe"):
        raise NoVideoError(_photo(path))
    # Decoders count the padding of lines too.
    chosen.codec_context.options = {"max_pixels": str(2 * max_pixels + 65536)}
    return chosen


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Average frames per second; None if unknown.

    A raw stream has no times, and FFmpeg assumes 25; there the video's own headers count.
    """
    own = stream.codec_context.framerate
    if own and FormatFlags.no_timestamps in FormatFlags(stream.container.format.flags):
        return Fraction(own)
    rate = stream.average_rate or stream.guessed_rate
    return Fraction(rate) if rate else None


def is_cut_off(path: Path) -> bool:
    """True for a RIFF file (AVI) that is shorter than its header says."""
    if not is_seekable(path):
        return False
    with path.open("rb") as file:
        kind, size = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
    return bool(kind == b"RIFF" and path.stat().st_size < size + 8)


def decoder(stream: VideoStream) -> VideoCodecContext:
    """The decoder of a stream, set up to give all that can be decoded.

    FFmpeg's own decoders of VP8 and VP9 do not see transparency; libvpx does.
    """
    context = stream.codec_context
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(context.name)
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if name and tags.get("alpha_mode") == "1":
        created = CodecContext.create(name, "r")
        assert isinstance(created, VideoCodecContext)
        created.extradata, context = context.extradata, created
    context.thread_type = "SLICE"  # frame threads lose the end of a truncated file
    context.flags |= Flags.output_corrupt
    return context


def open_video(
    path: Path, max_pixels: int = MAX_PIXELS, device: Device = "cpu"
) -> tuple[InputContainer, VideoStream, VideoCodecContext]:
    """Open a file to decode its main video.

    Args:
        path: as `open_input` takes it.
        max_pixels: the largest picture that may be decoded.
        device: that decodes.

    Returns:
        The container, its main video, and a decoder, whose `is_hwaccel` says whether the GPU decodes.

    Raises:
        InputError: as `open_input` and `main_video`.
    """
    container = open_input(path, max_pixels, device)
    try:
        stream = main_video(container, path, max_pixels)
    except InputError:
        container.close()
        raise
    return container, stream, decoder(stream)


def open_output(
    file: str | BytesIO, format_name: str, options: dict[str, str] | None = None
) -> OutputContainer:
    """Open a container for writing; nothing is written before its header.

    Args:
        file: where to write.
        format_name: FFmpeg's name of the container.
        options: options of the muxer.
    """
    container: OutputContainer = av.open(file, "w", format=format_name, container_options=options, **_TAGS)
    return container


def reason(error: Exception) -> str:
    """What went wrong, in FFmpeg's words and one line."""
    if isinstance(error, FFmpegError | OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
