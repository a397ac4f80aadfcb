"""Frames a second of each stage alone and of the whole pipeline, in one run on one machine.

All stages share the cores. No stage can pass the rate at which it ran alone; together they cannot spend more
core-seconds a second than there are cores. So the limit of the whole is

    min( fps of the slowest stage alone,  cores / sum of the core-seconds that each stage spends on a frame )

and the efficiency is the whole's rate over that limit. Compare figures of one run only.
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

from rtdeblur.backends.base import Backend, Pending, PendingDevice
from rtdeblur.cuda.base import DeviceTimes
from rtdeblur.frames import Colour, FrameBatch, Interlude
from rtdeblur.gpu_path import Wanted, connect, open_reader
from rtdeblur.media.writer import FileWriter
from rtdeblur.pipeline import Batch, Pipeline, in_batches, submit

WARM_UP = 2
"""Batches before the clock starts: the first compiles, the second finds all caches warm."""
LEAST_CALLS = 5


@dataclass(frozen=True)
class InferenceTimes:
    """What a backend does with batches that lie in memory, planes in and planes out.

    Attributes:
        calls: batches timed.
        median_ms: of a batch, from its planes to its restored planes, in milliseconds.
        p95_ms: 19 of 20 batches took no longer.
        fps: frames a second, with as many batches in flight as the backend has slots.
        first_seconds: that the first batch took, with all that is done once: compiling, building an engine.
        device: medians by the clock of the device alone; None of a backend that has none.
    """

    calls: int
    median_ms: float
    p95_ms: float
    fps: float
    first_seconds: float
    device: DeviceTimes | None = None


@dataclass(frozen=True)
class Stage:
    """Frames a second of wall time, and core-seconds a frame, of one stage alone or of the whole."""

    fps: float
    core_seconds: float


@dataclass(frozen=True)
class Run:
    """All stages over one file.

    Attributes:
        frames: of the file.
        way: that they went: decoder, encoder, and in whose memory.
        decode: frames to planes, alone.
        inference: alone.
        encode: planes to a file, alone.
        whole: the three at once.
        limit_fps: what the whole cannot pass.
        efficiency: the whole's rate over that.
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
        """Give plain values."""
        return asdict(self)


def noise(batch: int, height: int, width: int) -> FrameBatch:
    """A batch of random 4:2:0 pictures of 8 bits; what they show costs no backend anything."""
    rng = np.random.default_rng(0)
    sizes = (height, width), (-(-height // 2), -(-width // 2)), (-(-height // 2), -(-width // 2))
    y, u, v = (rng.integers(16, 236, (batch, 1, *size), np.uint8) for size in sizes)
    return FrameBatch((y, u, v), tuple(range(batch)), Fraction(1, 30), Colour(), (None,) * batch)


def time_inference(backend: Backend, batch: FrameBatch, seconds: float) -> InferenceTimes:
    """Time a backend on one batch again and again.

    A call gives planes in the host's memory, so it ends after all that it started.

    Args:
        backend: open; warmed up here.
        batch: what to restore.
        seconds: how long each of the two parts lasts at least; and at least LEAST_CALLS calls.
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
    """Time every stage alone, then the whole; the frames are held in memory meanwhile.

    Args:
        video: what to restore.
        backend: open.
        batch_size: frames a batch.
        folder: takes the outputs.
        cores: that the process may use.
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
    """Wall seconds, and processor seconds of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _restored(backend: Backend, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Restore batches as the pipeline does, with all slots in flight."""
    flying: deque[Pending | PendingDevice] = deque()
    for batch in batches:
        flying.append(submit(backend, batch))
        if len(flying) >= backend.slots:
            yield flying.popleft()()
    while flying:
        yield flying.popleft()()


def _encode(writer: FileWriter, items: list[Batch | Interlude]) -> None:
    for item in items:
        writer.write(item)
    writer.commit()
    writer.close()
