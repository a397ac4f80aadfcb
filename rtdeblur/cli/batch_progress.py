"""Progress of a batch, from the segments in the folders of unfinished work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtdeblur.cli.progress import RunPace
from rtdeblur.cli.report import plain, say
from rtdeblur.cli.results import Outcome, Result
from rtdeblur.plurals import counted

if TYPE_CHECKING:
    from rtdeblur.cli.plan import Job

_LINE_SECONDS = 60.0


class Watch:
    """Frames finished so far.

    Args:
        expected: frames of each file to restore, as its container claims.
        total: number of files, with those finished before.
    """

    def __init__(self, expected: Mapping[Job, int], total: int) -> None:
        self._frames = dict(expected)
        self.pace = RunPace(sum(expected.values()))
        self.files, self.total = 0, total
        self._done = 0
        self._seen: dict[Path, int] = {}
        self.running: dict[Job, int] = {}

    def finished(self, outcome: Outcome) -> None:
        """Count a finished file."""
        self.files += 1
        expected = self._frames.pop(outcome.job, 0)
        actual = outcome.stats.frames if isinstance(outcome, Result) else expected
        self._done += actual
        self.pace.expected = (self.pace.expected or 0) + actual - expected

    def look(self, jobs: set[Job]) -> None:
        """Count the frames of unfinished files."""
        self.running = {job: frames for job in jobs if (frames := frames_in(job, self._seen))}
        self.pace.update(self._done + sum(self.running.values()), time.monotonic())

    def __str__(self) -> str:
        return f"{self.files} of {counted(self.total, 'file')}; {self.pace.share}" + (
            f", {self.pace.speed}" if self.pace.speed else ""
        )

    def lines(self) -> Iterator[tuple[Job, int, int]]:
        """Yield each unfinished file, with its frames done and expected."""
        for job, frames in sorted(self.running.items(), key=lambda each: str(each[0].input)):
            yield job, frames, max(frames, self._frames.get(job, 0))


@contextmanager
def shown(watch: Watch, *, quiet: bool) -> Iterator[Any]:
    """Yield a callable that shows the progress: bars on a terminal, a line per minute elsewhere."""
    if quiet or not sys.stderr.isatty():
        last = time.monotonic()

        def line() -> None:
            nonlocal last
            if watch.pace.fps and time.monotonic() - last >= _LINE_SECONDS:
                last = time.monotonic()
                say("info", str(watch))
                for job, frames, expected in watch.lines():
                    say("detail", f"{job.input}: {frames} of {counted(expected, 'frame')}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        total = bars.add_task("starting", total=watch.pace.total)
        files: dict[Job, Any] = {}

        def bar() -> None:
            bars.update(total, completed=watch.pace.frames, total=watch.pace.total, description=str(watch))
            lines = list(watch.lines())
            for job in files.keys() - {job for job, *_ in lines}:
                bars.remove_task(files.pop(job))
            for job, frames, expected in lines:
                if job not in files:
                    files[job] = bars.add_task(plain(f"  {job.input.name}"), total=expected)
                bars.update(files[job], completed=frames, total=expected)

        yield bar


def frames_in(job: Job, seen: dict[Path, int]) -> int:
    """Count the frames in the finished segments of a job, of which `seen` has those counted before."""
    from rtdeblur.media.resume.job_folder import folder_of
    from rtdeblur.media.resume.segment_file import glance

    total = 0
    with suppress(OSError):  # it may be removed meanwhile
        for segment in folder_of(job.output).glob("*.segment"):
            if segment not in seen:
                seen[segment] = glance(segment.parent, segment.name)
            total += seen[segment]
    return total
