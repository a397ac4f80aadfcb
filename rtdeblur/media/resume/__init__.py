"""Encoding in segments that are kept on disk until the output is complete.

A segment ends after a fixed number of frames (or at a gap in the source), so that a resumed run cuts at the
same frames. Each segment has a new encoder, which starts with a key frame and no knowledge of earlier frames.
Packets are always muxed from disk, whether encoded just now or by a killed run, so the bytes are the same.
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
"""Packets of other streams, and the encoded packet that follows them."""

# The key frame interval of x264 and x265; a kill loses a few seconds of work.
_FRAMES = 250
# Fewer for large pictures, which take longer; but key frames cost space.
_PIXELS = _FRAMES * 1920 * 1080
_FEWEST_FRAMES = 25


def segment_frames(height: int, width: int) -> int:
    """Return the number of frames per segment for a picture size."""
    return max(_FEWEST_FRAMES, min(_FRAMES, _PIXELS // (height * width)))


class Segments:
    """Video stream of an output, encoded in segments.

    Args:
        folder: folder of the segments.
        kept: finished segments, by index of their first frame.
        new_encoder: makes an encoder, always with the same settings.
        frames: frames per segment.
        time_base: seconds per unit of the encoder's timestamps.
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
        """Whether a frame is not in a finished segment."""
        place = bisect_right(self._firsts, index)
        return not place or index not in self._range(self._kept[self._firsts[place - 1]])

    def add(
        self, picture: Callable[[], VideoFrame], pts: int, packets: tuple[AnyPacket, ...]
    ) -> Iterator[Passage]:
        """Add the next frame; yield packets ready to be muxed, if it ends a segment.

        Args:
            picture: returns the frame; called only if needed.
            pts: its timestamp, after that of the previous frame.
            packets: packets of other streams that precede it.
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
        """End the segment; yield packets ready to be muxed."""
        if not self._pts:
            return
        segment = self._kept.get(self._first) or self._finish()
        if segment.frames != len(self._pts):
            raise OutputError(
                f"the input decodes differently than before at frame {self._first}; start over with -y"
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
        """Abandon the unfinished segment; may be called twice."""
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
        """Return the decoding timestamps of a segment, on one clock through all segments.

        Each encoder counts from its own first frame. As encoders do, give the i-th packet the presentation
        time of the frame `delay` places earlier, extrapolated before the first frame.
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
