"""Progress of a run: a bar on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtdeblur.cli.report import clock, plain, say
from rtdeblur.plurals import counted

if TYPE_CHECKING:
    from rtdeblur.frames import VideoInfo

OnProgress = Callable[[int, float], None]
"""Callback with the number of frames written and the seconds of video they span."""

_MEASURED_SECONDS = 2.0
"""Time to measure before estimating the length of a run."""
_LONG_SECONDS = 30.0
"""Least remaining time for which the estimate is printed."""
_LINE_SECONDS = 60.0
"""Interval between lines if there is no bar."""


@dataclass
class RunPace:
    """Speed and remaining time of a run.

    Args:
        expected: total frames as estimated by the container; None if unknown.
        done: frames finished by an earlier run, which take no time.

    Attributes:
        frames: written so far.
        fps: frames per second since the first batch; 0 until it is known.
    """

    expected: int | None
    done: int = 0
    frames: int = 0
    fps: float = 0.0
    measured_seconds: float = 0.0
    _first: tuple[int, float] | None = None

    def update(self, frames: int, now: float) -> None:
        """Record the number of frames at a time in seconds, on any clock."""
        self.frames = frames
        if frames <= self.done:
            return
        if self._first is None:  # excludes start-up time
            self._first = (frames, now)
            return
        self.measured_seconds = now - self._first[1]
        self.fps = (frames - self._first[0]) / max(self.measured_seconds, 1e-9)

    @property
    def total(self) -> int | None:
        """Total frames; never fewer than written, since containers only estimate."""
        return max(self.frames, self.expected) if self.expected else None

    @property
    def seconds_left(self) -> float | None:
        """Remaining time; None if unknown."""
        return (self.total - self.frames) / self.fps if self.total and self.fps else None

    @property
    def share(self) -> str:
        """Text such as `37%, 120 of 324 frames`, or only the frames."""
        if not self.total:
            return counted(self.frames, "frame")
        return f"{100 * self.frames // self.total}%, {self.frames} of {counted(self.total, 'frame')}"

    @property
    def speed(self) -> str:
        """Text such as `9.3 fps, 0:38 left`, or the known part of it."""
        left = self.seconds_left
        parts = [f"{self.fps:.1f} fps" if self.fps else "", "" if left is None else f"{clock(left)} left"]
        return ", ".join(filter(None, parts))


@contextmanager
def progress(info: VideoInfo, *, quiet: bool, title: str = "", done: int = 0) -> Iterator[OnProgress]:
    """Show the progress of a run.

    Args:
        info: info of the video.
        quiet: show nothing.
        title: prefix.
        done: frames finished by an earlier run.
    """
    pace = RunPace(info.frame_count, done)
    is_long = _Estimate(title)
    with _bar(title, pace, shown=not quiet and sys.stderr.isatty()) as show:

        def update(frames: int, _: float) -> None:
            pace.update(frames, time.monotonic())
            is_long.tell(pace)
            show()

        yield update


class _Estimate:
    """Prints once how long a run will take, if it is long."""

    def __init__(self, title: str) -> None:
        self._title, self._told = title, False

    def tell(self, pace: RunPace) -> None:
        if self._told or pace.measured_seconds < _MEASURED_SECONDS or pace.seconds_left is None:
            return
        self._told = True
        if pace.seconds_left >= _LONG_SECONDS:
            left = clock(pace.seconds_left)
            say("info", f"{self._title}about {left} for {pace.total} frames at {pace.fps:.1f} fps")


@contextmanager
def _bar(title: str, pace: RunPace, *, shown: bool) -> Iterator[Callable[[], None]]:
    if not shown:
        yield _lines(title, pace)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    title = plain(title)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(f"{title}starting", total=pace.total, speed="")

    def show() -> None:
        text = f"{title}{pace.share}"
        bar.update(task, completed=pace.frames, total=pace.total, description=text, speed=pace.speed)

    with bar:
        yield show


def _lines(title: str, pace: RunPace) -> Callable[[], None]:
    last = time.monotonic()

    def show() -> None:
        nonlocal last
        if pace.fps and time.monotonic() - last >= _LINE_SECONDS:
            last = time.monotonic()
            say("info", f"{title}{pace.share}, {pace.speed}")

    return show
