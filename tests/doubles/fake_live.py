"""Fakes for live sessions: a clock, sources, a backend, a sink and a display."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

import numpy as np

from rtdeblur.errors import OutputError
from rtdeblur.frames import Colour, Frame, FrameBatch
from rtdeblur.live.displays import Command, LivePicture, LiveStatus


class FakeClock:
    """A clock that a test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def picture(index: int = 0, height: int = 32, width: int = 48, value: int = 100) -> Frame:
    """A flat 4:2:0 frame, one thirtieth of a second after its predecessor."""
    y = np.full((height, width), value, np.uint8)
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return Frame((y, chroma, chroma), index, Fraction(1, 30), Colour())


def flat(level: int, size: tuple[int, int] = (36, 64)) -> Frame:
    """A gray frame of full range, so that a screen shows its level."""
    chroma = np.full((1, 1), 128, np.uint8)
    y = np.full(size, level, np.uint8)
    return Frame((y, chroma, chroma), 0, Fraction(1, 30), Colour(full_range=True))


class FakeSource:
    """Source that returns given frames at a pace, and raises the exceptions among them.

    Attributes:
        read_count: frames read so far.
        closed: True once released.
    """

    def __init__(
        self, items: Iterable[Frame | Exception], *, finite: bool = False, pace: float = 0.002
    ) -> None:
        self._items: Iterator[Frame | Exception] = iter(items)
        self.finite, self._pace, self.read_count, self.closed = finite, pace, 0, False
        self.damaged = 0

    def read(self) -> Frame | None:
        time.sleep(self._pace)
        item = next(self._items, None)
        if isinstance(item, Exception):
            raise item
        self.read_count += 1
        return item

    def close(self) -> None:
        self.closed = True


class EndlessSource:
    """Source of 200 frames per second that never ends."""

    finite, damaged = False, 0

    def __init__(self) -> None:
        self.closed, self.count = False, 0

    def read(self) -> Frame:
        time.sleep(0.005)
        self.count += 1
        return picture(self.count)

    def close(self) -> None:
        self.closed = True


class FakeBackend:
    """Adds 1 to every luma sample, unless it is `broken`.

    Takes `seconds` per frame, and raises `error` if set.
    """

    name = description = "fake"

    def __init__(self, seconds: Callable[[tuple[int, ...]], float] = lambda shape: 0.0) -> None:
        self.seconds, self.closed = seconds, False
        self.error: Exception | None = None
        self.unrestored, self.broken = 0, False
        self.sizes: list[tuple[int, ...]] = []
        self.sleep: Callable[[float], None] = time.sleep

    def infer(self, batch: FrameBatch) -> FrameBatch:
        if self.error is not None:
            raise self.error
        y, u, v = batch.planes
        self.sizes.append(y.shape[2:])
        self.sleep(self.seconds(y.shape[2:]))
        if self.broken:
            self.unrestored += 1
            return batch
        return replace(batch, planes=(y + np.uint8(1), u, v))

    def close(self) -> None:
        self.closed = True


class RecordingDisplay:
    """Records what it is shown, and takes `seconds` for it.

    Args:
        keys: commands by the number of pictures that were shown, given once each.
        script: commands of each call. A session also calls without a new picture.
    """

    def __init__(
        self,
        keys: Mapping[int, list[Command]] = MappingProxyType({}),
        *,
        script: Callable[[int, LiveStatus], list[Command]] = lambda shown, status: [],
        seconds: float = 0.0,
    ) -> None:
        self.pictures: list[LivePicture] = []
        self.statuses: list[LiveStatus] = []
        self.threads: set[str] = set()
        self.closed, self._seconds = False, seconds
        self._keys, self._script = dict(keys), script

    def show(self, picture: LivePicture | None, status: LiveStatus) -> list[Command]:
        self.threads.add(threading.current_thread().name)
        self.statuses.append(status)
        if picture is not None:
            self.pictures.append(picture)
        time.sleep(self._seconds)
        shown = len(self.pictures)
        return self._keys.pop(shown, []) + self._script(shown, status)

    def close(self) -> None:
        self.closed = True


class FakeSink:
    """Sink that keeps the times of its frames.

    Args:
        gate: every write waits for it.
        fail_at: numbers of the writes (from 1) that fail.
    """

    def __init__(self, gate: threading.Event | None = None, fail_at: Container[int] = ()) -> None:
        self.gate, self.fail_at = gate, fail_at
        self.seconds: list[float] = []
        self.writes = self.opened = self.closed = 0
        self.rate = 0.0
        self.problem = "cannot write: Broken pipe"

    def open(self, frame: Frame, rate: float) -> FakeSink:
        """An `OpenSink` that returns this sink."""
        self.opened += 1
        self.rate = rate
        return self

    def write(self, frame: Frame, seconds: float) -> None:
        if self.gate is not None:
            assert self.gate.wait(10)
        self.writes += 1
        if self.writes in self.fail_at:
            raise OutputError(self.problem)
        self.seconds.append(seconds)

    def close(self) -> None:
        self.closed += 1


class Said:
    """Collects the lines that a session logs."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, *words: str) -> None:
        self.lines.append(": ".join(words))
