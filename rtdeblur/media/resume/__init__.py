"""Encodes a video in segments, each of which is kept until the whole is done.

A segment ends after a fixed count of frames (or where the source has a gap), so that a run which goes on with
the work of another cuts where that one cut. Each has an encoder of its own, which starts with a key frame and
knows nothing of the frames before. What is muxed comes from the disk, whether it was encoded a moment ago or
by a run that was killed: so both give the same bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import zip_longest
from typing import TypeAlias

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from rtdeblur.errors import OutputError
from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.media.resume.job_folder import JobFolder
from rtdeblur.media.resume.segment_file import Segment, SegmentWriter

Passage: TypeAlias = "tuple[tuple[AnyPacket, ...], AnyPacket | None]"
"""Packets of other streams, and the encoded one that follows them."""

# As x264 and x265 place key frames; what is lost by a kill are some seconds of work.
_FRAMES = 250
# Fewer of large pictures, which take longer; but key frames cost space.
_PIXELS = _FRAMES * 1920 * 1080
_FEWEST_FRAMES = 25


def segment_frames(height: int, width: int) -> int:
    """How many frames of a size make a segment."""
    return max(_FEWEST_FRAMES, min(_FRAMES, _PIXELS // (height * width)))


class Segments:
    """The video of one output.

    Args:
        folder: keeps the segments.
        kept: those that are finished already, by the index of their first frame.
        new_encoder: makes an encoder, set up as every other.
        frames: how many make a segment.
        time_base: seconds a unit of the encoder's times.
    """

    def __init__(
        self,
        folder: JobFolder,
        kept: Mapping[int, Segment],
        new_encoder: Callable[[], VideoCodecContext],
        frames: int,
        time_base: Fraction,
    ) -> None:
        self._folder, self._kept, self._new_encoder = folder, dict(kept), new_encoder
        self._length, self._time_base = frames, time_base
        self._firsts = sorted(kept)
        self._first = 0
        self._pts: list[int] = []
        self._waiting: list[tuple[AnyPacket, ...]] = []
        self._encoder: VideoCodecContext | None = None
        self._file: SegmentWriter | None = None
        self._decoding_times: deque[int] | None = None

    def needs(self, index: int) -> bool:
        """True where the frame of that index lies in no finished segment."""
        place = bisect_right(self._firsts, index)
        return not place or index not in self._range(self._kept[self._firsts[place - 1]])

    def add(
        self, picture: Callable[[], VideoFrame], pts: int, packets: tuple[AnyPacket, ...]
    ) -> Iterator[Passage]:
        """Take the next frame; yield what is ready to be muxed, which is nothing but at the end of a segment.

        Args:
            picture: gives the frame, if it is needed.
            pts: its time, after that of the frame before.
            packets: of other streams, that belong before it.
        """
        self._pts.append(pts)
        self._waiting.append(packets)
        kept = self._kept.get(self._first)
        if kept is None:
            if self._encoder is None or self._file is None:
                self._encoder, self._file = self._new_encoder(), self._folder.new_segment(self._first)
            self._file.add(self._encoder.encode(picture()))
        if len(self._pts) == (self._length if kept is None else kept.frames):
            yield from self.cut()

    def cut(self) -> Iterator[Passage]:
        """End the segment here; yield what is ready to be muxed."""
        if not self._pts:
            return
        segment = self._kept.get(self._first) or self._finish()
        if segment.frames != len(self._pts):
            raise OutputError(
                f"the input gave other frames than before at frame {self._first}; -y starts over"
            )
        times = self._times(segment.delay)
        self._first += len(self._pts)
        waiting, self._waiting, self._pts = self._waiting, [], []
        for packets, encoded in zip_longest(waiting, segment.packets(self._time_base), fillvalue=None):
            dts = times.popleft() if times else None
            if encoded is not None and encoded.pts is not None:
                encoded.dts = encoded.pts if dts is None else min(dts, encoded.pts)
            yield packets or (), encoded

    def close(self) -> None:
        """Give up the segment that is not finished; may be called twice."""
        self._encoder, file, self._file = None, self._file, None
        if file is not None:
            file.close()

    def _finish(self) -> Segment:
        assert self._encoder is not None
        assert self._file is not None
        self._file.add(self._encoder.encode(None))
        segment = self._file.seal(len(self._pts), self._encoder.reorder_depth)
        self._encoder = self._file = None
        return segment

    def _times(self, delay: int) -> deque[int]:
        """The decoding times of what follows, on one clock through all segments.

        Each encoder counts from its own first frame. As they do it, the i-th packet is decoded when the frame
        `delay` places before is shown; the first ones go back from the first frame as far as that.
        """
        shown = sorted(self._pts)
        if self._decoding_times is None:
            if len(shown) > delay:
                ahead = [pts - (shown[delay] - shown[0]) for pts in shown[:delay]]
            else:
                ahead = [shown[0] - delay + i for i in range(delay)]
            self._decoding_times = deque(ahead)
        self._decoding_times.extend(shown)
        return self._decoding_times

    @staticmethod
    def _range(segment: Segment) -> range:
        return range(segment.first, segment.first + segment.frames)
