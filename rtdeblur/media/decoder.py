"""Decoder of the main video: frames with increasing timestamps, and counts of damage."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from heapq import heappop, heappush

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rtdeblur.ffmpeg.container import frame_rate, refused_by_gpu
from rtdeblur.ffmpeg.damage import FRAMES, MISSING, PACKETS, TIMES, Damage
from rtdeblur.ffmpeg.formats import traits_of
from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.ffmpeg.stream_data import StreamData
from rtdeblur.media.demux import Demuxer

# A stream may have no key frames and refresh its picture gradually: show it after this many frames.
_KEYLESS_FRAMES = 600


class Decoder:
    """Decodes the main video, makes its timestamps increase, and counts damage.

    Args:
        context: FFmpeg's decoder.
        stream: the video.
        demuxer: source of its packets; knows which frames are in the requested part.
        damage: counter of what cannot be decoded.
        promised: expected number of frames; 0 if unknown.

    Attributes:
        time_base: seconds per unit of the frames' timestamps.
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
        # Timestamps of packets not decoded yet, if packets have a single timestamp.
        self._waiting: list[int] | None = [] if traits_of(stream.container.format.name).single_times else None
        self._keyless = 0
        is_default = context.name == stream.codec_context.name
        self._stream_data = None if is_default else StreamData(stream.codec_context)

    @property
    def pix_fmt(self) -> str | None:
        """FFmpeg's name of the pixel format; None if unknown, or if frames are in GPU memory."""
        return None if self._context.is_hwaccel else self._context.pix_fmt

    def decode(self, packet: AnyPacket) -> Iterator[VideoFrame]:
        """Yield the frames completed by a packet that are in the requested part.

        Raises:
            GpuDecodingError: the GPU does not support the codec or this kind of it, and FFmpeg cannot decode
                it on the CPU instead.
        """
        if not packet.is_keyframe and self._demuxer.video_packets == 1:
            self._keyless = _KEYLESS_FRAMES
        return self._decode(packet)

    def flush(self) -> Iterator[VideoFrame]:
        """Yield the last frames; count frames that the container promised but did not contain as damage."""
        missing = self._promised - self._demuxer.video_packets
        if missing > 0:
            self._damage.add(MISSING, f"the container promises {self._promised} frames", missing)
        return self._decode(None)

    def _decode(self, packet: AnyPacket | None) -> Iterator[VideoFrame]:
        decoded: deque[VideoFrame] = deque()
        if self._waiting is not None and packet is not None and packet.dts is not None:
            heappush(self._waiting, packet.dts)
        if self._stream_data is not None and packet is not None:
            self._stream_data.add_to(packet)
        with self._damage.watch(PACKETS):
            try:
                decoded.extend(self._context.decode(packet))
            except NotImplementedError as error:  # from the native decoder of AV1, which needs a GPU
                if not self._context.is_hwaccel:
                    raise
                raise refused_by_gpu(self._context, self._damage.source) from error
        return filter(None, map(self._stamped, drained(decoded)))

    def _stamped(self, frame: VideoFrame) -> VideoFrame | None:
        """Set the frame's timestamp and return it; None if it is not wanted."""
        if self._waiting:
            frame.pts = self._single_time(frame, self._waiting)
        pts = self._clock.stamp(frame.pts, frame.duration)
        if not self._demuxer.wants(pts * self.time_base):
            return None
        if frame.is_corrupt:
            self._damage.add(FRAMES, f"the frame at {float(pts * self.time_base):.3f} s")
        if self._misses_its_key(frame):
            return None
        if frame.pts is not None and frame.pts + 1 < pts:  # a difference of one tick is only a coarse clock
            self._damage.add(TIMES, f"the frame after {float(pts * self.time_base):.3f} s")
        frame.pts, frame.time_base = pts, self.time_base
        return frame

    def _single_time(self, frame: VideoFrame, waiting: list[int]) -> int:
        """Return the earliest unused timestamp, for a container with one timestamp per packet.

        Decoding and presentation timestamps differ in file order if there are B-frames, but are the same
        when sorted.
        """
        time = heappop(waiting)
        if not self._context.has_b_frames and frame.dts is not None:
            while waiting and time < frame.dts:  # packets without a frame
                time = heappop(waiting)
        return time

    def _misses_its_key(self, frame: VideoFrame) -> bool:
        """True for frames before the first key frame of a recording cut between key frames."""
        self._keyless = self._keyless - 1 if frame.is_corrupt else 0
        return self._keyless > 0


class FrameClock:
    """Assigns increasing timestamps to the frames of a stream.

    Args:
        time_base: seconds per unit.
        frame_rate: frames per second, for streams without timestamps; None means 25, as in FFmpeg.
    """

    def __init__(self, time_base: Fraction, frame_rate: Fraction | None) -> None:
        self._step = max(1, round(1 / ((frame_rate or 25) * time_base)))
        self._last: int | None = None

    def stamp(self, pts: int | None, duration: int) -> int:
        """Return the timestamp of the next frame, in units of the time base.

        Args:
            pts: the stream's timestamp, None if missing.
            duration: the stream's duration of the frame, 0 if missing.
        """
        if self._last is None:
            self._last = pts or 0
        elif pts is None:
            self._last += duration or self._step
        else:
            self._last = max(pts, self._last + 1)
        return self._last


def drained(frames: deque[VideoFrame]) -> Iterator[VideoFrame]:
    """Yield frames without keeping references: a GPU decoder has only a few surfaces."""
    while frames:
        yield frames.popleft()
