#!/usr/bin/env python3
"""Kill real runs with SIGKILL at random moments, resume them, and compare with a run that nobody killed.

    scripts/kill_test.py [--kills N] [--seed N] [--case NAME] [--seconds N] [--folder DIR]

Each job is killed one to three times and then left to end. Every fourth kill waits for the commit, when the
whole output is renamed and the work cleaned away. The bytes of every job must be those of the first run.
"""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

_IDENTITY = ("--model", "identity")
_SOUND = ("-f", "lavfi", "-i", "sine=d=32:r=48000")
_VARIABLE = "setpts='(N+0.4*mod(N,3))/25/TB'"


@dataclass(frozen=True)
class Case:
    """A kind of work: how ffmpeg makes its input, and what the program is asked for."""

    name: str
    ending: str
    words: tuple[str, ...]
    filters: str = "null"
    size: str = "160x120"
    seconds: int = 32
    source: tuple[str, ...] = ("-c:v", "libx264", "-preset", "ultrafast")


_CASES = (
    Case("x264-mp4", ".mp4", _IDENTITY),
    Case("x264-vfr-mkv", ".mkv", (*_IDENTITY, "--preset", "medium"), _VARIABLE),
    Case("x264-bframes-ts", ".ts", (*_IDENTITY, "--preset", "slow")),
    Case("x265-mkv", ".mkv", (*_IDENTITY, "--codec", "libx265")),
    Case("ffv1-mkv", ".mkv", (*_IDENTITY, "--codec", "ffv1"), _VARIABLE),
    Case("prores-mov", ".mov", (*_IDENTITY, "--codec", "prores_ks")),
    Case("vp9-webm", ".webm", (*_IDENTITY, "--codec", "libvpx-vp9")),
    Case("av1-webm", ".webm", (*_IDENTITY, "--codec", "libsvtav1")),
    Case("model-mp4", ".mp4", (), size="96x64", seconds=24),
)


@dataclass
class Tally:
    """What came of the jobs of a case."""

    jobs: int = 0
    kills: int = 0
    in_commit: int = 0
    resumed_frames: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_source(case: Case, folder: Path) -> Path:
    """Make the input of a case: a moving picture, with sound and B-frames."""
    path = folder / "in.mkv"
    picture = f"testsrc2=s={case.size}:r=25:d={case.seconds},{case.filters}"
    words = ["-f", "lavfi", "-i", picture, *_SOUND, *case.source, "-bf", "2", "-c:a", "libopus", "-shortest"]
    timing = ["-fps_mode", "passthrough", "-enc_time_base", "1:1000"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words, *timing, path], check=True)
    return path


def start(case: Case, source: Path, target: Path, *more: str) -> subprocess.Popen[str]:
    """Start the program on a case."""
    words = [sys.executable, "-m", "rtdeblur", source, "-o", target, *case.words, *more]
    return subprocess.Popen(
        list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def kill_in_commit(process: subprocess.Popen[str], target: Path) -> None:
    """Kill a run as soon as it is about to give the output its name."""
    mark = target.with_name(f".{target.name}.rtdeblur") / "committed"
    while process.poll() is None and not mark.exists():
        time.sleep(0.0005)
    process.kill()


def one_job(case: Case, folder: Path, source: Path, wall: float, draw: random.Random, tally: Tally) -> None:
    """Kill a job some times, let it end, and compare."""
    target = folder / f"out{case.ending}"
    target.unlink(missing_ok=True)
    for _ in range(draw.randint(1, 3)):
        process = start(case, source, target, "--resume")
        if draw.random() < 0.25:
            kill_in_commit(process, target)
            tally.in_commit += 1
        else:
            time.sleep(draw.uniform(0.1, 1.05) * wall)
            process.kill()
        process.communicate()
        tally.kills += process.returncode == -signal.SIGKILL
    process = start(case, source, target, "--resume")
    said = process.communicate()[1]
    tally.jobs += 1
    for line in said.splitlines():
        if "frames are done already" in line:
            tally.resumed_frames.append(int(line.rpartition(":")[2].split()[0]))
    if process.returncode:
        tally.faults.append(said.strip())
    elif digest(target) != digest(folder / f"whole{case.ending}"):
        tally.faults.append(f"job {tally.jobs} gave other bytes")
    if left := [path.name for path in folder.iterdir() if path.name.startswith(".")]:
        tally.faults.append(f"left behind: {left}")


def test_case(case: Case, kills: int, draw: random.Random, folder: Path) -> Tally:
    """Kill jobs of one case until there were enough kills."""
    folder.mkdir(parents=True)
    source, whole, tally = make_source(case, folder), folder / f"whole{case.ending}", Tally()
    began = time.monotonic()
    process = start(case, source, whole)
    if process.communicate()[1] and process.returncode:
        raise SystemExit(f"{case.name}: the run that nobody killed failed")
    wall = time.monotonic() - began
    while tally.kills < kills and not tally.faults:
        one_job(case, folder, source, wall, draw, tally)
    return tally


@click.command()
@click.option("--kills", default=7, show_default=True, help="Of each case, at least.")
@click.option("--seed", default=0, show_default=True)
@click.option("--case", "names", multiple=True, type=click.Choice([case.name for case in _CASES]))
@click.option("--seconds", type=int, help="Of video, instead of those of the case.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work; a temporary one by default.")
def main(kills: int, seed: int, names: tuple[str, ...], seconds: int | None, folder: Path | None) -> None:
    """Kill real runs at random moments, resume them, and compare bytes."""
    draw = random.Random(seed)
    total = failed = 0
    print(f"{'case':16} {'jobs':>5} {'kills':>6} {'in commit':>10} {'frames found done':>18}  result")
    with tempfile.TemporaryDirectory() as temporary:
        for case in _CASES:
            if names and case.name not in names:
                continue
            case = replace(case, seconds=seconds or case.seconds)
            tally = test_case(case, kills, draw, (folder or Path(temporary)) / case.name)
            found = f"{min(tally.resumed_frames, default=0)}..{max(tally.resumed_frames, default=0)}"
            result = "; ".join(tally.faults) or "identical"
            print(
                f"{case.name:16} {tally.jobs:5} {tally.kills:6} {tally.in_commit:10} {found:>18}  {result}",
                flush=True,
            )
            total += tally.kills
            failed += bool(tally.faults)
    print(f"{total} kills; {failed} cases failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
