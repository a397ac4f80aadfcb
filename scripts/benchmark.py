#!/usr/bin/env python3
"""Measure whole runs on this machine's processor, and print the table of docs/benchmarks.md.

    scripts/benchmark.py                       # draws its own clips; a few minutes
    scripts/benchmark.py --video clip.mp4      # your own video, without PSNR
    scripts/benchmark.py --size 720p --frames 200

Each row is a process of its own: decode, restore, encode with libx264 (veryfast, crf 20; OpenCV encodes as it
can). A run of a few frames, which compiles the model, precedes the measured one; for ffmpeg, the start of the
program counts. The drawn clips are a camera that pans over shapes and letters: sharp; blurred by an exposure
of half the time between two frames; and mixed, blurred in the right third only, as by a moving object. They
repeat after 24 frames. PSNR is that of the decoded output's luma against the sharp clip.

Needs the program ffmpeg, and the packages opencv-python and onnxruntime.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from rtdeblur import system
from rtdeblur.backends.tensorrt.profiles import parse_size
from rtdeblur.model import DEFAULT_MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAMES = 24
"""Length of the drawn clips, after which the camera is where it began."""
_WARM_UP = 8
"""Frames of the run that is not measured."""
_EXPOSURES = 12
"""Pictures averaged per blurred frame."""
_SIZES = ("640x360", "1280x720", "1920x1080")
_ENCODER = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p")
_PLANES = (1, 0, 2)
"""Channels of BGR as the graph's y, u and v: green, blue and red."""


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        title: for people.
        clip: sharp, mixed, blurred, or video.
        program: opencv, ffmpeg or rtdeblur.
        options: arguments of `rtdeblur.Deblurrer`.
    """

    title: str
    clip: str
    program: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """Result of a row.

    Attributes:
        fps: frames per second of wall time.
        cpu_seconds: processor time per frame, of all threads.
        memory_mib: peak memory of the process; None if the system does not report it.
        tiles: share of the tiles that were restored; None without a gate.
        precision: what ran.
    """

    fps: float
    cpu_seconds: float
    memory_mib: float | None
    tiles: float | None = None
    precision: str = ""


def cases(has_video: bool) -> Iterator[Case]:
    """Yield the rows of a size."""
    clip = "video" if has_video else "blurred"
    yield Case("OpenCV + ONNX Runtime", clip, "opencv", {})
    yield Case("FFmpeg alone", clip, "ffmpeg", {})
    for precision in ("fp32", "bf16", "int8"):
        options = {"precision": precision, "gate": "off", "temporal": "off"}
        yield Case(f"rtdeblur {precision}", clip, "rtdeblur", options)
    for stages, temporal in (("gate", "off"), ("gate, temporal", "on")):
        for name in ("video",) if has_video else ("sharp", "mixed", "blurred"):
            options = {"precision": "auto", "gate": "auto", "temporal": temporal}
            yield Case(f"rtdeblur auto, {stages}", name, "rtdeblur", options)


# Clips


def draw_clips(folder: Path, height: int, width: int) -> None:
    """Write sharp.mp4 (nearly lossless), mixed.mp4 and blurred.mp4."""
    canvas = _canvas(height, width)
    sharp, mixed, blurred = (_encoder(folder / f"{name}.mp4", height, width) for name in _CLIPS)
    for index in range(FRAMES):
        crops = [canvas[y : y + height, x : x + width] for y, x in _path(index, height, width)]
        still = _code(crops[len(crops) // 2])
        smeared = _code(np.mean(crops, axis=0, dtype=np.float32))
        both = still.copy()
        both[:, width * 2 // 3 :] = smeared[:, width * 2 // 3 :]
        for pipe, picture in ((sharp, still), (mixed, both), (blurred, smeared)):
            assert pipe.stdin is not None
            pipe.stdin.write(picture.tobytes())
    for pipe in (sharp, mixed, blurred):
        pipe.communicate()
        if pipe.returncode:
            raise click.ClickException(f"ffmpeg failed with code {pipe.returncode}")


_CLIPS = ("sharp", "mixed", "blurred")


def scale_video(source: Path, target: Path, height: int, width: int) -> None:
    """Take the first seconds of a video at another size, without sound."""
    words = ["-i", str(source), "-an", "-t", "3", "-vf", f"scale={width}:{height}", "-bf", "0", *_ENCODER]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words, str(target)], check=True)


def _path(index: int, height: int, width: int) -> list[tuple[int, int]]:
    """Corners of the camera's view during the exposure of a frame: half of the time between two frames."""
    reach = height // 8
    times = index + np.linspace(0, 0.5, _EXPOSURES)
    angle = times * 2 * np.pi / FRAMES
    y, x = reach * (1 + np.sin(2 * angle)) / 2, 2 * reach * (1 + np.sin(angle)) / 2
    return [(round(a), round(b)) for a, b in zip(y, x, strict=True)]


def _canvas(height: int, width: int) -> NDArray[np.float32]:
    """Draw shapes and letters of many sizes: linear light, larger than a frame by what the camera moves."""
    import cv2

    rng = np.random.default_rng(1)
    margin = height // 8 + 2
    tall, wide = 2 * (height + margin), 2 * (width + 2 * margin)
    picture = np.full((tall, wide, 3), 120, np.uint8)
    for _ in range(600):
        radius = int(height * 0.006 / rng.uniform(0.01, 1) ** 0.7)
        centre = int(rng.integers(wide)), int(rng.integers(tall))
        colour = tuple(int(c) for c in rng.integers(15, 240, 3))
        kind = rng.integers(3)
        if kind == 0:
            cv2.circle(picture, centre, radius, colour, -1, cv2.LINE_AA)
        elif kind == 1:
            corner = centre[0] + 2 * radius, centre[1] + radius
            cv2.rectangle(picture, centre, corner, colour, -1)
        else:
            word = "".join(rng.choice(list("ABCDEFGHKLMNRSTabcdeghknorstu23456789"), 6))
            size = height / 720 * float(rng.uniform(0.8, 3))
            cv2.putText(
                picture,
                word,
                centre,
                cv2.FONT_HERSHEY_SIMPLEX,
                size,
                colour,
                max(1, round(2 * size)),
                cv2.LINE_AA,
            )
    grain = rng.normal(0, 3, picture.shape[:2]).astype(np.float32)[..., None]
    light = (np.clip(picture + grain, 0, 255) / 255) ** 2.2
    halved: NDArray[np.float32] = cv2.resize(
        light.astype(np.float32), (wide // 2, tall // 2), interpolation=cv2.INTER_AREA
    )
    return halved


def _code(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    code: NDArray[np.uint8] = np.rint(255 * light ** (1 / 2.2)).astype(np.uint8)
    return code


def _encoder(path: Path, height: int, width: int) -> subprocess.Popen[bytes]:
    shape = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", "25", "-i", "-"]
    quality = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "10", "-bf", "0", "-pix_fmt", "yuv420p"]
    command = ["ffmpeg", "-v", "error", "-y", *shape, *quality, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def repeat(clip: Path, target: Path, frames: int) -> None:
    """Repeat a clip, without encoding it again, and cut it after a number of frames."""
    words = ["-stream_loop", "-1", "-i", str(clip), "-map", "0:v", "-c", "copy", "-frames:v", str(frames)]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words, str(target)], check=True)


# Rows, each in a process of its own


def run_rtdeblur(case: Case, source: Path, warm_up: Path, target: Path, frames: int) -> Measured:
    """Restore with `rtdeblur.Deblurrer`."""
    from rtdeblur import Deblurrer

    options: dict[str, Any] = {"codec": "libx264", "preset": "veryfast", "crf": 20, "overwrite": True}
    with Deblurrer(DEFAULT_MODEL, **case.options) as deblurrer:
        deblurrer.restore_file(warm_up, target, **options)
        system.reset_peak_memory()
        wall, cpu = time.perf_counter(), time.process_time()
        stats = deblurrer.restore_file(source, target, **options)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        precision = deblurrer.description.split()[1].rstrip(",")
    return Measured(frames / wall, cpu / frames, system.peak_memory_mib(), stats.restored_share, precision)


def run_opencv(source: Path, warm_up: Path, target: Path, frames: int) -> Measured:
    """Decode with OpenCV, restore with ONNX Runtime frame by frame, encode with OpenCV: the usual loop."""
    import cv2
    import onnxruntime

    from rtdeblur.frames import Colour
    from rtdeblur.model import INPUTS, OUTPUTS, Model

    colour = Colour("rgb", full_range=True)
    fixed = (colour.yuv_to_rgb(), colour.rgb_to_yuv(), np.array([255], np.float32))
    session = onnxruntime.InferenceSession(Model.load(DEFAULT_MODEL).onnx, providers=["CPUExecutionProvider"])

    def loop(path: Path) -> None:
        reader = cv2.VideoCapture(str(path))
        size = tuple(int(reader.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), 25, size)
        while True:
            found, picture = reader.read()
            if not found:
                break
            planes = [np.ascontiguousarray(picture[None, None, ..., channel]) for channel in _PLANES]
            restored = session.run(OUTPUTS, dict(zip(INPUTS, (*planes, *fixed), strict=True)))
            for channel, plane in zip(_PLANES, restored, strict=True):
                picture[..., channel] = np.asarray(plane)[0, 0]
            writer.write(picture)
        writer.release()

    loop(warm_up)
    system.reset_peak_memory()
    wall, cpu = time.perf_counter(), time.process_time()
    loop(source)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Measured(frames / wall, cpu / frames, system.peak_memory_mib())


def run_ffmpeg(source: Path, target: Path, frames: int) -> Measured:
    """Decode and encode with the program ffmpeg."""
    import resource  # POSIX only

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = time.perf_counter()
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(source), *_ENCODER, str(target)], check=True)
    wall = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Measured(frames / wall, cpu / frames, after.ru_maxrss / unit)


def run_case(case: Case, folder: Path, frames: int) -> Measured:
    """Run a row in this process, after a short run that is not measured."""
    source, warm_up, target = (folder / name for name in ("source.mp4", "short.mp4", "out.mp4"))
    if case.program == "ffmpeg":
        return run_ffmpeg(source, target, frames)
    if case.program == "opencv":
        return run_opencv(source, warm_up, target, frames)
    return run_rtdeblur(case, source, warm_up, target, frames)


def in_own_process(case: Case, folder: Path, frames: int) -> Measured | str:
    """Run a row in a process of its own; return what it measured, or why it failed."""
    words = [sys.executable, __file__, "--case", json.dumps(asdict(case)), str(folder), str(frames)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"code {done.returncode}"
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def luma_psnr(path: Path, truth: Path) -> float:
    """Return the PSNR of a file's luma against a clip that it repeats, in dB: mean over the frames."""
    from rtdeblur.frames import Frame
    from rtdeblur.media.reader import FileReader
    from rtdeblur.parity import psnr

    with FileReader(truth) as reader:
        sharp = [frame.planes[0] for frame in reader if isinstance(frame, Frame)]
    with FileReader(path) as reader:
        lumas = (frame.planes[0] for frame in reader if isinstance(frame, Frame))
        scores = [psnr(luma, sharp[index % len(sharp)], 255) for index, luma in enumerate(lumas)]
    return float(np.mean(scores))


# The table

_HEADER = """| size | clip | program | fps | CPU-seconds per frame | peak MiB | PSNR, dB | tiles restored |
|---|---|---|---:|---:|---:|---:|---:|"""


def row(size: str, case: Case, found: Measured | str, score: float | None) -> str:
    """Format a row of the table."""
    if isinstance(found, str):
        return f"| {size} | {case.clip} | {case.title} | {found} | | | | |"
    title = case.title.replace("auto", f"auto ({found.precision})")
    cells = [
        size, case.clip, title, f"{found.fps:.1f}", f"{found.cpu_seconds:.3f}",
        f"{found.memory_mib:.0f}" if found.memory_mib else "", f"{score:.2f}" if score else "",
        f"{found.tiles:.0%}" if found.tiles is not None else "",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


@click.command(help=(__doc__ or "").replace("\n\n    ", "\n\n\b\n    "))
@click.option("--video", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your own video.")
@click.option("--size", "sizes", multiple=True, default=_SIZES, show_default=True, help="Sizes to measure.")
@click.option("--frames", type=click.IntRange(1), default=24, show_default=True, help="Frames at 720p.")
def command(video: Path | None, sizes: tuple[str, ...], frames: int) -> None:
    """Print the table."""
    import openvino

    echo = click.echo
    echo(
        f"{system.cpu_name()}, {system.usable_cores()} cores; OpenVINO {openvino.__version__.split('-')[0]}\n"
    )
    echo(_HEADER)
    for size in sizes:
        height, width = parse_size(size)
        count = max(8, round(frames * 1280 * 720 / (height * width)))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if video is None:
                draw_clips(folder, height, width)
            else:
                scale_video(video, folder / "video.mp4", height, width)
            for case in cases(video is not None):
                clip = folder / f"{case.clip}.mp4"
                repeat(clip, folder / "source.mp4", count)
                repeat(clip, folder / "short.mp4", _WARM_UP)
                found = in_own_process(case, folder, count)
                is_scored = video is None and isinstance(found, Measured)
                score = luma_psnr(folder / "out.mp4", folder / "sharp.mp4") if is_scored else None
                echo(row(size, case, found, score))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        given, *rest = sys.argv[2:]
        print(json.dumps(asdict(run_case(Case(**json.loads(given)), Path(rest[0]), int(rest[1])))))
    else:
        command()
