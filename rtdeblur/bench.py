"""Frame rates of each stage alone and of the whole pipeline, in one run on one machine.

All stages share the cores. No stage can exceed its rate when running alone, and together they cannot use more
core-seconds per second than there are cores. So the limit of the whole pipeline is

    min( fps of the slowest stage alone,  cores / sum over the stages of core-seconds per frame )

and the efficiency is the pipeline's rate divided by that limit. Compare only figures of the same run.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, astuple, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from rtdeblur.backends.base import Backend, landed
from rtdeblur.cuda.base import DeviceTimes
from rtdeblur.frames import Colour, FrameBatch, Interlude
from rtdeblur.gpu_path import Wanted, connect, open_reader
from rtdeblur.media.writer import FileWriter
from rtdeblur.pipeline import Batch, Pipeline, in_batches, submit

WARM_UP = 2
"""Warm-up batches: the first one compiles, the second fills the caches."""
LEAST_CALLS = 5


@dataclass(frozen=True)
class InferenceTimes:
    """Speed of a backend on batches in memory.

    Attributes:
        calls: batches timed.
        median_ms: median time per batch, from planes to restored planes, in milliseconds.
        p95_ms: 95th percentile.
        fps: frames per second, with two batches in flight if the backend has the slots.
        first_seconds: time of the first batch, including one-time work such as compiling or building an
            engine.
        device: medians by the device's clock; None if the backend has no such clock.
    """

    calls: int
    median_ms: float
    p95_ms: float
    fps: float
    first_seconds: float
    device: DeviceTimes | None = None


@dataclass(frozen=True)
class Stage:
    """Frames per second of wall time and core-seconds per frame, of one stage or of the whole pipeline."""

    fps: float
    core_seconds: float


@dataclass(frozen=True)
class Run:
    """Rates of all stages for one file.

    Attributes:
        frames: number of frames.
        way: path of the frames: decoder, encoder, and memory.
        decode: decoding only.
        inference: inference only.
        encode: encoding only.
        whole: all three at once.
        limit_fps: upper limit for `whole`.
        efficiency: rate of `whole` divided by the limit.
    """

    frames: int
    way: str
    decode: Stage
    inference: Stage
    encode: Stage
    whole: Stage
    limit_fps: float
    efficiency: float

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def noise(batch: int, height: int, width: int) -> FrameBatch:
    """Make a batch of random 8-bit 4:2:0 pictures; the content does not affect the speed."""
    rng = np.random.default_rng(0)
    sizes = (height, width), (-(-height // 2), -(-width // 2)), (-(-height // 2), -(-width // 2))
    y, u, v = (rng.integers(16, 236, (batch, 1, *size), np.uint8) for size in sizes)
    return FrameBatch((y, u, v), tuple(range(batch)), Fraction(1, 30), Colour(), (None,) * batch)


def time_inference(backend: Backend, batch: FrameBatch, seconds: float) -> InferenceTimes:
    """Time a backend on the same batch repeatedly.

    A call returns planes in host memory, so it ends only when the device has finished.

    Args:
        backend: an open backend; warmed up here.
        batch: the batch.
        seconds: least duration of each of the two parts, which also make at least LEAST_CALLS calls.
    """

    def call() -> float:
        began = time.perf_counter()
        backend.infer(batch)
        return time.perf_counter() - began

    first_seconds = call()
    for _ in range(WARM_UP - 1):
        call()
    times: list[float] = []
    on_device: list[DeviceTimes] = []
    while sum(times) < seconds or len(times) < LEAST_CALLS:
        times.append(call())
        on_device += filter(None, [backend.device_times])
    fps = len(batch) * len(times) / sum(times)
    if backend.slots > 1:
        began = time.perf_counter()
        done = sum(map(len, _restored(backend, itertools.repeat(batch, len(times)))))
        fps = done / (time.perf_counter() - began)
    median, p95 = (float(np.percentile(times, share)) * 1000 for share in (50, 95))
    device = None
    if on_device:
        device = DeviceTimes(*np.median([*map(astuple, on_device)], axis=0).tolist())
    return InferenceTimes(len(times), median, p95, fps, first_seconds, device)


def time_pipeline(
    video: Path, backend: Backend, batch_size: int, folder: Path, cores: int, wanted: Wanted | None = None
) -> Run:
    """Time every stage alone, then the whole pipeline; keeps the frames in memory.

    Args:
        video: the video.
        backend: an open backend.
        batch_size: frames per batch.
        folder: folder for the outputs.
        cores: number of cores that the process may use.
        wanted: decoder and codec; by default auto.
    """
    wanted = wanted or Wanted(backend=backend.name)
    reader, obstacle = open_reader(video, wanted)
    sink = FileWriter(reader, folder / "encode.mp4", codec=wanted.codec, overwrite=True)
    way = str(connect(reader, backend, sink, obstacle))
    kept: list[Batch | Interlude] = []
    decode = _measure(lambda: kept.extend(in_batches(iter(reader), batch_size)))
    batches = [item for item in kept if not isinstance(item, Interlude)]
    frames = sum(map(len, batches))
    for batch in {len(batch): batch for batch in batches}.values():  # compile each shape
        submit(backend, batch)()
    inference = _measure(lambda: deque(_restored(backend, batches), maxlen=0))
    encode = _measure(lambda: _encode(sink, kept))
    kept.clear()
    batches.clear()
    reader.close()
    source, obstacle = open_reader(video, wanted)
    sink = FileWriter(source, folder / "whole.mp4", codec=wanted.codec, overwrite=True)
    connect(source, backend, sink, obstacle)
    whole = _measure(Pipeline(source, backend, sink, batch_size=batch_size).run)
    alone = [Stage(frames / wall, cpu / frames) for wall, cpu in (decode, inference, encode)]
    together = Stage(frames / whole[0], whole[1] / frames)
    limit = min(*(s.fps for s in alone), cores / max(1e-9, sum(s.core_seconds for s in alone)))
    return Run(frames, way, alone[0], alone[1], alone[2], together, limit, together.fps / limit)


def _measure(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall seconds, and CPU seconds of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _restored(backend: Backend, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Restore batches like the pipeline, with as many in flight."""
    return landed(backend, (submit(backend, batch) for batch in batches))


def _encode(writer: FileWriter, items: list[Batch | Interlude]) -> None:
    for item in items:
        writer.write(item)
    writer.commit()
    writer.close()
