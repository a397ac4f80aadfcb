"""Decoder of the main video: frames with increasing timestamps, and counts of damage."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from heapq import heappop, heappush

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rtdeblur.ffmpeg.container import frame_rate
from rtdeblur.ffmpeg.damage import FRAMES, MISSING, PACKETS, TIMES, Damage
from rtdeblur.ffmpeg.formats import traits_of
from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.media.demux import Demuxer

# A stream may have no key frames at all, and mend its picture bit by bit: then all is shown after so many.
_KEYLESS_FRAMES = 600


class Decoder:
    """Decodes the main video, gives its frames ascending times, and counts what is damaged.

    Args:
        context: FFmpeg's decoder.
        stream: the video.
        demuxer: of its packets; knows which frames lie in the part asked for.
        damage: where to count what cannot be decoded.
        promised: how many frames should come; 0 if that is not known.

    Attributes:
        time_base: seconds per unit of the frames' times.
    """

    def __init__(
        self,
        context: VideoCodecContext,
        stream: VideoStream,
        demuxer: Demuxer,
        damage: Damage,
        promised: int,
    ) -> None:
        self.time_base = Fraction(stream.time_base or Fraction(1, 90_000))
        self._context, self._demuxer, self._damage = context, demuxer, damage
        self._clock = FrameClock(self.time_base, frame_rate(stream))
        self._promised = promised
        # Times of packets whose frames have not come yet, if packets have one time each.
        self._waiting: list[int] | None = [] if traits_of(stream.container.format.name).single_times else None
        self._keyless = 0

    @property
    def pix_fmt(self) -> str | None:
        """FFmpeg's name of the sample format; None if it is not known, or frames lie in the GPU's memory."""
        return None if self._context.is_hwaccel else self._context.pix_fmt

    def decode(self, packet: AnyPacket) -> Iterator[VideoFrame]:
        """Yield the frames that are whole now and lie in the part asked for."""
        if not packet.is_keyframe and self._demuxer.video_packets == 1:
            self._keyless = _KEYLESS_FRAMES
        return self._decode(packet)

    def flush(self) -> Iterator[VideoFrame]:
        """Yield the last frames; frames that the container promised and did not hold count as damage."""
        missing = self._promised - self._demuxer.video_packets
        if missing > 0:
            self._damage.add(MISSING, f"the container promises {self._promised} frames", missing)
        return self._decode(None)

    def _decode(self, packet: AnyPacket | None) -> Iterator[VideoFrame]:
        decoded: deque[VideoFrame] = deque()
        if self._waiting is not None and packet is not None and packet.dts is not None:
            heappush(self._waiting, packet.dts)
        with self._damage.watch(PACKETS):
            decoded.extend(self._context.decode(packet))
        return filter(None, map(self._stamped, drained(decoded)))

    def _stamped(self, frame: VideoFrame) -> VideoFrame | None:
        """The frame with its time; None if it is not wanted."""
        if self._waiting:
            frame.pts = self._single_time(frame, self._waiting)
        pts = self._clock.stamp(frame.pts, frame.duration)
        if not self._demuxer.wants(pts * self.time_base):
            return None
        if frame.is_corrupt:
            self._damage.add(FRAMES, f"the frame at {float(pts * self.time_base):.3f} s")
        if self._misses_its_key(frame):
            return None
        if frame.pts is not None and frame.pts + 1 < pts:  # one tick apart are times too coarse
            self._damage.add(TIMES, f"the frame after {float(pts * self.time_base):.3f} s")
        frame.pts, frame.time_base = pts, self.time_base
        return frame

    def _single_time(self, frame: VideoFrame, waiting: list[int]) -> int:
        """The time of a frame whose packet has one: the earliest that no frame has taken.

        Whether packets have the times of showing or of decoding: with B-frames, these are other times in
        the order of the file, and the same when sorted.
        """
        time = heappop(waiting)
        if not self._context.has_b_frames and frame.dts is not None:
            while waiting and time < frame.dts:  # of packets that held no frame
                time = heappop(waiting)
        return time

    def _misses_its_key(self, frame: VideoFrame) -> bool:
        """True for what a recording that begins amidst pictures shows until its first key frame."""
        self._keyless = self._keyless - 1 if frame.is_corrupt else 0
        return self._keyless > 0


class FrameClock:
    """Gives each frame of one stream a time after its predecessor's.

    Args:
        time_base: seconds a unit.
        frame_rate: frames a second, for streams without times; None means 25, as FFmpeg assumes.
    """

    def __init__(self, time_base: Fraction, frame_rate: Fraction | None) -> None:
        self._step = max(1, round(1 / ((frame_rate or 25) * time_base)))
        self._last: int | None = None

    def stamp(self, pts: int | None, duration: int) -> int:
        """The time of the next frame, in units of the time base.

        Args:
            pts: what the stream says, None where it says nothing.
            duration: what the stream says the frame lasts, 0 where it says nothing.
        """
        if self._last is None:
            self._last = pts or 0
        elif pts is None:
            self._last += duration or self._step
        else:
            self._last = max(pts, self._last + 1)
        return self._last


def drained(frames: deque[VideoFrame]) -> Iterator[VideoFrame]:
    """Yield frames without holding them: a decoder has few surfaces on a GPU."""
    while frames:
        yield frames.popleft()
