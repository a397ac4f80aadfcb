"""Repair of clock restarts in transport streams: after a splice, a sender restart or an outage."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

# Same as FFmpeg's dts_delta_threshold: a larger jump means that the clock was spliced or restarted.
JUMP_SECONDS = 10
# Same as FFmpeg's fftools/ffmpeg_demux.c: nor does the clock of a single stream step back further.
_TOLERANCE_SECONDS = Fraction(1, 10)


@dataclass(slots=True)
class _Stream:
    """Expected next time of a stream: after its last packet, and after the one before it."""

    offset: Fraction
    expected: Fraction
    previous: Fraction


class Splicer:
    """Closes the gaps that a restarted clock leaves in a transport stream, by one offset for all streams.

    Around the restart, packets of the old and the new clock are interleaved, so a known offset is reused: a
    new one at each change would desynchronise audio and video.
    """

    def __init__(self) -> None:
        self._offsets = [Fraction(0)]
        self._streams: dict[int, _Stream] = {}
        self._last: Fraction | None = None

    def offset(self, time: Fraction, duration: Fraction, index: int = 0) -> Fraction:
        """Return the offset to add to the timestamps of a packet, in seconds.

        Args:
            time: decoding time of the packet, in seconds.
            duration: how long the packet lasts, in seconds.
            index: index of its stream.
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
        """The known offset that continues a stream best; None if its clock was restarted."""
        last = time if self._last is None else self._last
        near = [o for o in reversed(self._offsets) if abs(time + o - last) <= JUMP_SECONDS]
        if stream is None:
            return near[0] if near else None
        # Audio and video resume where they stopped; after a pause, streams stay close to each other.
        closest = min(near, key=lambda o: abs(time + o - stream.expected), default=None)
        if closest is not None and abs(time + closest - stream.expected) <= _TOLERANCE_SECONDS:
            return closest
        near.sort(key=lambda o: abs(time + o - last))
        # If the packet steps back only from the last one, the last one's timestamp was damaged.
        for expected in (stream.expected, stream.previous):
            for offset in near:
                if time + offset >= expected - _TOLERANCE_SECONDS:
                    return offset
        return None
