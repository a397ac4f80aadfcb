"""Restore a video file and show the progress.

    python examples/file_with_progress.py VIDEO OUTPUT

What runs, and what the output does not keep, comes through the logger "rtdeblur".
"""

import logging
import sys

import rtdeblur

logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s: %(message)s")


def show(done: int, total: int | None) -> None:
    """Print one line per batch; an exception raised here would stop the run."""
    print(f"{done} of {total or '?'} frames")


if len(sys.argv) != 3:
    sys.exit("usage: python examples/file_with_progress.py VIDEO OUTPUT")
source, output = sys.argv[1:]
try:
    stats = rtdeblur.restore_file(source, output, progress=show, overwrite=True)
except rtdeblur.RtdeblurError as error:
    sys.exit(f"not restored: {error}")
print(f"{output}: {stats.frames} frames, {stats.fps:.1f} per second")
