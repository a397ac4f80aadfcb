"""Worker processes of data loaders."""

from __future__ import annotations

import signal
import sys


def start_method(workers: int) -> str | None:
    """Return how to start so many processes: forked ones share decoded pictures, others decode their own."""
    return "fork" if workers and sys.platform == "linux" else None


def outlast_sigterm(number: int) -> None:
    """Let a worker, whatever its number, ignore SIGTERM; a `worker_init_fn`.

    Schedulers send SIGTERM to all processes of a job. Its first process then ends the run, and with it the
    workers, but until its checkpoint is written, it needs examples.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
