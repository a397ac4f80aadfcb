"""What the program prints: single lines on stderr, text on stdout, and a progress bar on a terminal.

Names, tags and messages come from files, folders, models and servers. All of them go through `plain`, the one
place that makes them harmless to a terminal.
"""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

import click

from rtdeblur.errors import RtdeblurError
from rtdeblur.live.address import hide_passwords

if TYPE_CHECKING:
    from rtdeblur.frames import VideoInfo


# C0, DEL and C1; line and paragraph separators; embeddings, overrides and isolates of direction.
_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    r"""Text with escapes such as `\x1b` in place of characters that a terminal obeys instead of showing."""
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def say(kind: str, message: str) -> None:
    """Print `rtdeblur: kind: message` on stderr, as one line and without passwords."""
    echo(" ".join(f"rtdeblur: {kind}: {hide_passwords(message)}".splitlines()), err=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print lines.

    Args:
        text: without a line feed at its end.
        err: on stderr; one that is closed or full costs the lines, never the run.

    Raises:
        OSError: stdout is closed or full.
    """
    lines = "\n".join(map(plain, text.split("\n")))
    try:
        click.echo(lines, err=err)
    except OSError:
        if not err:
            raise
        mute(sys.stderr)


def mute(stream: TextIO) -> None:
    """Let what is still to be written to a broken stream, also when the program ends, go nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def show_traceback(error: Exception) -> None:
    """Print where an error comes from, if the environment asks for it."""
    if os.environ.get("RTDEBLUR_DEBUG") == "1":
        echo(hide_passwords("".join(traceback.format_exception(error)).rstrip()), err=True)


def line_of(error: Exception) -> str:
    """What went wrong, for a person."""
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):  # of Python, of FFmpeg
        return "there is not enough memory; try --batch 1, a smaller model, or closing other programs"
    if isinstance(error, OSError):  # a full disk, a lost drive
        return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    if isinstance(error, RtdeblurError | click.ClickException):
        return str(error)
    if isinstance(error, ImportError):
        first = str(error.__cause__ or error).strip().partition("\n")[0]
        return f"cannot load a library: {first}; free memory, or try: pip install --force-reinstall rtdeblur"
    return (
        f"unexpected {type(error).__name__}: {error}; this is a fault of rtdeblur, please report it with "
        "the output of RTDEBLUR_DEBUG=1"
    )


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
    rows = [tuple(map(plain, row)) for row in rows]
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

    title = plain(title)
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), TextColumn("{task.fields[pace]}"))
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
