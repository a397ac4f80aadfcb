#!/usr/bin/env python3
"""Fuzz the whole command: run `rtdeblur --model identity` on damaged files, each in its own process.

    scripts/fuzz.py --count 2000 --videos FOLDER
    scripts/fuzz.py --parsers 20000

Small clips in every common container are generated with `ffmpeg`, and cut from the videos of a folder if one
is given. Each input is one of them with flipped bits, missing, repeated or zeroed blocks, changed numbers
near its header or end, a truncation, or a block of another file inserted. A run must exit with 0 and a
readable output, or with 1, a one-line error and no files left behind; it must not crash, hang or print a
traceback. Exit
status: 0 if all runs do.

With --parsers, fuzz each of the package's own parsers with that many inputs instead: manifest, job file,
segment, sidecar, parity record, build profile, message from the live page (tests/test_parsers.py).
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_IN_MEMORY = Path("/dev/shm")
CPU_SECONDS = 60  # undamaged files take less than one
WALL_SECONDS = 300
MEMORY_BYTES = 6 << 30
TINY_TS_BYTES = 4096  # FFmpeg cannot open a transport stream of one or two small frames
OUTPUTS = (".mp4", ".mkv", ".mkv", ".mov", ".ts")

_X264 = "-c:v libx264 -preset ultrafast -bf 2 -g 6"
CLIPS: dict[str, str] = {
    "h264.mp4": f"{_X264} -c:a aac",
    "front.mp4": f"{_X264} -c:a aac -movflags +faststart",
    "fragments.mp4": f"{_X264} -c:a aac -movflags frag_keyframe+empty_moov",
    "hevc.mp4": "-c:v libx265 -preset ultrafast -x265-params log-level=none -c:a aac",
    "subtitles.mkv": f"{_X264} -c:a flac -c:s srt",
    "ffv1.mkv": "-c:v ffv1 -pix_fmt yuv422p10le -c:a pcm_s16le",
    "vp9.webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus",
    "h264.ts": f"{_X264} -c:a aac",
    "mpeg2.ts": "-c:v mpeg2video -bf 2 -c:a mp2",
    "mpeg4.avi": "-c:v mpeg4 -bf 1 -c:a libmp3lame",
    "mjpeg.avi": "-c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le",
    "mpeg2.mpg": "-c:v mpeg2video -c:a mp2",
    "prores.mov": "-c:v prores_ks -pix_fmt yuva444p10le -c:a pcm_s16le -timecode 01:00:00:00",
    "rgb.mov": "-c:v qtrle -c:a aac",
    "flash.flv": "-c:v flv1 -c:a libmp3lame -ar 44100",
    "interlaced.mxf": "-c:v mpeg2video -flags +ildct+ilme -c:a pcm_s16le -ar 48000",
}
SUBTITLE = "1\n00:00:00,100 --> 00:00:00,300\nword\n"


def ffmpeg(*words: object) -> bool:
    """Return whether the program succeeds; a build that lacks an encoder makes fewer clips."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def make_seeds(folder: Path, videos: Path | None) -> list[Path]:
    """Small undamaged files."""
    (folder / "s.srt").write_text(SUBTITLE)
    seeds = []
    for name, words in CLIPS.items():
        path = folder / name
        sources: list[object] = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=0.8"]
        sources += ["-f", "lavfi", "-i", "sine=d=0.8:r=48000"]
        sources += ["-i", folder / "s.srt"] if "-c:s" in words else []
        if ffmpeg(*sources, *words.split(), *(["-shortest"] if name.endswith("mxf") else []), path):
            seeds.append(path)
    for video in sorted(videos.iterdir()) if videos else []:
        for ending in (".mp4", ".mkv", ".ts"):
            path = folder / f"{video.stem}{ending}"
            if ffmpeg("-i", video, "-t", 0.5, "-vf", "scale=160:-2", "-preset", "ultrafast", path):
                seeds.append(path)
    return seeds


def _flip(data: bytearray, rng: random.Random, _: bytes) -> None:
    for _unused in range(rng.choice((1, 3, 10, 50, 200))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(data: bytearray, rng: random.Random, _: bytes) -> None:
    del data[rng.randrange(1, len(data)) :]


def _piece(data: bytearray, rng: random.Random) -> slice:
    length = min(len(data) - 1, rng.choice((1, 4, 188, 1000, 5000)))
    start = rng.randrange(len(data) - length)
    return slice(start, start + length)


def _delete(data: bytearray, rng: random.Random, _: bytes) -> None:
    del data[_piece(data, rng)]


def _double(data: bytearray, rng: random.Random, _: bytes) -> None:
    piece = _piece(data, rng)
    data[piece.start : piece.start] = data[piece]


def _zero(data: bytearray, rng: random.Random, _: bytes) -> None:
    piece = _piece(data, rng)
    data[piece] = bytes(piece.stop - piece.start)


def _edit_numbers(data: bytearray, rng: random.Random, _: bytes) -> None:
    near = min(len(data), 2000)
    for _unused in range(rng.choice((1, 2, 6))):
        place = rng.randrange(near) if rng.random() < 0.5 else len(data) - 1 - rng.randrange(near)
        number = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
        size = rng.choice((1, 2, 4, 8))
        data[place : place + size] = (number & ((1 << 8 * size) - 1)).to_bytes(size, "big")


def _splice(data: bytearray, rng: random.Random, other: bytes) -> None:
    place = rng.randrange(len(data))
    data[place:place] = other[rng.randrange(len(other)) :][: rng.choice((100, 2000, 20000))]


MUTATIONS: tuple[Callable[[bytearray, random.Random, bytes], None], ...] = (
    _flip, _flip, _cut, _delete, _double, _zero, _edit_numbers, _edit_numbers, _splice,
)  # fmt: skip


def mutate(seeds: list[Path], rng: random.Random) -> tuple[bytes, str, str]:
    """A damaged file, its extension, and the damage done to it."""
    seed = rng.choice(seeds)
    data = bytearray(seed.read_bytes())
    changes = rng.choices(MUTATIONS, k=rng.choice((1, 1, 2, 3)))
    for change in changes:
        if len(data) > 1:
            change(data, rng, rng.choice(seeds).read_bytes())
    return bytes(data), seed.suffix, f"{seed.name}: {', '.join(c.__name__.strip('_') for c in changes)}"


@dataclass
class Run:
    """A run of the command on one input, in a child process."""

    number: int
    told: str
    folder: Path
    words: list[str]
    began: float = field(default_factory=time.monotonic)
    pid: int = 0

    def start(self) -> None:
        """Fork; the child never returns."""
        self.pid = os.fork()
        if self.pid:
            return
        try:
            os.setsid()
            said = os.open(self.folder / "said", os.O_WRONLY | os.O_CREAT)
            os.dup2(said, 1)
            os.dup2(said, 2)
            faulthandler.enable()
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            from rtdeblur.cli import main

            os._exit(main(self.words))
        except BaseException:
            traceback.print_exc()
            os._exit(99)

    def fault(self, status: int) -> str | None:
        """Return what is wrong with the way the run ended; None if nothing is."""
        said = (self.folder / "said").read_text(errors="replace")
        left = sorted(p.name for p in (self.folder / "out").iterdir())
        output = Path(self.words[2]).name
        if os.WIFSIGNALED(status):
            hung = os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGXCPU)
            return "hang" if hung else f"signal {os.WTERMSIG(status)}"
        code = os.waitstatus_to_exitcode(status)
        if "Traceback" in said or "Error:" in said.replace("rtdeblur: error:", ""):
            return "traceback"
        if code not in (0, 1):
            return f"exit code {code}"
        if code == 1 and left:
            return f"left behind {left}"
        if code == 1 and said.count("rtdeblur: error: ") != 1:
            return "not a one-line error"
        if code == 0 and left != [output]:
            return f"success, but the folder holds {left}"
        return (
            None
            if code or _readable(self.folder / "out" / output)
            else "success, but the output has no frame"
        )


def _readable(path: Path) -> bool:
    import av

    from rtdeblur.errors import InputError
    from rtdeblur.ffmpeg.container import open_input

    if path.suffix == ".ts" and path.stat().st_size < TINY_TS_BYTES:
        return True
    try:
        with open_input(path) as container:
            return next(container.decode(video=0), None) is not None
    except (InputError, av.FFmpegError):
        return False


class Fuzzer:
    """Keeps a number of runs in progress and counts how they end."""

    def __init__(self, seeds: list[Path], work: Path, keep: Path | None, seed: int) -> None:
        self.seeds, self.work, self.keep, self.seed = seeds, work, keep, seed
        self.ends: Counter[str] = Counter()
        self.faults: list[str] = []
        self.running: dict[int, Run] = {}

    def start(self, number: int) -> None:
        """Make an input and start the command on it."""
        rng = random.Random(f"{self.seed}:{number}")  # so that a single input can be reproduced
        data, ending, told = mutate(self.seeds, rng)
        folder = self.work / str(number)
        (folder / "out").mkdir(parents=True)
        source, output = folder / f"in{ending}", folder / "out" / f"out{rng.choice(OUTPUTS)}"
        source.write_bytes(data)
        words = [str(source), "-o", str(output), "--model", "identity", "--quiet"]
        words += ["--start", "0.3"] if rng.random() < 0.1 else []
        words += ["--codec", "ffv1"] if output.suffix == ".mkv" and rng.random() < 0.3 else []
        run = Run(number, told, folder, words)
        run.start()
        self.running[run.pid] = run

    def collect(self) -> None:
        """Wait for one run to end and check it."""
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                break
            for run in self.running.values():
                if time.monotonic() - run.began > WALL_SECONDS:
                    os.killpg(run.pid, signal.SIGKILL)
            time.sleep(0.005)
        run = self.running.pop(pid)
        fault = run.fault(status)
        if fault is None:
            self.ends["restored" if status == 0 else "refused"] += 1
        else:
            self.ends[fault.split(" [")[0]] += 1
            self.faults.append(f"#{run.number} ({run.told} -> {Path(run.words[2]).suffix}): {fault}")
            print(self.faults[-1], flush=True)
            if self.keep:
                shutil.copytree(run.folder, self.keep / str(run.number), dirs_exist_ok=True)
        shutil.rmtree(run.folder)


def fuzz_parsers(count: int, seed: int) -> int:
    """Fuzz the package's own parsers; return the exit status."""
    words = [sys.executable, "-m", "pytest", "-q", "--capture", "no", "tests/test_parsers.py"]
    environment = os.environ | {"RTDEBLUR_EXAMPLES": str(count), "RTDEBLUR_SEED": str(seed)}
    if _IN_MEMORY.is_dir():  # job files are flushed to disk, which takes most of the time
        environment["TMPDIR"] = str(_IN_MEMORY)
    return subprocess.run(words, cwd=Path(__file__).parent.parent, env=environment, check=False).returncode


def main() -> int:
    """Run, and print how the runs ended."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000, help="inputs (2000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input (0)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (2)")
    parser.add_argument("--videos", type=Path, help="folder of real videos to cut pieces from")
    parser.add_argument("--keep", type=Path, help="folder for inputs that failed, with the program's output")
    parser.add_argument("--parsers", type=int, metavar="N", help="fuzz each parser with N inputs instead")
    words = parser.parse_args()
    if words.parsers:
        return fuzz_parsers(words.parsers, words.seed)
    import av  # noqa: F401  imported once, before the forks

    import rtdeblur.media.writer  # noqa: F401

    with tempfile.TemporaryDirectory(prefix="rtdeblur-fuzz-") as folder:
        (clips := Path(folder) / "clips").mkdir()
        fuzzer = Fuzzer(make_seeds(clips, words.videos), Path(folder), words.keep, words.seed)
        began = time.monotonic()
        for number in range(words.first, words.first + words.count):
            if len(fuzzer.running) == words.jobs:
                fuzzer.collect()
            fuzzer.start(number)
            if (number + 1 - words.first) % 100 == 0:
                print(f"{number + 1 - words.first} inputs, {time.monotonic() - began:.0f} s", flush=True)
        while fuzzer.running:
            fuzzer.collect()
        ends = ", ".join(f"{count} {end}" for end, count in fuzzer.ends.most_common())
        print(
            f"{words.count} inputs from {len(fuzzer.seeds)} clips in {time.monotonic() - began:.0f} s: {ends}"
        )
    return 1 if fuzzer.faults else 0


if __name__ == "__main__":
    sys.exit(main())
