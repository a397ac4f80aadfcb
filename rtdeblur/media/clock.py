"""Clock of an output: timestamps that increase, whatever the container's unit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(slots=True)
class OutputClock:
    """Converts times in the source to timestamps in the output.

    Args:
        unit: seconds per unit of the timestamps.
        zero: time in the source, in seconds, that becomes zero in the output.
        relative: count from the first frame; its time is then stored elsewhere.

    Attributes:
        begin: time of the first frame in the output, in seconds; None before it.
        last: the last timestamp; None before the first.
    """

    unit: Fraction
    zero: Fraction
    relative: bool = False
    begin: Fraction | None = None
    last: int | None = None

    def stamp(self, seconds: Fraction) -> tuple[int, Fraction]:
        """Return the timestamp of the next frame, and by how many seconds it is late.

        Args:
            seconds: the frame's time in the source.
        """
        time = seconds - self.zero
        if self.begin is None:
            self.begin = time
        if self.relative:
            time -= self.begin
        pts = round(time / self.unit)
        if self.last is not None:
            pts = max(pts, self.last + 1)  # if the container's clock is coarser
        self.last = pts
        return pts, pts * self.unit - time
