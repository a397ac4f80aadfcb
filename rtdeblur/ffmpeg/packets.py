"""Queue of packets waiting for the frame they precede."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, TypeAlias

from av.packet import Packet

AnyPacket: TypeAlias = "Packet[Any]"  # a string, because the class is generic only in its stubs
# Limits of the queue: minutes of audio, until the video continues or has ended.
_QUEUE_PACKETS, _QUEUE_BYTES = 4096, 8 << 20
_WITH_START_CODES = {"mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc"}


def padded(packet: AnyPacket, size: int) -> AnyPacket:
    """Return a picture with zeros appended up to a size in bytes, as its codec allows between start codes.

    Args:
        packet: the picture.
        size: least size.
    """
    codec = packet.stream.codec_context.codec.canonical_name
    if packet.size >= size or codec not in _WITH_START_CODES:
        return packet
    longer: AnyPacket = Packet(bytes(packet).ljust(size, b"\0"))
    longer.stream, longer.time_base = packet.stream, packet.time_base
    longer.pts, longer.dts, longer.duration = packet.pts, packet.dts, packet.duration
    longer.is_keyframe = packet.is_keyframe
    return longer


class PacketQueue:
    """Packets of other streams, waiting for the frame they precede."""

    def __init__(self) -> None:
        self._packets: list[AnyPacket] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """True if no more should be held in memory."""
        return len(self._packets) >= _QUEUE_PACKETS or self._bytes >= _QUEUE_BYTES

    def add(self, packet: AnyPacket) -> None:
        """Add a packet."""
        self._packets.append(packet)
        self._bytes += packet.size

    def take(self, until: float | Fraction = math.inf) -> tuple[AnyPacket, ...]:
        """Remove and return the packets to be decoded by a time in seconds; each stream stays in order."""
        taken: list[AnyPacket] = []
        left: list[AnyPacket] = []
        later: set[int] = set()
        for packet in self._packets:
            index, dts = packet.stream_index, packet.dts
            if index in later or (dts is not None and dts * Fraction(packet.time_base) > until):
                later.add(index)
                left.append(packet)
            else:
                taken.append(packet)
        self._packets, self._bytes = left, sum(packet.size for packet in left)
        return tuple(taken)
