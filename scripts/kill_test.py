#!/usr/bin/env python3
"""Kill real runs with SIGKILL at random moments, resume them, and compare with an uninterrupted run.

    scripts/kill_test.py [--kills N] [--seed N] [--case NAME] [--seconds N] [--folder DIR]

Each job is killed one to three times and then allowed to finish. Every fourth kill waits for the commit, when
the finished output is renamed and the unfinished work removed. After most kills that left work behind, it is
tampered with: links to a victim file, pipes or damage inside it, or a folder that is a link or writable by
all, which must be refused. Every job must give the bytes of the first run, and the victim file must stay
unchanged.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

_IDENTITY = ("--model", "identity")
_SOUND = ("-f", "lavfi", "-i", "sine=d=32:r=48000")
_VARIABLE = "setpts='(N+0.4*mod(N,3))/25/TB'"


@dataclass(frozen=True)
class Case:
    """A kind of job: the ffmpeg options of its input, and the options of the program."""

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
    """Results of a case's jobs."""

    jobs: int = 0
    kills: int = 0
    in_commit: int = 0
    hostile: int = 0
    refused: int = 0
    resumed_frames: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_source(case: Case, folder: Path) -> Path:
    """Make the input of a case: a moving picture with audio and B-frames."""
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
    """Kill a run just before it renames the output."""
    mark = work_of(target) / "committed"
    while process.poll() is None and not mark.exists():
        time.sleep(0.0005)
    process.kill()


def work_of(target: Path) -> Path:
    """Path of the folder of unfinished work."""
    return target.with_name(f".{target.name}.rtdeblur")


VICTIM = b"precious"
_SEAL_BYTES = 44  # of a segment
Plant = Callable[[Path, Path], None]


def _link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def _hard_link(path: Path, victim: Path) -> None:
    os.link(victim, path)


def _pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def _noise(path: Path, victim: Path) -> None:
    path.write_bytes(os.urandom(1000))


PLANTS: tuple[Plant, ...] = (_link, _hard_link, _pipe, _noise)


def is_own(path: Path, ending: bytes = b"") -> bool:
    """Whether a file of the unfinished work is still as the program wrote it."""
    facts = os.lstat(path) if os.path.lexists(path) else None
    if facts is None or not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        return False
    data = path.read_bytes()
    return data[:1] == b"{" and data[-_SEAL_BYTES:].startswith(ending)


def harm_inside(work: Path, victim: Path, draw: random.Random) -> None:
    """Replace a file of the unfinished work, or one that the program is about to write."""
    segments = sorted(path for path in work.glob("*.segment") if is_own(path, b"seal"))
    names = ["lock", "committed", f"{250 * len(segments):08d}.part"]
    # A job is recognised by its description or by a complete segment: one of them must stay.
    if segments:
        names += ["job.json"] * 2
    if is_own(work / "job.json"):
        names += [path.name for path in segments]
    name = draw.choice(names)
    (work / name).unlink(missing_ok=True)
    draw.choice(PLANTS)(work / name, victim)


def harm_folder(work: Path, victim: Path, draw: random.Random) -> Callable[[], None]:
    """Make the folder one that must be refused; the returned call undoes it."""
    if draw.random() < 0.5:
        work.chmod(0o777)
        return lambda: work.chmod(0o700)
    aside = work.with_name(f"{work.name}.aside")
    work.rename(aside)
    work.symlink_to(victim.parent)

    def undo() -> None:
        work.unlink()
        aside.rename(work)

    return undo


def harm(case: Case, source: Path, target: Path, victim: Path, draw: random.Random, tally: Tally) -> None:
    """Tamper with the unfinished work of a killed run, if there is any."""
    work = work_of(target)
    if not any(work.glob("*.segment")):
        return
    tally.hostile += 1
    if draw.random() < 0.6:
        return harm_inside(work, victim, draw)
    undo = harm_folder(work, victim, draw)
    process = start(case, source, target, "--resume")
    said = process.communicate()[1]
    undo()
    tally.refused += 1
    if process.returncode != 1 or "cannot hold the unfinished work" not in said:
        tally.faults.append(f"an unsafe folder was not refused: {said.strip()}")


def one_job(case: Case, folder: Path, source: Path, wall: float, draw: random.Random, tally: Tally) -> None:
    """Kill a job a few times, let it finish, and compare."""
    target = folder / f"out{case.ending}"
    target.unlink(missing_ok=True)
    victim = folder / "elsewhere" / "victim"
    shutil.rmtree(victim.parent, ignore_errors=True)
    victim.parent.mkdir()
    victim.write_bytes(VICTIM)
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
        if draw.random() < 2 / 3:
            harm(case, source, target, victim, draw, tally)
    process = start(case, source, target, "--resume")
    said = process.communicate()[1]
    tally.jobs += 1
    for line in said.splitlines():
        if "frames already done" in line:
            tally.resumed_frames.append(int(line.rpartition(":")[2].split()[0]))
    if process.returncode:
        tally.faults.append(said.strip())
    elif digest(target) != digest(folder / f"whole{case.ending}"):
        tally.faults.append(f"job {tally.jobs} produced different bytes")
    if victim.read_bytes() != VICTIM or list(victim.parent.iterdir()) != [victim]:
        tally.faults.append("the victim file was changed")
    if left := [path.name for path in folder.iterdir() if path.name.startswith(".")]:
        tally.faults.append(f"left behind: {left}")


def test_case(case: Case, kills: int, draw: random.Random, folder: Path) -> Tally:
    """Kill jobs of one case until the number of kills is reached."""
    folder.mkdir(parents=True)
    source, whole, tally = make_source(case, folder), folder / f"whole{case.ending}", Tally()
    began = time.monotonic()
    process = start(case, source, whole)
    if process.communicate()[1] and process.returncode:
        raise SystemExit(f"{case.name}: the uninterrupted run failed")
    wall = time.monotonic() - began
    while tally.kills < kills and not tally.faults:
        one_job(case, folder, source, wall, draw, tally)
    return tally


@click.command()
@click.option("--kills", default=7, show_default=True, help="Least number of kills per case.")
@click.option("--seed", default=0, show_default=True)
@click.option("--case", "names", multiple=True, type=click.Choice([case.name for case in _CASES]))
@click.option("--seconds", type=int, help="Length of the video, instead of the case's own.")
@click.option("--folder", type=click.Path(path_type=Path), help="Working folder; a temporary one by default.")
def main(kills: int, seed: int, names: tuple[str, ...], seconds: int | None, folder: Path | None) -> None:
    """Kill real runs at random moments, resume them, and compare bytes."""
    draw = random.Random(seed)
    total = failed = 0
    heads = ("case", "jobs", "kills", "in commit", "hostile", "refused", "found done")
    print("{:16} {:>5} {:>6} {:>10} {:>8} {:>8} {:>11}  result".format(*heads))
    with tempfile.TemporaryDirectory() as temporary:
        for case in _CASES:
            if names and case.name not in names:
                continue
            case = replace(case, seconds=seconds or case.seconds)
            tally = test_case(case, kills, draw, (folder or Path(temporary)) / case.name)
            found = f"{min(tally.resumed_frames, default=0)}..{max(tally.resumed_frames, default=0)}"
            result = "; ".join(tally.faults) or "identical"
            print(
                f"{case.name:16} {tally.jobs:5} {tally.kills:6} {tally.in_commit:10} {tally.hostile:8} "
                f"{tally.refused:8} {found:>11}  {result}",
                flush=True,
            )
            total += tally.kills
            failed += bool(tally.faults)
    print(f"{total} kills; {failed} cases failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
