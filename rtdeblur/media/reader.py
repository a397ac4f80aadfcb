"""Reads a video file: demuxes it, decodes its main video, and carries everything else along.

opening    until the first frame is decoded, since containers do not say all that a writer must know
opened     `FileReader.source` is known; whether frames stay in the GPU's memory can still be chosen
reading    each step of the iterator reads packets until a frame is whole
exhausted  the video is over; `remaining_packets` yields what the other streams have left
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
from rtdeblur.errors import GpuDecodingError, InputError, UsageError
from rtdeblur.ffmpeg.container import (
    MAX_PIXELS,
    Device,
    frame_rate,
    is_cut_off,
    is_seekable,
    open_video,
)
from rtdeblur.ffmpeg.damage import Damage
from rtdeblur.ffmpeg.formats import traits_of
from rtdeblur.ffmpeg.packets import AnyPacket, PacketQueue
from rtdeblur.ffmpeg.pixels import colour_of, device_planes, downloaded, planar, planes_of
from rtdeblur.frames import Frame, Interlude, VideoInfo
from rtdeblur.media.decoder import Decoder, drained
from rtdeblur.media.deinterlace import Deinterlacer, Deinterlacing
from rtdeblur.media.demux import INTERLEAVE_SECONDS, Demuxer
from rtdeblur.media.source import PictureInfo, SourceInfo, is_cover


@dataclass(frozen=True, slots=True)
class Carried:
    """What travels with a frame to the writer.

    Attributes:
        frame: the decoded frame, with its side data and flags.
        packets: packets of all other streams that belong before it.
    """

    frame: VideoFrame
    packets: tuple[AnyPacket, ...]


@dataclass(frozen=True, slots=True)
class _Opened:
    """The phase between opening and reading.

    Attributes:
        decoded: the first frame as the decoder returned it, maybe in the GPU's memory.
        frame: the same in the host's memory.
    """

    decoded: VideoFrame
    frame: Frame


class FileReader:
    """The frames of a video file (a `FrameSource`).

    The first frame is decoded at once, since containers do not say all that a writer must know.

    Args:
        path: the file, or '-' for standard input.
        start: seconds from the beginning of the file to the first frame wanted.
        duration: seconds to read from there.
        max_pixels: the largest picture that is read; checked before memory is taken for one.
        strict: raise the first damage met, instead of counting it and continuing.
        deinterlace: make whole pictures of fields, one per frame or one per field; None leaves them.
        device: that decodes: cpu, or cuda: the GPU (NVDEC); its frames come to the host unless
            `keep_on_device` is called.

    Attributes:
        source: the facts that a writer needs, known before the first frame is asked for.
        damage: what could not be read so far.
        keeps: whether frames stay in the GPU's memory.

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
        _check(start, duration)
        self._path = Path(path)
        self.damage = Damage(source=str(path), max_pixels=max_pixels, strict=strict)
        self._container, self._stream, context = open_video(self._path, max_pixels, device)
        if device == "cuda" and not context.is_hwaccel:
            self._container.close()
            raise GpuDecodingError(f"the GPU decodes no {context.name}, as of {str(path)!r}")
        self._zero = Fraction(self._container.start_time or 0, 1_000_000) + _seconds(start)
        begin = None if start is None else self._zero
        end = None if duration is None else self._zero + _seconds(duration)
        self._demuxer = Demuxer(self._container, self._stream, begin, end, self.damage)
        if begin is not None and is_seekable(self._path):  # in a pipe, read on until it comes
            self._demuxer.seek_begin()
        promised = self._promised() if begin is end is None else 0
        self._decoder = Decoder(context, self._stream, self._demuxer, self.damage, promised)
        self._deinterlacer = Deinterlacer(deinterlace, self._decoder.time_base) if deinterlace else None
        self._time_base = (self._deinterlacer or self._decoder).time_base
        self._waiting = PacketQueue()
        self._lock, self._closed, self.keeps = threading.Lock(), False, False
        opened = self._open()
        if begin is None:  # FFmpeg leaves a video out of it that ends before the sound begins
            first = opened.frame.pts * self._time_base
            self._zero = first if self._container.start_time is None else min(self._zero, first)
        self.source = self._describe(opened, device, begin is not None, end)
        self._opened: _Opened | None = opened

    @property
    def info(self) -> VideoInfo:
        """Size, rate and length of the part asked for."""
        return self.source.info

    def keep_on_device(self) -> None:
        """Leave frames in the GPU's memory, from the first on; before iteration, of a source that fits.

        Those that come in another format later are brought to the host.
        """
        assert self.source.fits_device
        assert self._opened is not None, "reading has begun"
        self.keeps = True

    def __iter__(self) -> Iterator[Frame | DeviceFrame | Interlude]:
        """Yield each frame once, its planes being views on the carried frame, or its memory on the GPU.

        The carrier of an interlude is a tuple of packets.
        """
        opened, self._opened = self._opened, None
        if opened is None:
            return
        first: Frame | DeviceFrame = opened.frame
        if self.keeps:
            first = self._framed(opened.decoded, opened.frame.carrier.packets)
        del opened  # else the frame would be held as long as this iterator
        yield first
        del first
        rest: Iterator[Frame | DeviceFrame | Interlude] = iter(self._next, None)
        yield from rest

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _promised(self) -> int:
        """How many frames the container says there are, 0 if it does not."""
        frames, indexed = self._stream.frames, len(self._stream.index_entries)
        # The index leaves out what an edit list of mp4 hides, and the pictures that an AVI only counts; of
        # an AVI that is cut off, it is made of what is there.
        return frames if is_cut_off(self._path) else min(frames, indexed or frames)

    def _open(self) -> _Opened:
        """Read the first frame; packets of other streams wait for it, however many."""
        items = self._decoded()
        decoded, early = _first(items)
        again = drained(deque(() if decoded is None else (decoded,)))
        self._items = self._frames(chain(again, items))
        frame, more = _first(self._items)
        if decoded is None or frame is None:
            self.close()
            problem = self.damage.message or "no frame in the part asked for"
            hint = "" if is_seekable(self._path) else "; mp4 from a pipe needs its index in front (faststart)"
            raise InputError(f"cannot decode the video of {str(self._path)!r}: {problem}{hint}")
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
        """The next packet to carry, once the video is over."""
        with self._lock:
            while not self._closed and (packet := self._demuxer.read()) is not None:
                if packet.stream_index != self._stream.index and self._demuxer.carries(packet, self._zero):
                    return packet
        return None

    def _decoded(self) -> Iterator[VideoFrame | Interlude]:
        """The frames of the video as decoded, and interludes where sound lasts long without one."""
        in_gap = False  # which is looked into once
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

    def _frames(self, items: Iterable[VideoFrame | Interlude]) -> Iterator[Frame | DeviceFrame | Interlude]:
        """The pictures to restore, each with the packets that belong before it."""
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


def _first(items: Iterator[Any]) -> tuple[Any, list[AnyPacket]]:
    """The first item that is not an interlude, None if there is none, and the packets of those before."""
    packets: list[AnyPacket] = []
    for item in items:
        if not isinstance(item, Interlude):
            return item, packets
        packets += item.carrier
    return None, packets


def _check(start: float | None, duration: float | None) -> None:
    if start is not None and not 0 <= start < math.inf:
        raise UsageError(f"start is {start}, expected seconds from 0 on")
    if duration is not None and not 0 < duration < math.inf:
        raise UsageError(f"duration is {duration}, expected more than 0 seconds")


def _seconds(value: float | None) -> Fraction:
    """Microseconds are what people mean: 0.1 is 1/10, not the nearest binary fraction."""
    return Fraction(round((value or 0) * 1_000_000), 1_000_000)
