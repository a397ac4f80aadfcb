"""What a run tells on stderr: single lines, and a progress bar where a terminal shows it."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from rtdeblur.live.address import hide_passwords

if TYPE_CHECKING:
    from rtdeblur.frames import VideoInfo


def say(kind: str, message: str) -> None:
    """Print `rtdeblur: kind: message` on stderr, as one line and without passwords."""
    line = " ".join(f"rtdeblur: {kind}: {hide_passwords(message)}".splitlines())
    click.echo(line, err=True)


def show_traceback(error: Exception) -> None:
    """Print where an error comes from, if the environment asks for it."""
    if os.environ.get("RTDEBLUR_DEBUG") == "1":
        traceback.print_exception(error)


def line_of(error: Exception) -> str:
    """What went wrong, for a person."""
    if isinstance(error, OSError):  # a full disk, a lost drive
        return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    return str(error)


def at_times(tell: Callable[[str], None], seconds: float = 5.0) -> Callable[[float, str], None]:
    """Make lines, `seconds` apart or more, of a build's progress: one takes seconds or many minutes."""
    last = time.monotonic()

    def update(share: float, phase: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            tell(f"building the engine: {share:.0%}, {phase}")

    return update


def speed(frames: int, media_seconds: float, wall_seconds: float) -> str:
    """Say how fast: frames a second, and seconds of video a second (1 is real time)."""
    wall_seconds = max(wall_seconds, 1e-9)
    return f"{frames / wall_seconds:.1f} fps, {media_seconds / wall_seconds:.2f}× real time"


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Lay out rows of cells, the first the headers, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


@contextmanager
def progress(info: VideoInfo, shown: bool, title: str = "") -> Iterator[Callable[[int, float], None] | None]:
    """A bar with frames, speed and time left; gives None where none is wanted or stderr is no terminal.

    The title stands before it.

    The value takes the frames written so far and the seconds of video they span.
    """
    if not (shown and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[pace]}"))
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    task = bar.add_task(f"{title}starting", total=info.frame_count, pace="")
    began = time.perf_counter()

    def update(frames: int, media_seconds: float) -> None:
        # The container's count is an estimate: it never shows fewer than have passed.
        total = max(frames, info.frame_count) if info.frame_count else None
        count = f"{title}{frames}/{total} frames" if total else f"{title}{frames} frames"
        pace = speed(frames, media_seconds, time.perf_counter() - began)
        bar.update(task, completed=frames, total=total, description=count, pace=pace)

    with bar:
        yield update
