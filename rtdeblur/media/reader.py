"""Reader of video files: decodes the main video and passes everything else to the writer.

opening    decodes the first frame, since containers do not state everything that a writer needs
opened     `FileReader.source` is known; `keep_on_device` may still be called
reading    each step of the iterator reads packets until a frame is complete
exhausted  the video has ended; `remaining_packets` yields the rest of the other streams
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Self

from av.video.frame import VideoFrame

from rtdeblur.device import DeviceFrame
from rtdeblur.errors import InputError, UsageError
from rtdeblur.ffmpeg.container import (
    MAX_PIXELS,
    Device,
    described,
    frame_rate,
    is_seekable,
    open_video,
    refused_by_gpu,
)
from rtdeblur.ffmpeg.damage import EARLY, Damage
from rtdeblur.ffmpeg.formats import traits_of
from rtdeblur.ffmpeg.packets import AnyPacket, PacketQueue
from rtdeblur.ffmpeg.pixels import colour_of, device_planes, downloaded, planar, planes_of
from rtdeblur.ffmpeg.stated_size import missing_bytes
from rtdeblur.frames import Frame, Interlude, VideoInfo
from rtdeblur.media.decoder import Decoder, drained
from rtdeblur.media.deinterlace import Deinterlacer, Deinterlacing
from rtdeblur.media.demux import INTERLEAVE_SECONDS, Demuxer
from rtdeblur.media.source import PictureInfo, SourceInfo, is_cover


@dataclass(frozen=True, slots=True)
class Carried:
    """Carrier of a frame, for the writer.

    Attributes:
        frame: the decoded frame, with its side data and flags.
        packets: packets of all other streams that precede it.
    """

    frame: VideoFrame
    packets: tuple[AnyPacket, ...]


@dataclass(frozen=True, slots=True)
class _Opened:
    """State between opening and reading.

    Attributes:
        decoded: the first frame from the decoder, possibly in GPU memory.
        frame: the same frame in host memory.
    """

    decoded: VideoFrame
    frame: Frame


class FileReader:
    """The frames of a video file (a `FrameSource`).

    The first frame is decoded on opening, since containers do not state everything that a writer needs.

    Args:
        path: the file, or '-' for standard input.
        start: seconds from the start of the file to the first frame wanted.
        duration: seconds to read from there.
        max_pixels: the largest picture accepted, in pixels; checked before memory is allocated.
        strict: raise on the first damage, instead of counting it and continuing.
        deinterlace: one picture per frame or per field; None does not deinterlace.
        device: decoder: cpu, or cuda (NVDEC), whose frames are downloaded unless `keep_on_device` is
            called.

    Attributes:
        source: facts for a writer, known before the first frame.
        damage: what could not be read so far.
        keeps: whether frames stay in GPU memory.

    Raises:
        InputError: the file is missing, has no decodable video, or its pictures are too large.
        UsageError: `start` or `duration` is invalid.
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
        _check(start, duration)
        self._path = Path(path)
        self.damage = Damage(source=str(path), max_pixels=max_pixels, strict=strict)
        self._container, self._stream, context = open_video(self._path, max_pixels, device)
        if device == "cuda" and not context.is_hwaccel:
            self._container.close()
            raise refused_by_gpu(context, str(path))
        self._zero = Fraction(self._container.start_time or 0, 1_000_000) + _seconds(start)
        begin = None if start is None else self._zero
        end = None if duration is None else self._zero + _seconds(duration)
        self._demuxer = Demuxer(self._container, self._stream, begin, end, self.damage)
        if begin is not None and is_seekable(self._path):  # from a pipe, read until the part starts
            self._demuxer.seek_begin()
        self._missing = missing_bytes(self._path) if begin is end is None else 0
        promised = self._promised() if begin is end is None else 0
        self._decoder = Decoder(context, self._stream, self._demuxer, self.damage, promised)
        self._deinterlacer = Deinterlacer(deinterlace, self._decoder.time_base) if deinterlace else None
        self._time_base = (self._deinterlacer or self._decoder).time_base
        self._waiting = PacketQueue()
        self._lock, self._closed, self.keeps = threading.Lock(), False, False
        try:
            opened = self._open()
        except BaseException:
            self.close()
            raise
        if begin is None:  # FFmpeg's start_time ignores a video that ends before the audio starts
            first = opened.frame.pts * self._time_base
            self._zero = first if self._container.start_time is None else min(self._zero, first)
        self.source = self._describe(opened, device, begin is not None, end)
        self._opened: _Opened | None = opened

    @property
    def info(self) -> VideoInfo:
        """Size, rate and length of the requested part."""
        return self.source.info

    def keep_on_device(self) -> None:
        """Keep frames in GPU memory; call before iteration, if `source.fits_device`.

        Later frames in another format are downloaded.
        """
        assert self.source.fits_device
        assert self._opened is not None, "reading has started"
        self.keeps = True

    def __iter__(self) -> Iterator[Frame | DeviceFrame | Interlude]:
        """Yield each frame once; its planes are views of the carried frame, or its GPU memory.

        The carrier of an interlude is a tuple of packets.
        """
        opened, self._opened = self._opened, None
        if opened is None:
            return
        first: Frame | DeviceFrame = opened.frame
        if self.keeps:
            first = self._framed(opened.decoded, opened.frame.carrier.packets)
        del opened  # else this iterator would keep the frame alive
        yield first
        del first
        rest: Iterator[Frame | DeviceFrame | Interlude] = iter(self._next, None)
        yield from rest

    def remaining_packets(self) -> Iterator[AnyPacket]:
        """Yield the packets of the other streams after the last frame."""
        yield from self._waiting.take()
        while (packet := self._following()) is not None:
            yield packet

    def close(self) -> None:
        """Release the file; may be called twice, and from another thread while this one reads."""
        self._closed = True
        # A reading thread closes the file itself as soon as its read returns.
        if self._lock.acquire(blocking=False):
            try:
                self._container.close()
            finally:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _promised(self) -> int:
        """Return the number of frames according to the container; 0 if unknown."""
        frames, indexed = self._stream.frames, len(self._stream.index_entries)
        # The index excludes frames hidden by an mp4 edit list and empty frames of an AVI; for a truncated
        # AVI, FFmpeg builds it from what is left.
        return frames if self._missing else min(frames, indexed or frames)

    def _open(self) -> _Opened:
        """Decode the first frame; packets of other streams wait for it, however many."""
        items = self._decoded()
        decoded, early = _first(items)
        again = drained(deque(() if decoded is None else (decoded,)))
        self._items = self._frames(chain(again, items))
        frame, more = _first(self._items)
        if decoded is None or frame is None:
            length = self._container.duration  # in microseconds
            name = described(self._path)
            if not self.damage.message:
                raise InputError(f"{name} has {no_frame(length and length / 1e6)}")
            of_pipes = "mp4 from a pipe needs its index at the front (-movflags +faststart)"
            hint = "" if is_seekable(self._path) else of_pipes
            raise InputError(f"cannot decode {name}: {self.damage.message}", hint)
        carried = Carried(frame.carrier.frame, (*early, *more, *frame.carrier.packets))
        return _Opened(decoded, replace(frame, carrier=carried))

    def _describe(
        self, opened: _Opened, device: Device, is_trimmed: bool, end: Fraction | None
    ) -> SourceInfo:
        frame, packets = opened.frame.carrier.frame, opened.frame.carrier.packets
        return SourceInfo(
            path=self._path,
            info=self._measure(frame, end),
            picture=PictureInfo.of(frame),
            device=device,
            surface=(opened.decoded.sw_format or opened.decoded.format).name,
            is_deinterlaced=self._deinterlacer is not None,
            strict=self.damage.strict,
            time_base=self._time_base,
            zero=self._zero,
            end=end,
            is_trimmed=is_trimmed,
            streams=tuple(self._container.streams),
            video=self._stream,
            covers={p.stream_index: bytes(p) for p in reversed(packets) if is_cover(p.stream)},
            tags=dict(self._container.metadata),
            chapters=tuple(self._container.chapters()),
        )

    def _measure(self, frame: VideoFrame, end: Fraction | None) -> VideoInfo:
        pictures_each = 1 if self._deinterlacer is None else self._deinterlacer.pictures_each
        rate = frame_rate(self._stream)
        rate = rate * pictures_each if rate else None
        start = Fraction(self._container.start_time or 0, 1_000_000)
        ends = [end]
        if self._container.duration is not None:
            origin = 0 if traits_of(self._container.format.name).counts_from_zero else start
            ends.append(origin + Fraction(self._container.duration, 1_000_000))
        seconds = min((end - self._zero for end in ends if end is not None), default=None)
        count = None if seconds is None or rate is None else max(1, round(seconds * rate))
        if self._stream.frames and self._zero == start and end is None:
            count = self._stream.frames * pictures_each
        return VideoInfo(
            height=frame.height,
            width=frame.width,
            pix_fmt=self._decoder.pix_fmt or frame.format.name,
            frame_rate=rate,
            duration_seconds=None if seconds is None else max(0.0, float(seconds)),
            frame_count=count,
        )

    def _next(self) -> Frame | DeviceFrame | Interlude | None:
        with self._lock:
            item = None if self._closed else next(self._items, None)
        if self._closed:
            self.close()
        return item

    def _following(self) -> AnyPacket | None:
        """Return the next packet of the other streams, after the end of the video."""
        with self._lock:
            while not self._closed and (packet := self._demuxer.read()) is not None:
                if packet.stream_index != self._stream.index and self._demuxer.carries(packet, self._zero):
                    return packet
        return None

    def _decoded(self) -> Iterator[VideoFrame | Interlude]:
        """Yield decoded frames, and interludes if other streams continue for long without one."""
        in_gap = False  # looked ahead once per gap
        while not self._closed and (packet := self._demuxer.read()) is not None:
            if packet.stream_index == self._stream.index:
                in_gap = False
                yield from self._decoder.decode(packet)
                continue
            if self._demuxer.carries(packet, self._zero):
                self._waiting.add(packet)
            if self._waiting.is_full:
                if not in_gap and self._demuxer.video_is_over(self._path):
                    break
                in_gap = True
                yield Interlude(self._waiting.take())
        if not self._closed:
            yield from self._decoder.flush()
            if self._missing and EARLY not in self.damage.kinds:
                self.damage.add(EARLY, f"{self._missing} bytes fewer than the header states")

    def _frames(self, items: Iterable[VideoFrame | Interlude]) -> Iterator[Frame | DeviceFrame | Interlude]:
        """Yield the frames to restore, each with the packets that precede it."""
        for item in items:
            if isinstance(item, Interlude):
                yield item
                continue
            pictures = deque(self._pictures(item))
            del item
            yield from map(self._frame, drained(pictures))
        if self._deinterlacer:
            yield from map(self._frame, drained(deque(self._deinterlacer.flush())))

    def _pictures(self, decoded: VideoFrame) -> list[VideoFrame]:
        if self.keeps and device_planes(decoded):
            return [decoded]
        picture = planar(downloaded(decoded))
        picture.pts, picture.time_base = decoded.pts, decoded.time_base
        return self._deinterlacer.push(picture) if self._deinterlacer else [picture]

    def _frame(self, picture: VideoFrame) -> Frame | DeviceFrame:
        assert picture.pts is not None
        seconds = picture.pts * self._time_base
        return self._framed(picture, self._waiting.take(seconds + INTERLEAVE_SECONDS))

    def _framed(self, picture: VideoFrame, packets: tuple[AnyPacket, ...]) -> Frame | DeviceFrame:
        assert picture.pts is not None
        times, colour = (picture.pts, self._time_base), colour_of(picture)
        carried = Carried(picture, packets)
        if there := device_planes(picture):
            return DeviceFrame(there, *times, colour, carried)
        return Frame(planes_of(picture), *times, colour, carried)


def no_frame(seconds: float | None) -> str:
    """Return the problem of a part without frames; `seconds` is the length of the whole, if known."""
    lasts = f"; it lasts {seconds:.1f} s" if seconds else ""
    return f"no frame in the requested part{lasts}"


def _first(items: Iterator[Any]) -> tuple[Any, list[AnyPacket]]:
    """Return the first item that is not an interlude (None if missing) and the packets of those before it."""
    packets: list[AnyPacket] = []
    for item in items:
        if not isinstance(item, Interlude):
            return item, packets
        packets += item.carrier
    return None, packets


def _check(start: float | None, duration: float | None) -> None:
    if start is not None and not 0 <= start < math.inf:
        raise UsageError(f"start is {start}, expected 0 seconds or more")
    if duration is not None and not 0 < duration < math.inf:
        raise UsageError(f"duration is {duration}, expected more than 0 seconds")


def _seconds(value: float | None) -> Fraction:
    """Round to microseconds, so that 0.1 is 1/10 and not the nearest binary fraction."""
    return Fraction(round((value or 0) * 1_000_000), 1_000_000)
