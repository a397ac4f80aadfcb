"""Clocks of transport streams that restart: after a splice, a restart of the sender, a lost hour."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

# As FFmpeg's dts_delta_threshold: a clock that moves further was spliced or restarted.
JUMP_SECONDS = 10
# As FFmpeg's fftools/ffmpeg_demux.c: nor does the clock of one stream go back further.
_TOLERANCE_SECONDS = Fraction(1, 10)


@dataclass(slots=True)
class _Stream:
    """Where a stream should go on: after its last packet, and after the one before that."""

    offset: Fraction
    expected: Fraction
    previous: Fraction


class Splicer:
    """Closes the gaps that a restarted clock leaves in a transport stream, for all its streams alike.

    Around the restart, packets of the old clock and the new one are interleaved: an offset found once is used
    again, or each change would move sound against picture.
    """

    def __init__(self) -> None:
        self._offsets = [Fraction(0)]
        self._streams: dict[int, _Stream] = {}
        self._last: Fraction | None = None

    def offset(self, time: Fraction, duration: Fraction, index: int = 0) -> Fraction:
        """What to add to the times of a packet, in seconds.

        Args:
            time: decoding time of the packet, in seconds.
            duration: how long the packet lasts, in seconds.
            index: of its stream.
        """
        stream = self._streams.get(index)
        offset = self._found(time, stream)
        if offset is None:
            last = time if self._last is None else self._last + duration
            offset = (last if stream is None else stream.expected) - time
            self._offsets.append(offset)
        self._last = time + offset
        previous = self._last if stream is None else stream.expected
        self._streams[index] = _Stream(offset, self._last + duration, previous)
        return offset

    def _found(self, time: Fraction, stream: _Stream | None) -> Fraction | None:
        """The known offset that lets a stream go on best; None if its clock was restarted."""
        last = time if self._last is None else self._last
        near = [o for o in reversed(self._offsets) if abs(time + o - last) <= JUMP_SECONDS]
        if stream is None:
            return near[0] if near else None
        # Sound and pictures go on where they were; after a pause, streams stay near each other.
        closest = min(near, key=lambda o: abs(time + o - stream.expected), default=None)
        if closest is not None and abs(time + closest - stream.expected) <= _TOLERANCE_SECONDS:
            return closest
        near.sort(key=lambda o: abs(time + o - last))
        # If the packet goes back only from the last one, the last one's time was damaged.
        for expected in (stream.expected, stream.previous):
            for offset in near:
                if time + offset >= expected - _TOLERANCE_SECONDS:
                    return offset
        return None
