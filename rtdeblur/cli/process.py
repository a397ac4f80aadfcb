"""Process of a command: standard streams, signals and exit code."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import click

from rtdeblur.cli.environment import FOR_LIBRARIES, setting, unset
from rtdeblur.cli.help import Bare
from rtdeblur.cli.report import line_of, mute, reporting, say, show_traceback
from rtdeblur.cli.root import root
from rtdeblur.cli.signals import Stopped, deadline, handling, silent_if_dropped
from rtdeblur.errors import ClosedPipeError
from rtdeblur.files import abandon_unfinished

_SIGPIPE = 128 + 13


def run(args: Sequence[str] | None) -> int:
    """Run a command to its end; see `rtdeblur.cli.main`."""
    _open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a character that the console lacks must not end a run
    received: list[int] = []

    def stop(signum: int) -> None:
        received.append(signum)
        raise Stopped(signum)

    with deadline(), silent_if_dropped(), reporting(), setting(unset(FOR_LIBRARIES)):
        try:
            with handling(stop):
                code = int(root.main(args, prog_name="rtdeblur", standalone_mode=False) or 0)
                return code or _flush()
        except Stopped as stopped:
            abandon_unfinished()
            return stopped.exit_code
        except Exception as error:
            # Libraries may swallow an exception raised by a signal handler, and fail in their own way
            # instead.
            if not received:
                return _fail(error)
            abandon_unfinished()
            return 128 + received[0]


def leave(code: int) -> NoReturn:
    """End the process without waiting for threads that are blocked: an abandoned build, a silent source.

    As Python shuts down, it ends such a thread inside the library that it is in, which can crash. The output
    has been flushed.
    """
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)


def _open_standard_streams() -> None:
    """Open standard streams that the program was started without, as some daemons do.

    Otherwise the next opened file would get their descriptors, and libraries would print into it.
    """
    for descriptor, access in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, access)  # gets the lowest free descriptor; writing to 1 fails
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _flush() -> int:
    """Flush the output and return the exit code."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return _fail(error)
    return 0


def _fail(error: Exception) -> int:
    show_traceback(error)
    if isinstance(error, ClosedPipeError):
        return _SIGPIPE  # as if ended by the signal, without a message
    # 2 is for usage errors only; any job that fails is 1.
    if isinstance(error, click.ClickException):
        say("error", f"{_sentence(error)} Try '{_asked(error)} --help'.")
        return error.exit_code
    say("error", line_of(error))
    with suppress(OSError):
        sys.stdout.flush()
        return 1
    mute(sys.stdout)
    return 1


def _sentence(error: click.ClickException) -> str:
    """Return click's message on one line, with a final punctuation mark."""
    message = " ".join(line.strip() for line in error.format_message().splitlines())
    return message if message.endswith((".", "?", "!", ")")) else f"{message}."


def _asked(error: click.ClickException) -> str:
    """Return the command that was asked for, such as `rtdeblur live`; the main command has no name."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if ctx is not None and isinstance(ctx.command, Bare):
        ctx = ctx.parent
    return ctx.command_path if ctx else "rtdeblur"
