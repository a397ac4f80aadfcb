"""Printing: single lines on stderr, and text on stdout.

Names, tags and messages come from files, folders, models and servers. All of them pass through `plain`, which
makes them safe for a terminal.
"""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click

from rtdeblur.errors import OutputError, RtdeblurError
from rtdeblur.live.address import hide_passwords

# C0, DEL and C1; line and paragraph separators; embeddings, overrides and isolates of direction.
_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    r"""Replace control characters with escapes such as `\x1b`."""
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


@dataclass
class _Verbosity:
    """Selection of messages to print, and the log file, which gets all of them."""

    quiet: bool = False
    verbose: bool = False
    log: TextIO | None = None


_verbosity = _Verbosity()


@contextmanager
def reporting() -> Iterator[None]:
    """Print messages by default rules unless `configure` changes them; close the log file at the end."""
    global _verbosity
    earlier, _verbosity = _verbosity, _Verbosity()
    try:
        yield
    finally:
        if _verbosity.log is not None:
            _verbosity.log.close()
        _verbosity = earlier


def configure(*, quiet: bool, verbose: bool, log_file: Path | None) -> None:
    """Choose which messages are printed, until the command ends.

    Args:
        quiet: warnings and errors only.
        verbose: details too.
        log_file: file to append all messages to, with timestamps.

    Raises:
        OutputError: the log file cannot be written.
    """
    try:
        log = log_file and log_file.open("a", encoding="utf-8", errors="replace", buffering=1)
    except OSError as error:
        raise OutputError(f"cannot write the log file {str(log_file)!r}: {error.strerror}") from error
    _verbosity.quiet, _verbosity.verbose, _verbosity.log = quiet, verbose, log or None


def say(kind: str, message: str) -> None:
    """Print `rtdeblur: kind: message` on stderr, as one line and without passwords.

    Args:
        kind: detail, info, warning or error; `configure` selects which are printed.
        message: what happened.
    """
    message = " ".join(hide_passwords(message).splitlines())
    _log(f"{kind}: {message}")
    shown = _verbosity.verbose if kind == "detail" else kind != "info" or not _verbosity.quiet
    if shown:
        echo(f"rtdeblur: {kind}: {message}", err=True)


def _log(text: str) -> None:
    """Append lines to the log file; if that fails, they are lost but the run continues."""
    log = _verbosity.log
    if log is not None:
        with suppress(OSError, ValueError):
            for line in text.splitlines():
                log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {plain(line)}\n")


def echo(text: str, *, err: bool = False) -> None:
    """Print lines.

    Args:
        text: lines without a final line feed.
        err: print on stderr; if that fails, the lines are lost but the run continues.

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
    """Discard further output to a broken stream, including the flush at exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def show_traceback(error: Exception) -> None:
    """Log the traceback of an error; print it if RTDEBLUR_DEBUG is set."""
    text = hide_passwords("".join(traceback.format_exception(error)).rstrip())
    _log(text)
    if os.environ.get("RTDEBLUR_DEBUG") == "1":
        echo(text, err=True)


def line_of(error: Exception) -> str:
    """Describe an error in one line for people."""
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):  # by Python or FFmpeg
        return "not enough memory; try --batch 1, a smaller model, or closing other programs"
    if isinstance(error, OSError):  # a full disk, a disconnected drive
        return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    if isinstance(error, RtdeblurError | click.ClickException):
        return str(error)
    if isinstance(error, ImportError):
        first = str(error.__cause__ or error).strip().partition("\n")[0]
        return f"cannot load a library: {first}; free memory, or try: pip install --force-reinstall rtdeblur"
    return (
        f"unexpected {type(error).__name__}: {error}; this is a bug in rtdeblur, please report it with "
        "the output of RTDEBLUR_DEBUG=1"
    )


def at_times(tell: Callable[[str], None], seconds: float = 5.0) -> Callable[[float, str], None]:
    """Report a build's progress in lines at least `seconds` apart, since builds may take many minutes."""
    last = time.monotonic()

    def update(share: float, phase: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            tell(f"building the engine: {share:.0%}, {phase}")

    return update


def speed(frames: int, media_seconds: float, wall_seconds: float) -> str:
    """Format a speed as frames per second, and seconds of video per second (1 is real time)."""
    wall_seconds = max(wall_seconds, 1e-9)
    return f"{frames / wall_seconds:.1f} fps, {media_seconds / wall_seconds:.2f}× real time"


def clock(seconds: float) -> str:
    """Format a duration as 0:38, 12:05 or 1:02:05."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(number: float) -> str:
    """Format a number of bytes as 950 B, 12.3 MB or 1.25 GB."""
    if number < 999.5:
        return f"{number:.0f} B"
    for unit, scale in (("kB", 1e3), ("MB", 1e6)):
        if number < 999.5 * scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number / 1e9:.2f} GB"


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Format rows of cells as aligned columns; the first row is the header."""
    rows = [tuple(map(plain, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
