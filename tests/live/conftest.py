"""Sources, displays and backends that do what a test says, and a clock that a test turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from rtdeblur.errors import InputError
from rtdeblur.frames import Colour, Frame, FrameBatch
from rtdeblur.live.displays import Command, LivePicture, LiveStatus


class FakeClock:
    """Time that passes when told."""

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


class FakeSource:
    """Gives frames at a pace; an exception among them is raised.

    Counts what was read; `closed` tells that it was released.
    """

    def __init__(self, items: list[Frame | Exception], *, finite: bool = False, pace: float = 0.002) -> None:
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


class FakeBackend:
    """Adds one to every luma sample; takes the time it is told, fails when it is told."""

    name = description = "fake"

    def __init__(self, seconds: Callable[[tuple[int, ...]], float] = lambda shape: 0.0) -> None:
        self.seconds, self.closed = seconds, False
        self.error: Exception | None = None
        self.sizes: list[tuple[int, ...]] = []
        self.sleep: Callable[[float], None] = time.sleep

    def infer(self, batch: FrameBatch) -> FrameBatch:
        if self.error is not None:
            raise self.error
        y, u, v = batch.planes
        self.sizes.append(y.shape[2:])
        self.sleep(self.seconds(y.shape[2:]))
        return replace(batch, planes=(y + np.uint8(1), u, v))

    def close(self) -> None:
        self.closed = True


class RecordingDisplay:
    """Keeps what it is shown; `script` gives the commands of each call."""

    def __init__(
        self,
        script: Callable[[int, LiveStatus], list[Command]] = lambda shown, status: [],
        seconds: float = 0.0,
    ) -> None:
        self.pictures: list[LivePicture] = []
        self.statuses: list[LiveStatus] = []
        self.threads: set[str] = set()
        self.closed, self._script, self._seconds = False, script, seconds

    def show(self, picture: LivePicture | None, status: LiveStatus) -> list[Command]:
        self.threads.add(threading.current_thread().name)
        self.statuses.append(status)
        if picture is not None:
            self.pictures.append(picture)
        time.sleep(self._seconds)
        return self._script(len(self.pictures), status)

    def close(self) -> None:
        self.closed = True


class Said:
    """Keeps what a session says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, *words: str) -> None:
        self.lines.append(": ".join(words))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def fake() -> SimpleNamespace:
    """The doubles by name."""
    return SimpleNamespace(
        picture=picture, source=FakeSource, backend=FakeBackend, display=RecordingDisplay, lost=InputError
    )


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 10
    while left := [t.name for t in threading.enumerate() if t.name.startswith("rtdeblur-")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
