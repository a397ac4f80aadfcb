"""Presentation times that are always there and always increase, from sources where they are not."""

from __future__ import annotations

from fractions import Fraction

# As FFmpeg's dts_delta_threshold: a transport stream whose clock moves further was spliced or restarted.
JUMP_SECONDS = 10


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


class Splicer:
    """Closes the gaps that a restarted clock leaves in a transport stream, for all its streams alike.

    Around the restart, packets of the old clock and the new one are interleaved: an offset found once
    is used again, or each change would move sound against picture.
    """

    def __init__(self) -> None:
        self._offsets = [Fraction(0)]
        self._last: Fraction | None = None

    def offset(self, time: Fraction, duration: Fraction) -> Fraction:
        """What to add to the times of a packet, in seconds.

        Args:
            time: decoding time of the packet, in seconds.
            duration: how long the packet lasts, in seconds.
        """
        last = time if self._last is None else self._last
        offset = next((o for o in reversed(self._offsets) if abs(time + o - last) <= JUMP_SECONDS), None)
        if offset is None:
            offset = last + duration - time
            self._offsets.append(offset)
        self._last = time + offset
        return offset
