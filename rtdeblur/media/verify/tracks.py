"""How a track of one file corresponds to a track of another: shared packets, and their timestamps."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from rtdeblur.media.verify.contents import Contents, StreamContents

# Stream offsets are rounded to the file's clock, 90 kHz in mp4 and transport streams.
_CLOCK = Fraction(1, 20_000)
_MAX_PRIMING = 4


def of(contents: Contents, kind: str) -> list[StreamContents]:
    """Return the tracks of a kind."""
    return [track for track in contents.tracks if track.kind == kind]


def twins(contents: Contents, track: StreamContents) -> list[StreamContents]:
    """Return the tracks that share packets with a track."""
    return [other for other in of(contents, track.kind) if shared(track, other)]


def plays(contents: Contents, track: StreamContents, number: int) -> list[StreamContents]:
    """Return the track of that number if it plays the same data, however it is cut into packets."""
    numbered = of(contents, track.kind)[number : number + 1]
    return [twin for twin in numbered if twin.whole.digest() == track.whole.digest()]


def shared(before: StreamContents, after: StreamContents) -> int:
    """Return the number of packets that two tracks share."""
    return sum((Counter(before.hashes) & Counter(after.hashes)).values())


def difference(before: StreamContents, after: StreamContents) -> str:
    """Describe how the packets of two tracks differ."""
    missing = sum((Counter(before.hashes) - Counter(after.hashes)).values())
    others = sum((Counter(after.hashes) - Counter(before.hashes)).values())
    return f"{missing} missing, {others} extra" if missing or others else "in a different order"


def start(before: StreamContents, after: StreamContents) -> int | None:
    """Return the input packet with which the output starts; None if they differ after it.

    An mp4 edit list hides packets that prime an audio decoder; other containers play or drop them.
    """
    if before.hashes == after.hashes:
        return 0
    first = hidden(before)
    played = [held for held, shown in zip(before.hashes, before.shown, strict=True) if shown]
    for index in range(first, max(-1, first - _MAX_PRIMING - 1), -1):
        lead = before.hashes[index:first]
        if after.hashes in (lead + played, before.hashes[index:]):
            return index
    return None


def hidden(track: StreamContents) -> int:
    """Return the number of packets before the first one that is played."""
    return track.shown.index(True) if True in track.shown else 0


def offset(before: StreamContents, after: StreamContents, start: int, shift: Fraction) -> Fraction:
    """Return the largest shift of a track relative to the pictures, in seconds."""
    pairs = zip(before.times[start:], after.times, strict=False)
    errors = [b - a - shift for a, b in pairs if a is not None and b is not None]
    return max(errors, key=abs, default=Fraction(0))


def start_offset(before: StreamContents, after: StreamContents, shift: Fraction) -> Fraction:
    """Return how far the first played packet was moved relative to the video, in seconds."""
    starts = [
        next((time for time, shown in zip(track.times, track.shown, strict=True) if shown), None)
        for track in (before, after)
    ]
    return Fraction(0) if None in starts else starts[1] - starts[0] - shift  # type: ignore[operator]


def length_errors(before: StreamContents, after: StreamContents) -> list[Fraction]:
    """Return the difference in duration of each packet, in seconds."""
    return [abs(x - y) for x, y in zip(before.lengths, after.lengths, strict=False) if x and y]


def slack(before: StreamContents, after: StreamContents) -> Fraction:
    """Return the largest rounding error of the output's clock."""
    exact = (before.time_base / after.time_base).denominator == 1
    return _CLOCK if exact else after.time_base / 2 + _CLOCK
