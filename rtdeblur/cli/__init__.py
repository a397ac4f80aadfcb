"""Command line: one small file per command.

Nothing here loads numpy, av, openvino or rich before a command needs it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the core of `signal`, without its slow enums

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["main", "program"]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: arguments after the program name; those of the process by default.

    Returns:
        The exit code: 0, 1 for a failed job, 2 for a usage error, 128 + n for signal n.
    """
    # While modules load there is nothing to clean up: Ctrl-C ends the program at once, without a traceback.
    earlier = _signal.getsignal(_signal.SIGINT)
    if earlier is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    try:
        from rtdeblur.cli.process import run

        return run(args)
    finally:
        if args is not None:  # the process goes on
            _signal.signal(_signal.SIGINT, earlier)


def program() -> NoReturn:
    """Run the command line of this process, and end the process with its exit code."""
    code = main()
    from rtdeblur.cli.process import leave

    leave(code)
