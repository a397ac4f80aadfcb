"""Comparison of the contents of two files: everything a restored video must share with its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any, Literal

from rtdeblur.ffmpeg.formats import traits_of
from rtdeblur.ffmpeg.side_data import angle_of
from rtdeblur.media.verify import tracks
from rtdeblur.media.verify.contents import UNTAGGED, Contents, StreamContents
from rtdeblur.media.verify.thumbnails import misplaced
from rtdeblur.plurals import counted

Status = Literal["same", "different", "not held"]
Held = Callable[[Contents], bool]

# A muxer that shifts all streams to make room for audio priming does not shift chapters; Opus and Vorbis
# need 80 ms.
_CHAPTER_SLACK = Fraction(1, 10)
_LONGEST_PRIMING = Fraction(1, 10)  # Opus has the longest: 80 ms in packets of 20 ms
_IN_STEP = "in step with the pictures"
_IN_ORDER = "in order"
_PICTURE = (
    "aspect ratio", "rotation", "depth", "chroma", "alpha", "colour range", "colour matrix",
    "colour transfer", "colour primaries", "mastering display", "light levels", "interlaced",
)  # fmt: skip
_CHROMAS = ["none", "4:1:0", "4:1:1", "4:2:0", "4:4:0", "4:2:2", "4:4:4"]


@dataclass(frozen=True, slots=True)
class Check:
    """Result of comparing one property.

    Attributes:
        name: what was compared.
        status: 'not held' if the output's container cannot store the input's value.
        before: value in the input.
        after: value in the output.
    """

    name: str
    status: Status
    before: str
    after: str


def compare(before: Contents, after: Contents, best: Callable[[], Contents | None]) -> list[Check]:
    """Compare a source with its output.

    Args:
        before: the source.
        after: the output.
        best: returns the contents of a plain copy of the source in the output's container; called if
            something is missing, to tell a loss from a limit of the container. With None, everything
            missing is a loss.
    """
    return list(_Comparison(before, after, best).checks())


class _Comparison:
    def __init__(self, before: Contents, after: Contents, best: Callable[[], Contents | None]) -> None:
        self._before, self._after, self._read_best = before, after, best
        self._best: Contents | None = None
        self._tried = False
        # All timestamps may be shifted equally: players start at the first.
        self._shift = after.first - before.first
        self._slack = tracks.slack(before.main, after.main)
        self._is_cut = traits_of(after.format).edit_units  # audio ends with the video

    def checks(self) -> Iterator[Check]:
        yield from self._frames()
        yield from self._pictures()
        for kind in ("video", "audio", "subtitle", "data", "cover", "attachment"):
            yield from self._tracks(kind)
        yield from self._chapters()
        yield from self._about()

    def _check(self, name: str, before: Any, after: Any, same: bool, held: Held | None = None) -> Check:
        """Make a check; if it fails, `held` says whether a plain copy keeps the input's value."""
        status: Status = "same" if same else "different"
        if not same and held is not None:
            if not self._tried:
                self._best, self._tried = self._read_best(), True
            if self._best is not None and not held(self._best):
                status = "not held"
        return Check(name, status, _text(before), _text(after))

    def _frames(self) -> Iterator[Check]:
        before, after = self._before.frames, self._after.frames
        yield self._check("frames", len(before), len(after), len(before) == len(after))
        steps = [y - x for x, y in pairwise(before)]
        back = sum(step <= 0 for step in steps)
        worst, index = _worst(before, after, self._shift)
        same = worst <= 2 * self._slack  # the first one is rounded as well
        told = _span(after) if same else f"off by up to {_ms(worst)} at frame {index}"
        # No container stores decreasing timestamps; one that numbers frames stores multiples of a frame.
        can_be_held = not back or self._moves_reliable_times()
        if traits_of(self._after.format).numbers_frames:
            tick = self._after.main.time_base
            can_be_held = _worst(_numbered(before, tick), after, after[0] if after else 0)[0] > tick
        span = _span(before) + (f", {back} out of order" if back else "")
        yield self._check("frame times", span, told, same, lambda _: can_be_held)
        if len(before) == len(after):
            yield self._order()
        # Missing audio is reported separately.
        sounds = len(tracks.of(self._before, "audio")) == len(tracks.of(self._after, "audio"))
        lengths = [_end(contents, sounds) - contents.first for contents in (self._before, self._after)]
        step = min(max(steps, default=Fraction(1, 25)), Fraction(1, 2)) + Fraction(1, 50)
        texts = [f"{float(length):.3f} s" for length in lengths]
        # If audio must end with the video, a plain copy is as long as the output.
        cut = (
            (lambda best: abs(_end(best, sounds) - best.first - lengths[1]) > step) if self._is_cut else None
        )
        yield self._check("duration", texts[0], texts[1], abs(lengths[1] - lengths[0]) <= step, cut)

    def _moves_reliable_times(self) -> bool:
        """Whether timestamps moved that are larger than all before and smaller than all after them."""
        before, after = self._before.frames, self._after.frames
        if len(before) != len(after):
            return False
        latest = accumulate(before, max)
        earliest = reversed(list(accumulate(reversed(before), min)))
        counts = Counter(before)
        moved = [
            y - x
            for x, y, last, first in zip(before, after, latest, earliest, strict=True)
            if last == first and counts[x] == 1
        ]
        return any(abs(step - moved[0]) > 2 * self._slack for step in moved)

    def _order(self) -> Check:
        """Check that each frame shows the same as the source's, by their thumbnails."""
        found = misplaced(self._before.thumbnails, self._after.thumbnails)
        wrong = [pair for pair in found if pair[0] not in self._before.concealed]
        told = _IN_ORDER
        if wrong:
            index, shown = wrong[0]
            told = f"{len(wrong)} misplaced: frame {index} shows frame {shown} of the source"
        return self._check("frame order", _IN_ORDER, told, not wrong)

    def _pictures(self) -> Iterator[Check]:
        before, after = self._before.picture, self._after.picture
        sizes = [", ".join(f"{w}x{h}" for w, h in c.sizes) for c in (self._before, self._after)]
        yield self._check("size", sizes[0], sizes[1], sizes[0] == sizes[1])
        for name in _PICTURE:
            x, y = before.get(name), after.get(name)
            same = x == y or _no_less(x, y) or (name == "alpha" and bool(y))
            if name == "colour matrix" and x == UNTAGGED:
                same = same or y in _guessed(self._before)  # VP8 always states it
            if name in ("colour range", "colour matrix") and before.get("rgb") != after.get("rgb"):
                same = y != UNTAGGED or bool(after.get("rgb"))  # RGB has neither; Y'CbCr must state both
            if name == "colour matrix" and before.get("chroma") == "none":
                same = True  # of gray it means nothing
            held: Held | None = None
            if name == "rotation":
                held = _is_rotated
                x, y = (matrix and angle_of(matrix) for matrix in (x, y))
            yield self._check(name, x, y, same, held)

    def _tracks(self, kind: str) -> Iterator[Check]:
        before, after = tracks.of(self._before, kind), tracks.of(self._after, kind)
        if not (before or after):
            return
        same = len(before) == len(after)
        held = None if len(after) > len(before) else lambda best: len(tracks.of(best, kind)) > len(after)
        yield self._check(f"{kind} streams", len(before), len(after), same, held)
        unused = list(after)
        for number, track in enumerate(before):
            name = f"{kind} {number + 1}"
            twin = after[number] if same else max(unused, key=lambda t: tracks.shared(track, t), default=None)
            if twin is None or not (same or tracks.shared(track, twin)):
                yield self._missing(name, track)
                continue
            unused.remove(twin)
            yield from self._track(name, track, twin, number)
            yield from self._about_track(name, track, twin, alone=len(before) == 1)

    def _missing(self, name: str, track: StreamContents) -> Check:
        what = f"{track.codec} {track.language}".strip()
        return self._check(name, what, "missing", False, lambda best: bool(tracks.twins(best, track)))

    def _track(
        self, name: str, before: StreamContents, after: StreamContents, number: int
    ) -> Iterator[Check]:
        start = tracks.start(before, after)
        counts = [counted(len(track.hashes), "packet") for track in (before, after)]
        if start is None:
            counts[1] += ", " + tracks.difference(before, after)
        same = start is not None or before.whole.digest() == after.whole.digest()
        is_cut = self._is_cut and before.kind == "audio"  # or padded, as a plain copy is
        held = (lambda best: not tracks.plays(best, after, number)) if is_cut else None
        yield self._check(f"{name} packets", counts[0], counts[1], same, held)
        if before.kind in ("attachment", "cover"):
            return
        if start is None:
            if same or is_cut:
                yield self._start_time(name, before, after, number)
            return
        hidden = tracks.hidden(before)
        if start and start == hidden:
            # Containers that play priming packets should also start with them.
            whole, rest = (
                counted(count, "packet") for count in (len(before.hashes), len(before.hashes) - start)
            )
            primed = before.hashes[hidden - 1]
            yield self._check(
                f"{name} priming",
                whole,
                rest,
                False,
                lambda best: any(primed in twin.hashes for twin in tracks.twins(best, before)),
            )
        heard = sum(before.lengths[start:hidden], Fraction(0))
        if heard > _LONGEST_PRIMING and False not in after.shown[: hidden - start]:
            yield self._check(
                f"{name} hidden by an edit list", "not played", f"{_ms(heard)} is played", False
            )
        limit = tracks.slack(before, after) + self._slack
        worst = tracks.offset(before, after, start, self._shift)

        def in_step(best: Contents) -> bool:
            shift = best.first - self._before.first
            twins = ((twin, tracks.start(before, twin)) for twin in tracks.twins(best, before))
            return any(
                at is not None and abs(tracks.offset(before, t, at, shift)) <= limit for t, at in twins
            )

        told = _IN_STEP if abs(worst) <= limit else f"moved by {_ms(worst)}"
        yield self._check(f"{name} times", _IN_STEP, told, abs(worst) <= limit, in_step)
        if before.kind == "subtitle":
            yield self._lengths(name, before, after, limit)

    def _start_time(self, name: str, before: StreamContents, after: StreamContents, number: int) -> Check:
        """Start time of a track whose packets were cut anew, and so have other timestamps."""
        limit = tracks.slack(before, after) + self._slack
        worst = tracks.start_offset(before, after, self._shift)

        def in_step(best: Contents) -> bool:
            shift = best.first - self._before.first
            twins = tracks.plays(best, after, number)
            return any(abs(tracks.start_offset(before, twin, shift)) <= limit for twin in twins)

        told = _IN_STEP if abs(worst) <= limit else f"moved by {_ms(worst)}"
        return self._check(f"{name} times", _IN_STEP, told, abs(worst) <= limit, in_step)

    def _lengths(self, name: str, before: StreamContents, after: StreamContents, limit: Fraction) -> Check:
        """Check the duration of each subtitle."""
        errors = tracks.length_errors(before, after)
        worst = max(errors, default=Fraction(0))
        told = "as long" if worst <= limit else f"longer or shorter by up to {_ms(worst)}"

        def as_long(best: Contents) -> bool:
            return any(
                max(tracks.length_errors(before, t), default=0) <= limit for t in tracks.twins(best, before)
            )

        return self._check(f"{name} lengths", "as long", told, worst <= limit, as_long)

    def _about_track(
        self, name: str, before: StreamContents, after: StreamContents, alone: bool
    ) -> Iterator[Check]:
        if before.language or after.language:
            x, y = before.language, after.language
            yield self._check(
                f"{name} language",
                x,
                y,
                x == y,
                lambda best: any(t.language == x for t in tracks.twins(best, before)),
            )
        if before.tags or after.tags:
            missing = before.tags.items() - after.tags.items()
            yield self._check(
                f"{name} tags",
                before.tags,
                after.tags,
                not missing,
                lambda best: any(missing & t.tags.items() for t in tracks.twins(best, before)),
            )
        # A single track is the default, whether flagged or not.
        ignored = {"default"} if alone else set()
        was, now = before.disposition - ignored, after.disposition - ignored
        if was or now:
            yield self._check(
                f"{name} disposition",
                was,
                now,
                was == now,
                lambda best: any(t.disposition - ignored == was for t in tracks.twins(best, before)),
            )

    def _chapters(self) -> Iterator[Check]:
        before, after = self._before.chapters, self._after.chapters
        if not (before or after):
            return
        same = len(before) == len(after)
        yield self._check("chapters", len(before), len(after), same, lambda best: bool(best.chapters))
        if not same:
            return
        titles = [", ".join(title for *_, title in chapters) for chapters in (before, after)]
        yield self._check("chapter titles", titles[0], titles[1], titles[0] == titles[1])
        worst = max(abs(b[0] - a[0] - self._shift) for a, b in zip(before, after, strict=True))
        same = worst <= _CHAPTER_SLACK
        told = _IN_STEP if same else f"moved by up to {_ms(worst)}"
        yield self._check("chapter times", _IN_STEP, told, same)

    def _about(self) -> Iterator[Check]:
        before, after = self._before, self._after
        missing = before.tags.items() - after.tags.items()
        yield self._check(
            "tags", before.tags, after.tags, not missing, lambda best: bool(missing & best.tags.items())
        )
        x, y = before.main.language, after.main.language
        if x or y:
            yield self._check("video language", x, y, x == y, lambda best: best.main.language == x)
        x, y = before.timecode, after.timecode
        if x or y:
            yield self._check("timecode", x, y, x == y, lambda best: best.timecode == x)
        x, y = before.created, after.created
        if x or y:
            yield self._check("recording time", x, y, x == y, lambda best: best.created == x)


def _worst(before: list[Fraction], after: list[Fraction], shift: Fraction | int) -> tuple[Fraction, int]:
    """Return the largest difference between frame timestamps, in seconds, and the frame's number."""
    errors = [abs(b - a - shift) for a, b in zip(before, after, strict=False)]
    worst = max(errors, default=Fraction(0))
    return worst, errors.index(worst) if errors else 0


def _numbered(times: list[Fraction], tick: Fraction) -> list[Fraction]:
    """Return frame timestamps in a container that numbers frames: each takes the next free number."""
    numbers: list[int] = []
    for time in times:
        number = round((time - times[0]) / tick)
        numbers.append(max(number, numbers[-1] + 1) if numbers else 0)
    return [number * tick for number in numbers]


def _guessed(contents: Contents) -> tuple[str, ...]:
    """Return the matrix that players assume if untagged: BT.709 from 720 lines up, else BT.601."""
    return ("bt709",) if contents.sizes[0][1] >= 720 else ("bt470bg", "smpte170m")


def _no_less(before: Any, after: Any) -> bool:
    """True if a pixel format's depth and chroma include the input's."""
    if isinstance(before, int) and not isinstance(before, bool):
        return bool(after >= before)
    return before in _CHROMAS and after in _CHROMAS[_CHROMAS.index(before) :]


def _end(contents: Contents, with_sound: bool) -> Fraction:
    sound = (track.end for track in tracks.of(contents, "audio") if with_sound and track.end is not None)
    return max([*contents.frames[-1:], *sound], default=Fraction(0))


def _span(times: list[Fraction]) -> str:
    return f"{float(times[0]):.3f} to {float(times[-1]):.3f} s" if times else "none"


def _ms(seconds: Fraction) -> str:
    return f"{float(seconds) * 1000:.2f} ms"


def _is_rotated(contents: Contents) -> bool:
    return bool(contents.picture.get("rotation"))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}={held}" for key, held in sorted(value.items()))
    if isinstance(value, (set, frozenset)):
        return ", ".join(sorted(value))
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)
