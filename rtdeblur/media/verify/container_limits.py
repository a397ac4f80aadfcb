"""What a container can hold of a file, found by trying: a plain copy, read back."""

from __future__ import annotations

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
from av.video.stream import VideoStream

from rtdeblur.errors import InputError, UsageError
from rtdeblur.ffmpeg.container import main_video, open_input, open_output
from rtdeblur.ffmpeg.formats import format_of, refusal, traits_of
from rtdeblur.ffmpeg.side_data import display_matrix
from rtdeblur.media.verify.contents import Contents, read_contents

_PACKETS = 8  # of each stream, enough to know it by


def plain_copy(source: Path, output: Path) -> Contents | None:
    """What the container of an output holds of all that the source has beside its pictures.

    The beginning of the output's video and of the source's other streams is written to a file of that
    container, with all that describes them, and read back.

    Args:
        source: the file whose tags, chapters and streams are tried.
        output: the file whose container and video are tried.

    Returns:
        What came back; None where nothing could be written.
    """
    with (
        TemporaryDirectory(prefix="rtdeblur-") as folder,
        closing(open_input(source)) as before,
        closing(open_input(output)) as after,
    ):
        name = _muxer(output, after)
        path = Path(folder) / "copy"
        try:
            flag = traits_of(name).free_tags_flag
            with closing(open_output(str(path), name, {"movflags": flag} if flag else None)) as copy:
                _fill(copy, before, main_video(before, source), after, main_video(after, output))
            return read_contents(path)
        except (FFmpegError, InputError, ValueError):
            return None


def _muxer(output: Path, container: InputContainer) -> str:
    try:
        return format_of(output)
    except UsageError:  # the name tells nothing
        return container.format.name.split(",")[0]


def _fill(
    copy: OutputContainer,
    before: InputContainer,
    video: VideoStream,
    after: InputContainer,
    restored: VideoStream,
) -> None:
    copy.metadata.update(before.metadata)
    copy.set_chapters(before.chapters())
    picture = copy.add_stream_from_template(restored, opaque=True)
    assert isinstance(picture, VideoStream)
    _describe(picture, video)
    matrix = _matrix(before, video)
    if matrix is not None:
        picture.set_display_matrix(matrix)
    copies: dict[int, Stream] = {}
    for stream in before.streams:
        add = partial(OutputContainer.add_stream_from_template, template=stream, opaque=True)
        if stream.index != video.index and refusal(copy.format.name, add) is None:
            copies[stream.index] = add(copy)
            _describe(copies[stream.index], stream)
    _mux(copy, after, {restored.index: picture})
    _mux(copy, before, copies)


def _describe(copy: Stream, stream: Stream) -> None:
    copy.metadata.update(stream.metadata)
    copy.disposition = stream.disposition


def _matrix(container: InputContainer, video: VideoStream) -> tuple[int, ...] | None:
    with suppress(FFmpegError):
        frame = next(container.decode(video), None)
        container.seek(container.start_time or 0)
        return None if frame is None else display_matrix(frame)
    return None


def _mux(copy: OutputContainer, source: InputContainer, streams: dict[int, Stream]) -> None:
    written: Counter[int] = Counter()
    with suppress(FFmpegError):
        for packet in source.demux():
            index = packet.stream_index
            if not packet.size or index not in streams or written[index] == _PACKETS or packet.dts is None:
                continue
            written[index] += 1
            packet.stream = streams[index]
            packet.rescale_ts(AVRational(Fraction(streams[index].time_base or 1)))
            copy.mux(packet)
            if all(written[index] == _PACKETS for index in streams):
                return
