"""Reads a video file: demuxes it, decodes its main video, and carries everything else along."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rtdeblur.device import DeviceFrame
from rtdeblur.errors import InputError, UsageError
from rtdeblur.ffmpeg.container import MAX_PIXELS, Device, decoder, is_seekable, main_video, open_input
from rtdeblur.ffmpeg.damage import FRAMES, MISSING, PACKETS, TIMES, Damage
from rtdeblur.ffmpeg.packets import AnyPacket, PacketQueue
from rtdeblur.ffmpeg.pixels import colour_of, device_planes, downloaded, planar, planes_of
from rtdeblur.frames import Frame, Interlude, VideoInfo
from rtdeblur.media.deinterlace import Deinterlacer, Deinterlacing
from rtdeblur.media.demux import INTERLEAVE_SECONDS, Demuxer
from rtdeblur.media.source import PictureInfo, SourceInfo, is_cover

# A stream may have no key frames at all, and mend its picture bit by bit: then all is shown after so many.
_KEYLESS_FRAMES = 600


@dataclass(frozen=True, slots=True)
class Carried:
    """What travels with a frame to the sink.

    Attributes:
        frame: the decoded frame, with its side data and flags.
        packets: packets of all other streams that belong before it.
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
        max_pixels: the largest picture that is read; checked before memory is taken for one.
        strict: raise the first damage met, instead of counting it and going on.
        deinterlace: make whole pictures of fields, one a frame or one a field; None leaves them.
        device: that decodes: cpu, or cuda: the GPU (NVDEC); its frames come to the host unless
            `keep_on_device` is called.

    Attributes:
        source: the facts that a writer needs, known before the first frame is asked for.
        damage: what could not be read so far.
        keeps: whether frames stay in the GPU's memory.
        obstacle: why they cannot; empty where they can.

    Raises:
        InputError: there is no such file, no video in it that can be decoded, or one too large.
        UsageError: `start` or `duration` makes no sense.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        start: float | None = None,
        duration: float | None = None,
        max_pixels: int = MAX_PIXELS,
        strict: bool = False,
        deinterlace: Deinterlacing | None = None,
        device: Device = "cpu",
    ) -> None:
        if start is not None and not 0 <= start < math.inf:
            raise UsageError(f"start is {start}, expected seconds from 0 on")
        if duration is not None and not 0 < duration < math.inf:
            raise UsageError(f"duration is {duration}, expected more than 0 seconds")
        self._path, self._device = Path(path), device
        self._container: InputContainer = open_input(self._path, max_pixels, device)
        self._stream: VideoStream = main_video(self._container, self._path, max_pixels)
        self._decoder = decoder(self._stream)
        if device == "cuda" and not self._decoder.is_hwaccel:
            self._container.close()
            codec = self._decoder.name
            raise InputError(f"the GPU decodes no {codec}, as of {str(path)!r}; try --decoder cpu")
        self._zero = Fraction(self._container.start_time or 0, 1_000_000) + _seconds(start)
        self._end = None if duration is None else self._zero + _seconds(duration)
        self._is_trimmed = start is not None
        begin = self._zero if self._is_trimmed else None
        self.damage = Damage(source=str(path), max_pixels=max_pixels, strict=strict)
        self._demuxer = Demuxer(self._container, self._stream, begin, self._end, self.damage)
        if begin is not None and is_seekable(self._path):  # in a pipe, read on until it comes
            self._demuxer.seek_begin()
        rate = self._stream.guessed_rate
        self._time_base = Fraction(self._stream.time_base or Fraction(1, 90_000))
        self._deinterlacer = Deinterlacer(deinterlace, self._time_base) if deinterlace else None
        self._picture_time_base = self._deinterlacer.time_base if self._deinterlacer else self._time_base
        self._pictures_each = 2 if deinterlace == "field" else 1
        self._pictures: deque[VideoFrame] = deque()
        self._clock = FrameClock(self._time_base, Fraction(rate) if rate else None)
        self._decoded: deque[VideoFrame] = deque()
        self._waiting = PacketQueue()
        # A gap in the video is looked into once; `_begun` says that the first picture was found.
        self._exhausted = self._closed = self._begun = self._gap_seen = False
        self._keyless = 0
        self._lock = threading.Lock()
        self.keeps = False
        self._first_decoded: VideoFrame | None = None
        self._ahead = self._next()
        self._begun = True
        if not isinstance(self._ahead, Frame):
            self.close()
            problem = self.damage.message or "no frame in the part asked for"
            hint = "" if is_seekable(self._path) else "; mp4 from a pipe needs its index in front (faststart)"
            raise InputError(f"cannot decode the video of {str(path)!r}: {problem}{hint}")
        if not self._is_trimmed:  # FFmpeg leaves a video out of it that ends before the sound begins
            self._zero = min(self._zero, self._ahead.pts * self._picture_time_base)
        self.obstacle = self._obstacle()
        self.source: SourceInfo = self._describe(self._ahead.carrier)

    @property
    def info(self) -> VideoInfo:
        """Size, rate and length of the part asked for."""
        return self.source.info

    def keep_on_device(self) -> None:
        """Leave frames in the GPU's memory, from the first on; where there is no obstacle, before iteration.

        Those that come in another format later are brought to the host.
        """
        assert not self.obstacle, self.obstacle
        self.keeps = True
        assert isinstance(self._ahead, Frame)
        assert self._first_decoded is not None
        self._ahead = self._framed(self._first_decoded, self._ahead.carrier.packets)

    def __iter__(self) -> Iterator[Frame | DeviceFrame | Interlude]:
        """Yield each frame once, its planes being views on the carried frame, or its memory on the GPU.

        The carrier of an interlude is a tuple of packets.
        """
        frame, self._ahead, self._first_decoded = self._ahead, None, None
        while frame is not None:
            yield frame
            frame = self._next()

    def remaining_packets(self) -> Iterator[AnyPacket]:
        """Yield the packets of the other streams that belong after the last frame."""
        yield from self._waiting.take()
        while (packet := self._following()) is not None:
            yield packet

    def close(self) -> None:
        """Release the file; may be called twice, and from another thread while this one reads."""
        self._closed = True
        # A thread that is reading closes the file itself, as soon as its read returns.
        if self._lock.acquire(blocking=False):
            try:
                self._container.close()
            finally:
                self._lock.release()

    def _describe(self, first: Carried) -> SourceInfo:
        return SourceInfo(
            path=self._path,
            info=self._measure(first.frame),
            picture=PictureInfo.of(first.frame),
            device=self._device,
            fits_device=not self.obstacle,
            strict=self.damage.strict,
            time_base=self._picture_time_base,
            zero=self._zero,
            end=self._end,
            is_trimmed=self._is_trimmed,
            streams=tuple(self._container.streams),
            video=self._stream,
            covers={p.stream_index: bytes(p) for p in reversed(first.packets) if is_cover(p.stream)},
            tags=dict(self._container.metadata),
            chapters=tuple(self._container.chapters()),
        )

    def _measure(self, frame: VideoFrame) -> VideoInfo:
        rate = self._stream.average_rate
        rate = Fraction(rate) * self._pictures_each if rate else None
        start = Fraction(self._container.start_time or 0, 1_000_000)
        ends = [self._end]
        if self._container.duration is not None:
            # Matroska counts its length from zero.
            origin = 0 if self._container.format.name.startswith("matroska") else start
            ends.append(origin + Fraction(self._container.duration, 1_000_000))
        seconds = min((end - self._zero for end in ends if end is not None), default=None)
        count = None if seconds is None or rate is None else max(1, round(seconds * rate))
        if self._stream.frames and self._zero == start and self._end is None:
            count = self._stream.frames * self._pictures_each
        return VideoInfo(
            height=frame.height,
            width=frame.width,
            pix_fmt=(self._device == "cpu" and self._decoder.pix_fmt) or frame.format.name,
            frame_rate=rate,
            duration_seconds=None if seconds is None else max(0.0, float(seconds)),
            frame_count=count,
        )

    def _obstacle(self) -> str:
        if self._device == "cpu":
            return "the processor decodes"
        if self._deinterlacer:
            return "fields are made pictures by the processor"
        assert self._first_decoded is not None
        if device_planes(self._first_decoded) is None:
            form = self._first_decoded.sw_format or self._first_decoded.format
            return f"{form.name} of {form.width}x{form.height} is no NV12 of even size"
        return ""

    def _next(self) -> Frame | DeviceFrame | Interlude | None:
        with self._lock:
            frame = self._read()
        if self._closed:
            self.close()
        return frame

    def _following(self) -> AnyPacket | None:
        """The next packet to carry, once the video is over."""
        with self._lock:
            while not self._closed and (packet := self._demuxer.read()) is not None:
                if packet.stream_index != self._stream.index and self._demuxer.carries(packet, self._zero):
                    return packet
        return None

    def _read(self) -> Frame | DeviceFrame | Interlude | None:
        while not self._closed:
            if self._pictures:
                return self._frame(self._pictures.popleft())
            if not self._decoded:
                if self._exhausted:
                    self._pictures.extend(self._deinterlacer.flush() if self._deinterlacer else ())
                    if self._pictures:
                        continue
                    return None
                if self._begun and self._waiting.is_full and not self._ends_here():
                    return Interlude(self._waiting.take())
                self._read_packet()
                continue
            decoded = self._decoded.popleft()
            pts = self._clock.stamp(decoded.pts, decoded.duration)
            if self._demuxer.wants(pts * self._time_base):
                if decoded.is_corrupt:
                    self.damage.add(FRAMES, f"the frame at {float(pts * self._time_base):.3f} s")
                if self._misses_its_key(decoded):
                    continue
                if decoded.pts is not None and decoded.pts + 1 < pts:  # one tick apart are times too coarse
                    self.damage.add(TIMES, f"the frame after {float(pts * self._time_base):.3f} s")
                decoded.pts, decoded.time_base = pts, self._time_base
                self._first_decoded = self._first_decoded or decoded
                picture = decoded if self.keeps and device_planes(decoded) else planar(downloaded(decoded))
                picture.pts, picture.time_base = pts, self._time_base
                self._pictures.extend(self._deinterlacer.push(picture) if self._deinterlacer else (picture,))
        return None

    def _misses_its_key(self, frame: VideoFrame) -> bool:
        """True for what a recording that begins amidst pictures shows until its first key frame."""
        self._keyless = self._keyless - 1 if frame.is_corrupt else 0
        return self._keyless > 0

    def _frame(self, picture: VideoFrame) -> Frame | DeviceFrame:
        assert picture.pts is not None
        seconds = picture.pts * self._picture_time_base
        return self._framed(picture, self._waiting.take(seconds + INTERLEAVE_SECONDS))

    def _framed(self, picture: VideoFrame, packets: tuple[AnyPacket, ...]) -> Frame | DeviceFrame:
        assert picture.pts is not None
        times, colour = (picture.pts, self._picture_time_base), colour_of(picture)
        carried = Carried(picture, packets)
        if there := device_planes(picture):
            return DeviceFrame(there, *times, colour, carried)
        return Frame(planes_of(picture), *times, colour, carried)

    def _ends_here(self) -> bool:
        """End the video where all that follows is sound; False in a gap."""
        if self._gap_seen or not self._demuxer.video_is_over(self._path):
            self._gap_seen = True
            return False
        self._decode(None)
        return True

    def _read_packet(self) -> None:
        packet = self._demuxer.read()
        if packet is None or packet.stream_index == self._stream.index:
            if packet is not None and not packet.is_keyframe and self._demuxer.video_packets == 1:
                self._keyless = _KEYLESS_FRAMES
            self._decode(packet)
        elif self._demuxer.carries(packet, self._zero):
            self._waiting.add(packet)

    def _decode(self, packet: AnyPacket | None) -> None:
        self._exhausted = packet is None
        self._gap_seen = False
        if packet is None:
            self._count_missing()
        with self.damage.watch(PACKETS):
            self._decoded.extend(self._decoder.decode(packet))

    def _count_missing(self) -> None:
        missing = self._stream.frames - self._demuxer.video_packets
        if missing > 0 and not self._is_trimmed and self._end is None:
            self.damage.add(MISSING, f"the container promises {self._stream.frames} frames", missing)


def _seconds(value: float | None) -> Fraction:
    """Microseconds are what people mean: 0.1 is 1/10, not the nearest binary fraction."""
    return Fraction(round((value or 0) * 1_000_000), 1_000_000)


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
