"""Demuxer: packets of a container in file order, robust to damage, splices and seeks."""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError
from av.format import Flags
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from rtdeblur.ffmpeg.container import is_seekable, open_input
from rtdeblur.ffmpeg.damage import MARKED, READS, Damage
from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.ffmpeg.splices import JUMP_SECONDS, Splicer

# After this many consecutive failed reads, give up.
_READ_ATTEMPTS = 16
# Containers interleave their streams to within about a second.
INTERLEAVE_SECONDS = 1
# Subtitles rarely last longer, so look this far back from the start of a part.
_SUBTITLE_SECONDS = 10
# Packets that are decoded but not played prime the audio decoder. One is enough, except for Opus (RFC 7845,
# section 4.6: 80 ms); more would be audible in a container that cannot hide them.
_PRIMING_SECONDS = {"opus": Fraction(8, 100)}


class Demuxer:
    """Reads the packets of a container, or of a part of it.

    Args:
        container: the open input.
        stream: the video that decides where reading starts and stops.
        begin: start of the part, in seconds of the input's clock; None for the start of the file.
        end: end of the part; None for the end of the file.
        damage: counter of what cannot be read.

    Attributes:
        video_packets: number of packets of the video read so far.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        begin: Fraction | None,
        end: Fraction | None,
        damage: Damage,
    ) -> None:
        self.video_packets = 0
        self._damage = damage
        self._container = container
        self._stream = stream
        self._time_base = Fraction(stream.time_base or 1)
        self._begin, self._end = begin, end
        self._splicer = Splicer() if Flags.ts_discont in Flags(container.format.flags) else None
        self._ended = False
        self._failed_reads = 0
        self._latest: int | None = None
        self._skip_before: int | None = None
        self._packets = container.demux()

    def read(self) -> AnyPacket | None:
        """Return the next packet with data; None at the end and from then on."""
        packet = None if self._ended else self._read()
        self._ended = packet is None
        return packet

    def _read(self) -> AnyPacket | None:
        while self._failed_reads < _READ_ATTEMPTS:
            failed = True
            with self._damage.watch(READS):
                packet = next(self._packets, None)
                failed = False
            if failed:
                self._failed_reads += 1
                self._packets = self._container.demux()
                continue
            if packet is None:
                return None
            self._failed_reads = 0
            if self._is_skipped(packet):
                continue
            if not packet.size:  # PyAV marks the end with empty packets; FLAC in NUT has one in the middle
                continue
            self.video_packets += packet.stream.index == self._stream.index
            if packet.is_corrupt:
                self._damage.add(MARKED, f"a packet of stream #{packet.stream.index} is damaged")
            if self._splicer is not None:
                self._splice(packet, self._splicer)
            if packet.stream_index == self._stream.index:
                times = (self._latest, _shown(packet))
                self._latest = max((time for time in times if time is not None), default=None)
            return None if self._is_past(packet) else packet
        return None

    def video_is_over(self, path: Path) -> bool:
        """Look ahead in the file; return True if there are no more packets of the video.

        Args:
            path: the file that the container reads.
        """
        # A pipe cannot be read twice, and the clock of a transport stream may restart.
        latest = self._latest
        if latest is None or self._splicer is not None or not is_seekable(path):
            return False
        with closing(open_input(path)) as ahead:
            for stream in ahead.streams:
                if stream.index != self._stream.index:
                    stream.discard = Discard.all
            try:
                ahead.seek(round(latest * self._time_base * 1_000_000))
                rest = (_shown(p) for p in ahead.demux(ahead.streams[self._stream.index]) if p.size)
                return all(time is not None and time <= latest for time in rest)
            except FFmpegError:
                return False

    def wants(self, time: Fraction) -> bool:
        """Whether a time, in seconds, is in the requested part."""
        # Half a tick of tolerance, because people type times that a program has rounded.
        early = self._begin is not None and time < self._begin - self._time_base / 2
        return not early and (self._end is None or time < self._end)

    def carries(self, packet: AnyPacket, zero: Fraction) -> bool:
        """Whether a packet of another stream belongs in the output.

        Args:
            packet: the packet.
            zero: time in the input, in seconds, that becomes zero in the output.
        """
        if packet.pts is None or packet.stream.disposition & Disposition.attached_pic:
            return True
        time = packet.pts * Fraction(packet.time_base)
        if packet.is_discard:
            length = (packet.duration or 0) * Fraction(packet.time_base)
            context = packet.stream.codec_context
            codec = "" if context is None else context.codec.canonical_name
            # The first audible packet may also start before zero.
            return zero - max(2 * length, _PRIMING_SECONDS.get(codec, length)) < time < zero
        if packet.stream.type == "subtitle":
            return self._cut(packet)
        return self.wants(time)

    def _cut(self, packet: AnyPacket) -> bool:
        """Trim a subtitle to the requested part; return False if nothing is left."""
        unit = Fraction(packet.time_base)
        shown, length = packet.pts or 0, packet.duration or 0
        begin = shown if self._begin is None else max(shown, round(self._begin / unit))
        end = shown + length if self._end is None else min(shown + length, round(self._end / unit))
        if not length or begin >= end:
            return self.wants(shown * unit)
        packet.pts = packet.dts = begin
        packet.duration = end - begin
        return True

    def _is_skipped(self, packet: AnyPacket) -> bool:
        """True for video before the key frame where decoding starts, read only for its subtitles."""
        if self._skip_before is None or packet.stream_index != self._stream.index or not packet.size:
            return False
        if packet.is_keyframe and packet.pts == self._skip_before:
            self._skip_before = None
        return self._skip_before is not None

    def _is_past(self, packet: AnyPacket) -> bool:
        if self._end is None or packet.dts is None or packet.stream.index != self._stream.index:
            return False
        return packet.dts * self._time_base >= self._end + INTERLEAVE_SECONDS

    def _splice(self, packet: AnyPacket, splicer: Splicer) -> None:
        clock = packet.dts if packet.dts is not None else packet.pts
        if clock is None:
            return
        unit = Fraction(packet.time_base)
        if packet.pts is not None and abs(packet.pts - clock) * unit > JUMP_SECONDS:
            packet.pts = None  # bit errors: no picture waits that long between decoding and presentation
        shift = round(splicer.offset(clock * unit, (packet.duration or 0) * unit, packet.stream_index) / unit)
        if shift:
            packet.dts = None if packet.dts is None else packet.dts + shift
            packet.pts = None if packet.pts is None else packet.pts + shift

    def seek_begin(self) -> None:
        """Seek to where decoding must start for the first frame of the part.

        Seeking without an index may land between key frames: go back until one comes early enough.
        """
        start = Fraction(self._container.start_time or 0, 1_000_000)
        begin = start if self._begin is None else self._begin
        back = Fraction(1)
        while begin - back > start:
            if not self._seek(begin - back):
                return  # not seekable: read from the start
            landed = self._key_frame_pts()
            self._seek(begin - back)
            if landed is not None and landed * self._time_base <= begin:
                if self._container.streams.subtitles and self._seek(begin - back - _SUBTITLE_SECONDS):
                    self._skip_before = landed
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

    def _key_frame_pts(self) -> int | None:
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_keyframe and packet.pts is not None:
                    return packet.pts
        except FFmpegError:
            pass
        return None


def _shown(packet: AnyPacket) -> int | None:
    return packet.pts if packet.pts is not None else packet.dts
