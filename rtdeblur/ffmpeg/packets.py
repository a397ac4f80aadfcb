"""Queue of packets waiting for the frame they precede."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, TypeAlias

from av.packet import Packet

AnyPacket: TypeAlias = "Packet[Any]"  # a string, because the class is generic only in its stubs
# Limits of the queue: minutes of audio, until the video continues or has ended.
_QUEUE_PACKETS, _QUEUE_BYTES = 4096, 8 << 20


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
