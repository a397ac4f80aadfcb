"""Restoration of a long video in ranges, by several processes that need not share memory.

    survey          decodes the video once: times and checksum of each frame, and where segments begin
    restore_range   restores some of the segments into the job's folder, in any process, in any order

A resumed run (`rtdeblur.media.resume`) then finds every segment finished and writes the output. Its bytes are
those of an ordinary run: each segment's encoder knows no other segment, batches are cut at the same frames,
and a backend whose decisions depend on earlier frames is given its memory of them.

A range is decoded from a key frame before it. Each frame must have the time and the checksum that the survey
found; otherwise (open groups of pictures, damage, a container that seeks badly), the range is decoded from
the beginning of the video.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur.errors import InputError, OutputError
from rtdeblur.ffmpeg.container import reason
from rtdeblur.ffmpeg.pixels import checksum
from rtdeblur.files import PrivateFolder
from rtdeblur.frames import Frame, FrameBatch, Interlude, VideoInfo
from rtdeblur.media.resume import segment_frames
from rtdeblur.media.resume.job_folder import folder_of
from rtdeblur.media.resume.segment_file import SegmentWriter, examine, name_of
from rtdeblur.pipeline import Pipeline, PipelineStats, in_batches

if TYPE_CHECKING:
    from rtdeblur.backends.base import Backend
    from rtdeblur.device import DeviceBatch
    from rtdeblur.media.reader import FileReader
    from rtdeblur.media.writer import FileWriter

Run = Callable[[Pipeline], PipelineStats]
"""Runs a pipeline; a caller may watch for signals meanwhile."""


@dataclass(frozen=True, slots=True)
class Section:
    """A segment of a surveyed video.

    Attributes:
        first: index of its first frame.
        frames: number of frames.
        begin: index of the first frame of the first batch to restore: its own, or one that affects it.
        last: output timestamp of the frame before `begin`; None at the start.
        memory: the backend's memory before `begin`.
    """

    first: int
    frames: int
    begin: int
    last: int | None
    memory: object

    @property
    def stop(self) -> int:
        """Index after its last frame."""
        return self.first + self.frames


@dataclass(frozen=True, slots=True)
class Survey:
    """The frames of a video, or of a range of it.

    Attributes:
        origin: time of the video's first frame in the output, in seconds.
        sections: its segments, in order.
        begin: index of the first frame in the arrays.
        times: timestamps in the source's time base, int64.
        sums: `rtdeblur.ffmpeg.pixels.checksum` of each frame, uint32.
        starts: whether a batch starts at the frame, bool.
        gaps: whether a gap precedes the frame, bool.
        reach: `rtdeblur.backends.base.Backend.reach`.
    """

    origin: Fraction
    sections: tuple[Section, ...]
    begin: int
    times: NDArray[np.int64]
    sums: NDArray[np.uint32]
    starts: NDArray[np.bool_]
    gaps: NDArray[np.bool_]
    reach: int

    def part(self, sections: Sequence[Section]) -> Survey:
        """Return the survey of some segments, in whole batches."""
        begin, stop = sections[0].begin, sections[-1].stop - self.begin + self.reach
        later = np.flatnonzero(self.starts[stop:])
        frames = slice(begin - self.begin, stop + int(later[0]) if later.size else None)
        arrays = (self.times[frames], self.sums[frames], self.starts[frames], self.gaps[frames])
        return Survey(self.origin, tuple(sections), begin, *arrays, self.reach)


def survey(reader: FileReader, writer: FileWriter, backend: Backend, batch_size: int) -> Survey:
    """Decode a video from its beginning.

    Args:
        reader: reader of the whole video, in host memory.
        writer: a writer of its output; only its clock is used.
        backend: the backend, which may note the frames.
        batch_size: frames per batch.

    Raises:
        InputError: the video cannot be read.
    """
    picture = reader.source.picture
    length = segment_frames(picture.height, picture.width)
    times: list[int] = []
    sums: list[int] = []
    starts: list[bool] = []
    gaps: list[bool] = []
    sections: list[Section] = []
    opened: Section | None = None
    batches: deque[Section] = deque(maxlen=1 + backend.reach)
    index = 0
    after_gap = False

    def noted() -> Iterator[Frame | Interlude]:
        for item in reader:
            assert isinstance(item, Frame | Interlude)
            if isinstance(item, Frame):
                times.append(item.pts)
                sums.append(checksum(item.carrier.frame))
            yield item

    def cut() -> None:
        nonlocal opened
        if opened is not None:
            sections.append(replace(opened, frames=index - opened.first))
            opened = None

    backend.begin()
    for batch in in_batches(noted(), batch_size):
        if isinstance(batch, Interlude):
            cut()
            after_gap = True
            continue
        assert isinstance(batch, FrameBatch)
        batches.append(Section(index, 0, index, writer.clock.last, backend.memory))
        backend.observe(batch)
        rest = [False] * (len(batch) - 1)
        starts += [True, *rest]
        gaps += [after_gap, *rest]
        after_gap = False
        for pts in batch.pts:
            if opened is None:
                earlier = [b for b in batches if b.begin + backend.reach <= index]
                opened = replace(earlier[-1] if earlier else batches[0], first=index)
            writer.clock.stamp(pts * batch.time_base)
            index += 1
            if index - opened.first == length:
                cut()
    cut()
    assert writer.clock.begin is not None
    return Survey(
        writer.clock.begin,
        tuple(sections),
        0,
        np.array(times, np.int64),
        np.array(sums, np.uint32),
        np.array(starts, np.bool_),
        np.array(gaps, np.bool_),
        backend.reach,
    )


def restore_range(
    part: Survey,
    output: Path,
    key: str,
    reader: FileReader,
    writer: FileWriter,
    backend: Backend,
    batch_size: int,
    *,
    open_at: Callable[[float], FileReader],
    run: Run = Pipeline.run,
) -> PipelineStats | None:
    """Restore the segments of a range that are not finished yet, into the job's folder.

    Args:
        part: survey of the range.
        output: the output of the job, whose folder exists.
        key: key of the job (`rtdeblur.media.resume.job_folder.key_of`).
        reader: reader of the whole video, in host memory.
        writer: a writer of `reader`, which sets up the encoders; it writes nothing itself.
        backend: the backend.
        batch_size: frames per batch, as in the survey.
        open_at: opens the input at a time in seconds after its start.
        run: runs a pipeline.

    Returns:
        Statistics; None if everything was finished.

    Raises:
        InputError: the input differs from the surveyed one.
        OutputError: the folder has gone, or a segment cannot be written.
    """
    path = folder_of(output)
    try:
        if not path.exists():
            raise OutputError(f"the unfinished work for {str(output)!r} has gone; start again")
        folder = PrivateFolder(path)
    except OSError as error:
        raise OutputError(f"cannot write {str(output)!r}: {reason(error)}") from error
    try:
        for from_key_frame in (True, False):
            left = [s for s in part.sections if examine(folder, name_of(s.first), key) is None]
            if not left:
                return None
            rest = part.part(left)
            seconds = float(rest.times[0] * reader.source.time_base - reader.source.zero)
            if from_key_frame and (not rest.begin or seconds <= 0):
                continue
            source = open_at(seconds) if from_key_frame else reader
            frames = _RangeSource(source, rest, 0 if from_key_frame else rest.begin)
            sink = _RangeSink(rest, folder, key, writer)
            try:
                memory = rest.sections[0].memory
                return run(Pipeline(frames, backend, sink, batch_size=batch_size, memory=memory))
            except _InexactError:
                continue
            except OSError as error:  # of a segment
                raise OutputError(f"cannot write {str(output)!r}: {reason(error)}") from error
        raise InputError(f"{str(reader.source.path)!r} decodes differently each time; restore it without Ray")
    finally:
        folder.close()


class _InexactError(Exception):
    """A frame differs from the surveyed one."""


class _RangeSource:
    """Frames of a range (a `FrameSource`), in the batches of the survey."""

    def __init__(self, reader: FileReader, part: Survey, skipped: int) -> None:
        self._reader, self._part, self._skipped = reader, part, skipped

    @property
    def info(self) -> VideoInfo:
        return self._reader.info

    def __iter__(self) -> Iterator[Frame | Interlude]:
        frames = (item for item in self._reader if isinstance(item, Frame))
        part = self._part
        deque(islice(frames, self._skipped), maxlen=0)
        for pts, total, starts, gap in zip(part.times, part.sums, part.starts, part.gaps, strict=True):
            frame = next(frames, None)
            if frame is None or frame.pts != pts or checksum(frame.carrier.frame) != total:
                raise _InexactError
            if starts:
                yield Interlude((), is_gap=bool(gap))  # ends the batch before
            yield frame

    def close(self) -> None:
        self._reader.close()


class _RangeSink:
    """Segments of a range (a `FrameSink`)."""

    def __init__(self, part: Survey, folder: PrivateFolder, key: str, writer: FileWriter) -> None:
        self._folder, self._key, self._writer = folder, key, writer
        self._begin = self._index = part.begin
        self._sections = part.sections
        self._firsts = [section.first for section in part.sections]
        self._encoder: Any = None
        self._file: SegmentWriter | None = None
        writer.clock.begin, writer.clock.last = part.origin, part.sections[0].last

    def needs(self, index: int) -> bool:
        return self._section(self._begin + index) is not None

    def write(self, batch: FrameBatch | DeviceBatch | Interlude) -> None:
        if isinstance(batch, Interlude):
            return
        assert isinstance(batch, FrameBatch)
        for i, carried in enumerate(batch.carriers):
            index, self._index = self._index, self._index + 1
            self._writer.stamp(carried.frame, batch.pts[i] * batch.time_base)
            section = self._section(index)
            if section is None:
                continue
            if self._encoder is None or self._file is None:
                self._encoder = self._writer.new_encoder()
                self._file = SegmentWriter(self._folder, self._key, section.first, shared=True)
            picture = self._writer.picture(carried.frame, [plane[i, 0] for plane in batch.planes])
            self._file.add(self._encoder.encode(picture))
            if index == section.stop - 1:
                self._file.add(self._encoder.encode(None))
                self._file.seal(section.frames, self._encoder.reorder_depth)
                self._encoder = self._file = None

    def commit(self) -> None:
        assert self._file is None, "a segment is incomplete"

    def close(self) -> None:
        self._encoder, file, self._file = None, self._file, None
        if file is not None:
            file.close()

    def _section(self, index: int) -> Section | None:
        """Return the segment to be made of a frame, if any."""
        place = bisect_right(self._firsts, index) - 1
        section = self._sections[place] if place >= 0 else None
        return section if section and index < section.stop else None
