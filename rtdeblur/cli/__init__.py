"""The command line: one small file a command.

Nothing here loads numpy, av, openvino or rich before a command needs it.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Sequence

import click

from rtdeblur.cli.report import line_of, say, show_traceback
from rtdeblur.cli.root import root
from rtdeblur.cli.signals import Stopped, handling
from rtdeblur.errors import ClosedPipeError, RtdeblurError

__all__ = ["main"]

_SIGPIPE = 128 + 13


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: the words after the program's name; those of the process by default.

    Returns:
        The exit code: 0, 1 for a failed job, 2 for a request that makes no sense, 128 + n for signal n.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a sign that a console lacks must not end a run
    received: list[int] = []

    def stop(signum: int) -> None:
        received.append(signum)
        raise Stopped(signum)

    try:
        with handling(stop):
            code = int(root.main(args, prog_name="rtdeblur", standalone_mode=False) or 0)
        return _leave(code) if _runs("rtdeblur-build") else code
    except Stopped as stopped:
        return _leave(stopped.exit_code)
    except (click.ClickException, RtdeblurError, OSError) as error:
        # PyAV may lose an exception that a handler raises: what it was doing fails instead.
        return _leave(128 + received[0]) if received else _fail(error)


def _fail(error: Exception) -> int:
    show_traceback(error)
    # 2 is for words that no command understands; a job that cannot be done is 1, whatever the reason.
    if isinstance(error, click.ClickException):
        say("error", f"{error.format_message()} Try 'rtdeblur --help'.")
        return error.exit_code
    if isinstance(error, ClosedPipeError):
        return _SIGPIPE  # as of a program that the signal ends, and as quietly
    say("error", line_of(error))
    return 1


def _leave(exit_code: int) -> int:
    """End without waiting for a stage that waits for a silent pipe, or a build that was given up."""
    if _runs("rtdeblur-"):
        os._exit(exit_code)
    return exit_code


def _runs(name: str) -> bool:
    """Whether a thread runs whose name begins so."""
    return any(thread.name.startswith(name) for thread in threading.enumerate())
