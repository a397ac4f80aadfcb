"""`rtdeblur bench --predict`: runs on one core and on two, and what they predict for more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rtdeblur import system
from rtdeblur.cli.report import echo, table
from rtdeblur.decode import converted
from rtdeblur.errors import RtdeblurError, UsageError

if TYPE_CHECKING:
    from rtdeblur.bench import Run

CORES = (1, 2, 4, 8, 16)
_EXPLANATION = """\
A stage alone takes serial + parallel/n per frame on n cores; both parts follow from 1 and 2 cores. The whole
run is bounded by the slowest stage, and by n / core-seconds per frame on 2 cores; it reaches as much of that
as on 2 cores. What more than two cores lose to each other (memory bandwidth, clock, hyperthreads) is not
included, so expect less."""


def command(words: Sequence[str], *, as_json: bool) -> None:
    """Measure on one core and on two, each in a process of its own, and print what that predicts.

    Args:
        words: options of `rtdeblur bench` for one size and one batch, without --json.
        as_json: print JSON instead of a table.

    Raises:
        UsageError: the system cannot tie a process to cores, or there is only one.
    """
    from rtdeblur.bench import Run
    from rtdeblur.scaling import predict

    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("--predict needs a system that ties processes to cores, such as Linux")
    if system.usable_cores() < 2:
        raise UsageError("--predict needs two cores, and this process may use one only")
    one, two = (converted(Run, _bench(words, cores)["run"]) for cores in (1, 2))
    predicted = [predict(one, two, cores) for cores in CORES]
    if as_json:
        from dataclasses import asdict

        runs = {"one": one.as_json(), "two": two.as_json()}
        echo(json.dumps({**runs, "predicted": [asdict(each) for each in predicted]}, indent=2))
        return
    headers = ("cores", "decode fps", "inference fps", "encode fps", "whole fps", "bound by", "")
    rows = [_measured_row(1, one), _measured_row(2, two)]
    for each in predicted[2:]:
        stages = (each.decode, each.inference, each.encode, each.whole)
        rows.append((str(each.cores), *(f"{fps:.1f}" for fps in stages), each.bound, "predicted"))
    echo(table([headers, *rows]))
    echo(_EXPLANATION)


def _measured_row(cores: int, run: Run) -> tuple[str, ...]:
    rates = (run.decode.fps, run.inference.fps, run.encode.fps, run.whole.fps)
    return (str(cores), *(f"{fps:.1f}" for fps in rates), "-", "measured")


def _bench(words: Sequence[str], cores: int) -> dict[str, Any]:
    """Run `rtdeblur bench` on the first cores that this process may use; return its only case."""
    usable = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, sorted(usable)[:cores])  # children inherit it
        done = subprocess.run(
            [sys.executable, "-m", "rtdeblur", "bench", *words, "--json"], capture_output=True, text=True
        )
    finally:
        os.sched_setaffinity(0, usable)
    if done.returncode:
        raise RtdeblurError(done.stderr.strip().removeprefix("rtdeblur: error: ") or "rtdeblur bench failed")
    case: dict[str, Any] = json.loads(done.stdout)["cases"][0]
    return case
