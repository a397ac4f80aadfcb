"""Reads a video file: demuxes it, decodes its main video, and carries everything else along."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.codec.context import Flags
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rtdeblur.errors import InputError, UsageError
from rtdeblur.frames import Frame, VideoInfo
from rtdeblur.media.clock import FrameClock
from rtdeblur.media.container import main_video, open_input, reason
from rtdeblur.media.demux import AnyPacket, Damage, Demuxer
from rtdeblur.media.planes import colour_of, planar, planes_of


@dataclass(frozen=True, slots=True)
class Carried:
    """What travels with a frame to the sink.

    Attributes:
        frame: the decoded frame, with its side data and flags.
        packets: packets of all other streams that came before it.
    """

    frame: VideoFrame
    packets: tuple[AnyPacket, ...]


class FileReader:
    """The frames of a video file (a `FrameSource`).

    The first frame is decoded at once, since containers do not say all that a sink must know.

    Args:
        path: the file, or '-' for standard input.
        start: seconds from the beginning of the file to the first frame wanted.
        duration: seconds to read from there.

    Attributes:
        path: the file.
        container: the open input, for sinks that copy its streams.
        stream: the main video in it.
        first: what the first frame carries.
        zero: the time in the input, in seconds, that should become zero in the output.
        end: the time in the input, in seconds, where the part asked for ends; None at its end.
        is_trimmed: True where reading starts later than the file.
        damage: what could not be read so far.
        info: what is known of the part asked for.

    Raises:
        InputError: there is no such file, or no video in it that can be decoded.
        UsageError: `start` or `duration` makes no sense.
    """

    def __init__(
        self, path: str | Path, *, start: float | None = None, duration: float | None = None
    ) -> None:
        if start is not None and not 0 <= start < math.inf:
            raise UsageError(f"start is {start}, expected seconds from 0 on")
        if duration is not None and not 0 < duration < math.inf:
            raise UsageError(f"duration is {duration}, expected more than 0 seconds")
        self.path = Path(path)
        self.container: InputContainer = open_input(self.path)
        self.stream: VideoStream = main_video(self.container, self.path)
        # Frame threads lose the end of a truncated file.
        self.stream.codec_context.thread_type = "SLICE"
        self.stream.codec_context.flags |= Flags.output_corrupt
        self.zero = Fraction(self.container.start_time or 0, 1_000_000) + _seconds(start)
        self.end = None if duration is None else self.zero + _seconds(duration)
        self.is_trimmed = start is not None
        begin = self.zero if self.is_trimmed else None
        self._demuxer = Demuxer(self.container, self.stream, begin, self.end)
        if begin is not None and self.path.is_file():  # in a pipe, read on until it comes
            self._demuxer.seek_begin()
        self.damage: Damage = self._demuxer.damage
        rate = self.stream.guessed_rate
        self._time_base = Fraction(self.stream.time_base or Fraction(1, 90_000))
        self._clock = FrameClock(self._time_base, Fraction(rate) if rate else None)
        self._decoded: deque[VideoFrame] = deque()
        self._packets: list[AnyPacket] = []
        self._exhausted = self._closed = False
        self._lock = threading.Lock()
        self._ahead = self._next()
        if self._ahead is None:
            self.close()
            problem = self.damage.message or "no frame in the part asked for"
            hint = "" if self.path.is_file() else "; mp4 from a pipe needs its index in front (faststart)"
            raise InputError(f"cannot decode the video of {str(path)!r}: {problem}{hint}")
        self.first: Carried = self._ahead.carrier
        self.info: VideoInfo = self._describe()

    def __iter__(self) -> Iterator[Frame]:
        """Yield each frame once, its planes being views on the carried frame."""
        frame, self._ahead = self._ahead, None
        while frame is not None:
            yield frame
            frame = self._next()

    def remaining_packets(self) -> list[AnyPacket]:
        """Packets of the other streams that came after the last frame."""
        packets, self._packets = self._packets, []
        return packets

    def close(self) -> None:
        """Release the file; may be called twice, and from another thread while this one reads."""
        self._closed = True
        # A thread that is reading closes the file itself, as soon as its read returns.
        if self._lock.acquire(blocking=False):
            try:
                self.container.close()
            finally:
                self._lock.release()

    def _describe(self) -> VideoInfo:
        rate = Fraction(self.stream.average_rate) if self.stream.average_rate else None
        start = Fraction(self.container.start_time or 0, 1_000_000)
        ends = [self.end]
        if self.container.duration is not None:
            # Matroska counts its length from zero.
            origin = 0 if self.container.format.name.startswith("matroska") else start
            ends.append(origin + Fraction(self.container.duration, 1_000_000))
        seconds = min((end - self.zero for end in ends if end is not None), default=None)
        count = None if seconds is None or rate is None else max(1, round(seconds * rate))
        if self.stream.frames and self.zero == start and self.end is None:
            count = self.stream.frames
        return VideoInfo(
            height=self.first.frame.height,
            width=self.first.frame.width,
            pix_fmt=self.stream.codec_context.pix_fmt or self.first.frame.format.name,
            frame_rate=rate,
            duration_seconds=None if seconds is None else max(0.0, float(seconds)),
            frame_count=count,
        )

    def _next(self) -> Frame | None:
        with self._lock:
            frame = self._read()
        if self._closed:
            self.close()
        return frame

    def _read(self) -> Frame | None:
        while not self._closed:
            if not self._decoded:
                if self._exhausted:
                    return None
                self._read_packet()
                continue
            decoded = self._decoded.popleft()
            pts = self._clock.stamp(decoded.pts, decoded.duration)
            if self._demuxer.wants(pts * self._time_base):
                if decoded.is_corrupt:
                    self.damage.add("a frame was decoded with errors")
                return self._frame(planar(decoded), pts)
        return None

    def _frame(self, picture: VideoFrame, pts: int) -> Frame:
        picture.pts, picture.time_base = pts, self._time_base
        carried = Carried(picture, tuple(self._packets))
        self._packets = []
        return Frame(planes_of(picture), pts, self._time_base, colour_of(picture), carried)

    def _read_packet(self) -> None:
        packet = self._demuxer.read()
        self._exhausted = packet is None
        if packet is None or packet.stream.index == self.stream.index:
            try:
                self._decoded.extend(self.stream.decode(packet))
            except FFmpegError as error:
                self.damage.add(reason(error))
        elif self._demuxer.carries(packet, self.zero):
            self._packets.append(packet)


def _seconds(value: float | None) -> Fraction:
    """Microseconds are what people mean: 0.1 is 1/10, not the nearest binary fraction."""
    return Fraction(round((value or 0) * 1_000_000), 1_000_000)
