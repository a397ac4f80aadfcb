"""Packets of a container, in file order, through damage, splices and seeks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from av.container import InputContainer
from av.error import FFmpegError
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from rtdeblur.media.clock import JUMP_SECONDS, Splicer
from rtdeblur.media.container import reason

AnyPacket: TypeAlias = "Packet[Any]"  # a string, because the class is generic in its stubs alone

# After so many failed reads in a row there is nothing more to come.
_READ_ATTEMPTS = 16
# Containers interleave their streams to within about a second.
_INTERLEAVE_SECONDS = 1
# Packets that a player decodes and does not play prime the decoder for the sound that follows; no
# codec needs more than this (Opus, the longest: 80 ms).
_PRIMING_SECONDS = Fraction(1, 10)


@dataclass(slots=True)
class Damage:
    """What could not be read.

    Attributes:
        count: how many packets or frames failed to be read or decoded.
        message: the first failure, mostly in FFmpeg's words.
    """

    count: int = 0
    message: str = ""

    def add(self, message: str) -> None:
        """Count one more failure."""
        self.count += 1
        self.message = self.message or message


class Demuxer:
    """Reads the packets of a part of a container.

    Args:
        container: the open input.
        stream: the video that decides where reading starts and stops.
        begin: where the part begins, in seconds of the input's clock; None for its beginning.
        end: where it ends; None for its end.

    Attributes:
        damage: what could not be read or (counted by the caller) decoded.
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, begin: Fraction | None, end: Fraction | None
    ) -> None:
        self.damage = Damage()
        self._container = container
        self._stream = stream
        self._time_base = Fraction(stream.time_base or 1)
        self._begin, self._end = begin, end
        self._splicer = Splicer() if Flags.ts_discont in Flags(container.format.flags) else None
        self._failed_reads = 0
        self._packets = container.demux()

    def read(self) -> AnyPacket | None:
        """The next packet with data, None at the end."""
        while True:
            try:
                packet = next(self._packets, None)
            except FFmpegError as error:
                self.damage.add(reason(error))
                self._failed_reads += 1
                if self._failed_reads == _READ_ATTEMPTS:
                    return None
                self._packets = self._container.demux()
                continue
            if packet is None or not packet.size:  # PyAV marks the end with an empty packet a stream
                return None
            self._failed_reads = 0
            if self._splicer is not None:
                self._splice(packet, self._splicer)
            return None if self._is_past(packet) else packet

    def wants(self, time: Fraction) -> bool:
        """True for a frame or packet of that time, in seconds, that lies in the part asked for."""
        # Half a tick, because people type times that some program rounded.
        early = self._begin is not None and time < self._begin - self._time_base / 2
        return not early and (self._end is None or time < self._end)

    def carries(self, packet: AnyPacket, zero: Fraction) -> bool:
        """True for a packet of another stream that the output should hold.

        Args:
            packet: the packet.
            zero: the time in the input, in seconds, that is zero in the output.
        """
        if packet.pts is None or packet.stream.disposition & Disposition.attached_pic:
            return True
        time = packet.pts * Fraction(packet.time_base)
        if packet.is_discard:
            return zero - _PRIMING_SECONDS <= time < zero
        return self.wants(time)

    def _is_past(self, packet: AnyPacket) -> bool:
        if self._end is None or packet.dts is None or packet.stream.index != self._stream.index:
            return False
        return packet.dts * self._time_base >= self._end + _INTERLEAVE_SECONDS

    def _splice(self, packet: AnyPacket, splicer: Splicer) -> None:
        clock = packet.dts if packet.dts is not None else packet.pts
        if clock is None:
            return
        unit = Fraction(packet.time_base)
        if packet.pts is not None and abs(packet.pts - clock) * unit > JUMP_SECONDS:
            packet.pts = None  # flipped bits: no picture waits so long between decoding and showing
        shift = round(splicer.offset(clock * unit, (packet.duration or 0) * unit) / unit)
        if shift:
            packet.dts = None if packet.dts is None else packet.dts + shift
            packet.pts = None if packet.pts is None else packet.pts + shift

    def seek_begin(self) -> None:
        """Go where decoding must start for the first frame of the part to be whole.

        Containers without an index land between key frames: go back until one comes early enough.
        """
        start = Fraction(self._container.start_time or 0, 1_000_000)
        begin = start if self._begin is None else self._begin
        back = Fraction(1)
        while begin - back > start:
            if not self._seek(begin - back):
                return  # not seekable: read on from the beginning
            landed = self._key_frame_time()
            self._seek(begin - back)
            if landed <= begin:
                return
            back *= 4
        if back > 1:
            self._seek(start - 1)

    def _seek(self, time: Fraction) -> bool:
        try:
            self._container.seek(round(time * 1_000_000))
        except FFmpegError:
            return False
        self._packets = self._container.demux()
        return True

    def _key_frame_time(self) -> float:
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_keyframe and packet.pts is not None:
                    return float(packet.pts * self._time_base)
        except FFmpegError:
            pass
        return math.inf
