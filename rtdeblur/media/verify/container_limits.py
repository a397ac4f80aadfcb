"""Limits of a container, found by experiment: a plain copy, read back."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.rational import AVRational
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rtdeblur.errors import InputError, UsageError
from rtdeblur.ffmpeg.container import frame_rate, main_video, name_of, open_input, open_output
from rtdeblur.ffmpeg.edit_units import silence
from rtdeblur.ffmpeg.formats import copy_stream, format_of, refusal, traits_of
from rtdeblur.ffmpeg.side_data import display_matrix
from rtdeblur.media.verify.contents import Contents, read_contents

_PICTURES = 8  # packets per video, enough to recognise it


def plain_copy(source: Path, output: Path) -> Contents | None:
    """Find out what the output's container can store of the source besides its pictures.

    The start of the output's video and the source's other streams are written to such a container with all
    their metadata, and read back.

    Args:
        source: the file whose tags, chapters and streams are tried.
        output: the file whose container and video are tried.

    Returns:
        Contents read back; None if nothing could be written.
    """
    with (
        TemporaryDirectory(prefix="rtdeblur-") as folder,
        closing(open_input(source)) as before,
        closing(open_input(output)) as after,
    ):
        name = _muxer(output, after)
        path = Path(folder) / "copy"
        try:
            traits = traits_of(name)
            flag = traits.free_tags_flag
            options = {**traits.options, **({"movflags": flag} if flag else {})}
            with closing(open_output(str(path), name, options)) as copy:
                _fill(copy, source, before, output, after)
            return read_contents(path)
        except (FFmpegError, InputError, ValueError):
            return None


def _muxer(output: Path, container: InputContainer) -> str:
    try:
        return format_of(output)
    except UsageError:  # the name has no usable extension
        return container.format.name.split(",")[0]


def _fill(
    copy: OutputContainer, source: Path, before: InputContainer, output: Path, after: InputContainer
) -> None:
    video, restored = main_video(before, source), main_video(after, output)
    copy.metadata.update(before.metadata)
    copy.set_chapters(before.chapters())
    picture = copy.add_stream_from_template(restored, opaque=True)
    assert isinstance(picture, VideoStream)
    picture.codec_context.framerate = frame_rate(video) or Fraction(0)  # else mov refuses a timecode
    _describe(picture, video)
    first, restored_first = (_first_frame(path) for path in (source, output))
    matrix = None if first is None else display_matrix(first)
    if matrix is not None:
        picture.set_display_matrix(matrix)
    copies: dict[int, Stream] = {}
    traits = traits_of(name_of(copy))
    for stream in before.streams:
        add = partial(copy_stream, stream=stream)
        if stream.index == video.index or not traits.takes(_codec(stream)):
            continue
        if traits.needs_layout(_codec(stream), before.format.name):
            continue
        if stream.type == "data" and not traits.takes_data(_codec(stream), before.format.name):
            continue
        options = traits.trial_options(_codec(stream))
        if refusal(name_of(copy), add, options, beside_video=True) is None:
            copies[stream.index] = add(copy)
            _describe(copies[stream.index], stream)
    most = sys.maxsize if traits.edit_units else _PICTURES  # audio ends with the video there
    pictures, _ = _mux(copy, after, {restored.index: picture}, Fraction(0), most)
    _, sizes = _mux(copy, before, copies, _time(restored_first) - _time(first), most)
    if traits.edit_units:
        seconds = pictures[restored.index] * Fraction(picture.time_base or 1)
        for stream in before.streams.audio:
            if stream.index in copies:
                for packet in silence(copies[stream.index], stream, sizes[stream.index], seconds):
                    copy.mux(packet)


def _first_frame(path: Path) -> VideoFrame | None:
    """Decode the first frame of a file, opened separately: demuxers do not fully reset on a seek."""
    with closing(open_input(path)) as container, suppress(FFmpegError):
        return next(container.decode(main_video(container, path)), None)
    return None


def _time(frame: VideoFrame | None) -> Fraction:
    return Fraction(0) if frame is None or frame.pts is None else frame.pts * Fraction(frame.time_base or 1)


def _codec(stream: Stream) -> str:
    context = stream.codec_context
    return context.codec.canonical_name if context else getattr(stream, "name", None) or "unknown"


def _describe(copy: Stream, stream: Stream) -> None:
    copy.metadata.update(stream.metadata)
    if "name" in stream.metadata:  # mov's demuxer reads the title as this key
        copy.metadata.setdefault("title", stream.metadata["name"])
    copy.disposition = stream.disposition


def _mux(
    copy: OutputContainer, source: InputContainer, streams: dict[int, Stream], shift: Fraction, most: int
) -> tuple[Counter[int], Counter[int]]:
    """Copy packets of streams, shifted in time; at most so many per video, all of the others.

    Returns:
        Number of packets copied, and their size in bytes, by stream index.
    """
    written: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    with suppress(FFmpegError):
        for packet in source.demux():
            index = packet.stream.index
            if not packet.size or index not in streams or packet.pts is None:
                continue
            if packet.dts is None:  # Matroska omits the first of reordered pictures
                packet.dts = packet.pts - 2 * (packet.duration or 1)
            if streams[index].type == "video" and written[index] == most:
                if all(stream.type == "video" for stream in streams.values()):
                    break
                continue
            written[index] += 1
            sizes[index] += packet.size
            moved = round(shift / Fraction(packet.time_base))
            packet.pts = None if packet.pts is None else packet.pts + moved
            packet.dts += moved
            packet.stream = streams[index]
            packet.rescale_ts(AVRational(Fraction(streams[index].time_base or 1)))
            copy.mux(packet)
    return written, sizes
