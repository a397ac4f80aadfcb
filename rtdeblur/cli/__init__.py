"""The command line: one small file a command.

Nothing here loads numpy, av, openvino or rich before a command needs it.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence

import click

from rtdeblur.cli.report import say
from rtdeblur.cli.root import root
from rtdeblur.cli.signals import Stopped, handling
from rtdeblur.errors import RtdeblurError

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: the words after the program's name; those of the process by default.

    Returns:
        The exit code: 0, 1 for a failed job, 2 for a request that makes no sense, 128 + n for signal n.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a sign that a console lacks must not end a run
    try:
        with handling(Stopped.throw):
            return int(root.main(args, prog_name="rtdeblur", standalone_mode=False) or 0)
    except Stopped as stopped:
        return stopped.exit_code
    except click.ClickException as error:
        return _fail(f"{error.format_message()} Try 'rtdeblur --help'.", error.exit_code)
    except RtdeblurError as error:
        # 2 is for words that no command understands; a job that cannot be done is 1, whatever the reason.
        return _fail(str(error), 1)
    except OSError as error:  # a full disk, a lost drive
        return _fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part), 1)


def _fail(message: str, exit_code: int) -> int:
    if os.environ.get("RTDEBLUR_DEBUG") == "1":
        traceback.print_exc(file=sys.stderr)
    say("error", message)
    return exit_code
