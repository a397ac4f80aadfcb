"""Decode, inference and encode, overlapped: three threads and two bounded queues.

    source ──frames──► [decode] ──batches──► [infer] ──batches──► [encode] ──► sink

The inference stage keeps two batches in flight if its backend has the slots, so that copies overlap with
work, and more if frames depend on later ones. A full queue blocks the previous stage, so memory stays
constant however long the video is. A stage that fails sends its exception forward and stops the previous
ones; `run` joins all threads, closes both ends, and raises the exception.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from rtdeblur.backends.base import IN_FLIGHT, Backend, Passing, Pending, PendingDevice, landed
from rtdeblur.device import DeviceBatch, DeviceFrame
from rtdeblur.errors import InterruptedRunError
from rtdeblur.frames import Frame, FrameBatch, Interlude
from rtdeblur.media import FrameSink, FrameSource

QUEUE_BATCHES = 2
_POLL_SECONDS = 0.1
_SILENCE_SECONDS = 1.0
"""How long a stopped run waits for the decoder, which may be blocked on a silent pipe."""

Progress = Callable[[int, float], None]
"""Called from the encode thread with the number of frames done and the seconds of video they span."""


@dataclass(frozen=True)
class PipelineStats:
    """Statistics of a run.

    Attributes:
        frames: number of frames written.
        wall_seconds: duration of the run.
        decode_seconds: busy time of the decode stage, without waiting for queues.
        infer_seconds: busy time of the inference stage.
        encode_seconds: busy time of the encode stage.
        media_seconds: length of video that the frames span.
        unrestored: frames left unchanged because the model's output was broken.
        tiles: tiles that the blur gate judged; 0 without a gate.
        restored_tiles: number of them that were restored, not copied.
        halved: frames for which `--resolution auto` chose half resolution.
    """

    frames: int
    wall_seconds: float
    decode_seconds: float
    infer_seconds: float
    encode_seconds: float
    media_seconds: float
    unrestored: int = 0
    tiles: int = 0
    restored_tiles: int = 0
    halved: int = 0

    @property
    def restored_share(self) -> float | None:
        """Share of the tiles that were restored; None without a gate."""
        return self.restored_tiles / self.tiles if self.tiles else None

    @property
    def fps(self) -> float:
        """Frames per second of wall time."""
        return self.frames / self.wall_seconds if self.wall_seconds else 0.0


class _End:
    """Marks the end of a stream of batches; `error` is the reason if it ended early."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


Batch = FrameBatch | DeviceBatch
_Item = Batch | Interlude | _End


class _StoppedError(Exception):
    """A stage was stopped while waiting."""


class Pipeline:
    """Moves every frame of a source through a backend to a sink, in order.

    Args:
        source: closed by `run`.
        backend: left open for further runs.
        sink: committed by `run` on success, and closed.
        batch_size: frames per batch, fewer at the end, or if size or colour change, or for a first result;
            None for what suits the backend.
        on_progress: called after each batch has been written.
        memory: the backend's memory before the first frame (`Backend.memory`); None at the start of a video.
    """

    def __init__(
        self,
        source: FrameSource,
        backend: Backend,
        sink: FrameSink,
        *,
        batch_size: int | None = 1,
        on_progress: Progress | None = None,
        memory: object = None,
    ) -> None:
        if batch_size is None:
            batch_size = backend.batch
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
        self._source, self._backend, self._sink = source, backend, sink
        self._batch_size, self._on_progress, self._memory = batch_size, on_progress, memory
        self._decoded: queue.Queue[_Item] = queue.Queue(QUEUE_BATCHES)
        self._restored: queue.Queue[_Item] = queue.Queue(QUEUE_BATCHES)
        self._stop = threading.Event()
        self._busy = {"decode": 0.0, "infer": 0.0, "encode": 0.0}
        self._frames, self._media_seconds = 0, 0.0

    def stop(self) -> None:
        """End the run early: nothing is committed, and `run` raises InterruptedRunError. Thread-safe."""
        self._stop.set()

    def close(self) -> None:
        """Close the source and the sink; may be called twice. Does nothing after `run`, which closes both."""
        self._stop.set()
        self._sink.close()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self) -> PipelineStats:
        """Process everything.

        Raises:
            InterruptedRunError: `stop` was called.
            RtdeblurError: a stage failed; raised once all threads have ended.
        """
        backend = self._backend
        began, unrestored = time.perf_counter(), backend.unrestored
        tiles, restored_tiles, halved = backend.tiles, backend.restored_tiles, backend.halved
        backend.begin()
        backend.recall(self._memory)
        decode, infer = (
            threading.Thread(target=self._guard, args=stage, name=f"rtdeblur-{name}", daemon=True)
            for name, stage in (
                ("decode", (self._decode, self._decoded)),
                ("infer", (self._infer, self._restored)),
            )
        )
        try:
            decode.start()
            infer.start()
            self._encode()
            self._sink.commit()
        except _StoppedError:
            raise InterruptedRunError from None
        finally:
            self._stop.set()
            if infer.ident is not None:
                infer.join()
            if decode.ident is not None:  # the system is out of memory for threads
                decode.join(_SILENCE_SECONDS)
            self.close()
        busy = self._busy
        return PipelineStats(
            self._frames,
            time.perf_counter() - began,
            busy["decode"],
            busy["infer"],
            busy["encode"],
            self._media_seconds,
            backend.unrestored - unrestored,
            backend.tiles - tiles,
            backend.restored_tiles - restored_tiles,
            backend.halved - halved,
        )

    def _decode(self) -> None:
        first = 1 if self._backend.starts_with_one else None
        batches = in_batches(iter(self._source), self._batch_size, first)
        while (batch := self._timed("decode", next, batches, None)) is not None:
            self._put(self._decoded, batch)

    def _infer(self) -> None:
        for item in landed(self._backend, self._started(), max(IN_FLIGHT, self._backend.reach + 1)):
            self._put(self._restored, item)

    def _started(self) -> Iterator[Callable[[], Batch | Interlude]]:
        """Start the batches that the sink needs; all others, and interludes, keep their places among them."""
        first, reach = 0, self._backend.reach
        for item in self._batches(self._decoded):
            if isinstance(item, Interlude):
                yield Passing(item, is_urgent=item.is_gap)
                continue
            affected = range(max(0, first - reach), first + len(item) + reach)
            first += len(item)
            # Full batches, as in an uninterrupted run: another batch size may change the arithmetic.
            if any(map(self._sink.needs, affected)):
                yield partial(self._timed, "infer", self._timed("infer", submit, self._backend, item))
                continue
            if isinstance(item, FrameBatch):
                self._timed("infer", self._backend.observe, item)
            yield Passing(item)

    def _encode(self) -> None:
        first_seconds: float | None = None
        for batch in self._batches(self._restored):
            self._timed("encode", self._sink.write, batch)
            if isinstance(batch, Interlude):
                continue
            self._frames += len(batch)
            if first_seconds is None:
                first_seconds = float(batch.pts[0] * batch.time_base)
            self._media_seconds = float(batch.pts[-1] * batch.time_base) - first_seconds
            if self._on_progress:
                self._on_progress(self._frames, self._media_seconds)

    def _guard(self, stage: Callable[[], None], after: queue.Queue[_Item]) -> None:
        """Run a stage in its thread, and report its end or failure to the next queue."""
        end = _End()
        try:
            stage()
        except _StoppedError:
            return
        except BaseException as error:  # must be passed on, since nothing else handles it in a thread
            end = _End(error)
        try:
            self._put(after, end)
        except _StoppedError:
            return

    def _batches(self, before: queue.Queue[_Item]) -> Iterator[Batch | Interlude]:
        while True:
            item = self._get(before)
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                return

    def _get(self, before: queue.Queue[_Item]) -> _Item:
        while not self._stop.is_set():
            with suppress(queue.Empty):
                return before.get(timeout=_POLL_SECONDS)
        raise _StoppedError

    def _put(self, after: queue.Queue[_Item], item: _Item) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                return after.put(item, timeout=_POLL_SECONDS)
        raise _StoppedError

    def _timed(self, stage: str, call: Callable[..., Any], *args: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*args)
        finally:
            self._busy[stage] += time.perf_counter() - began


def submit(backend: Backend, batch: Batch) -> Pending | PendingDevice:
    """Start a batch, in either memory."""
    if isinstance(batch, FrameBatch):
        return backend.submit(batch)
    return backend.submit_device(batch)


def in_batches(
    frames: Iterator[Frame | DeviceFrame | Interlude], size: int, first: int | None = None
) -> Iterator[Batch | Interlude]:
    """Group consecutive frames of one layout into batches of up to `size`; the first one of up to `first`."""
    waiting: list[Frame | DeviceFrame] = []
    most = first or size
    for frame in frames:
        if waiting and (
            isinstance(frame, Interlude)
            or frame.layout != waiting[0].layout
            or frame.time_base != waiting[0].time_base
        ):
            yield _batch_of(waiting)
            waiting, most = [], size
        if isinstance(frame, Interlude):
            yield frame
            continue
        waiting.append(frame)
        if len(waiting) == most:  # now, not at the next frame, which a camera has yet to take
            yield _batch_of(waiting)
            waiting, most = [], size
    if waiting:
        yield _batch_of(waiting)


def _batch_of(frames: list[Frame | DeviceFrame]) -> Batch:
    """Make a batch of frames of one layout, in host or device memory."""
    on_device = [frame for frame in frames if isinstance(frame, DeviceFrame)]
    return (
        DeviceBatch.of(on_device)
        if on_device
        else FrameBatch.stack([f for f in frames if isinstance(f, Frame)])
    )
