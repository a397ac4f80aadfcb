"""What this FFmpeg writes and reads: containers by name, what they hold, and its codecs."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Literal

import av
import av.logging
from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.container import OutputContainer
from av.error import FFmpegError
from av.format import ContainerFormat

from rtdeblur.errors import UsageError
from rtdeblur.ffmpeg.container import open_output, reason
from rtdeblur.ffmpeg.targets import is_stream


def ffmpeg_version() -> str:
    """The version of FFmpeg inside PyAV."""
    return av.ffmpeg_version_info


def has_codec(name: str, mode: Literal["r", "w"]) -> bool:
    """Whether this build has a decoder ("r") or an encoder ("w") of that name."""
    try:
        Codec(name, mode)
    except UnknownCodecError:
        return False
    return True


def format_of(path: Path, name: str | None = None) -> str:
    """FFmpeg's name of the container that a file name asks for.

    Args:
        path: the name of the output; standard output ('-') and an existing pipe or device get matroska.
        name: a container that was asked for, by FFmpeg's name or a usual ending; it goes before the path's.

    Raises:
        UsageError: the ending or the name is missing or unknown, or names something else than one file.
    """
    if name is not None:
        found = _video_muxer("x", name) or _video_muxer(f"x.{name}")
        if found is None:
            raise UsageError(f"format {name!r} names no video container; try mp4, mkv, mov or webm")
        return found
    if found := _video_muxer(f"x{path.suffix}"):
        return found
    if is_stream(path):
        return "matroska"
    message = f"output {str(path)!r} ends in {path.suffix!r}, which names no video container"
    raise UsageError(f"{message}; try .mp4, .mkv, .mov or .webm; a folder ends in {os.sep!r}")


def ending_of(name: str) -> str:
    """The usual ending of files in a container that was asked for, as '.mkv'.

    Raises:
        UsageError: there is no such container.
    """
    found = format_of(Path(), name)
    if _video_muxer(f"x.{name}") == found:
        return f".{name}"
    endings = ContainerFormat(found, "w").extensions
    return f".{min(endings, key=lambda e: (len(e), e))}" if endings else ".mkv"


def _video_muxer(file: str, format_name: str | None = None) -> str | None:
    """The name of the container, by the ending of a file name or its own; None where it holds no video."""
    try:
        container: OutputContainer = av.open(file, "w", format=format_name)  # opens no file yet
    except ValueError:
        return None
    holds_video = not container.format.no_file and container.default_video_codec != "none"
    return container.format.name if holds_video else None


def refusal(
    format_name: str, add: Callable[[OutputContainer], object], options: dict[str, str] | None = None
) -> str | None:
    """Why a container cannot be written with what `add` puts into it; None if it can.

    Muxers know only when they write the header, so one is written, to memory.

    Args:
        format_name: FFmpeg's name of the container.
        add: adds streams.
        options: options of the muxer.
    """
    scratch = open_output(BytesIO(), format_name, options)
    try:
        add(scratch)
        scratch.start_encoding()
    except (FFmpegError, ValueError) as error:
        return reason(error)
    finally:
        with suppress(FFmpegError):
            scratch.close()
    return None


MOV = frozenset({"mov", "mp4", "ipod", "3gp", "3g2"})
MATROSKA = frozenset({"matroska", "webm"})
COVERS = MOV - {"mov"}  # where a picture among the streams becomes the cover
