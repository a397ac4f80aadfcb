"""Fakes of a frame source and a sink, which pass the contract suites of `tests/media`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from rtdeblur.errors import OutputError
from rtdeblur.frames import Colour, Frame, FrameBatch, Interlude, VideoInfo


class FakeSource:
    """Source of small frames, each carrying its index.

    Args:
        count: number of frames.
        fail_at: index of the frame in whose place decoding fails.
        seconds: time to decode each.
        wide_from: index of the first frame that is two columns wider.
        interludes: indices of frames that an interlude follows; its carrier is 'sound'.

    Attributes:
        read: frames given so far.
        closed: True once released.
    """

    def __init__(
        self,
        count: int,
        *,
        fail_at: int | None = None,
        seconds: float = 0.0,
        wide_from: int = 10**9,
        interludes: tuple[int, ...] = (),
    ) -> None:
        self.count, self.fail_at, self.seconds = count, fail_at, seconds
        self.wide_from, self.interludes = wide_from, interludes
        self.read, self.closed, self._begun = 0, False, False
        self.info = VideoInfo(4, 6, "yuv420p", Fraction(25), count / 25, count)

    def __iter__(self) -> Iterator[Frame | Interlude]:
        if self._begun:
            return
        self._begun = True
        for i in range(self.count):
            if self.closed:
                return
            if i == self.fail_at:
                raise ValueError("decode broke")
            time.sleep(self.seconds)
            chroma = np.zeros((2, 3), np.uint8)
            y = np.full((4, 8 if i >= self.wide_from else 6), i % 256, np.uint8)
            self.read += 1
            yield Frame((y, chroma, chroma), i * 3, Fraction(1, 75), Colour(), i)
            if i in self.interludes:
                yield Interlude("sound")

    def close(self) -> None:
        self.closed = True


class FakeSink:
    """Sink that records what it is given.

    Args:
        fail_at: number of the write that fails.
        seconds: time that a write takes.
        finished: indices of frames that an earlier run finished.

    Attributes:
        batches: what was written, in order.
        committed: True once the output is whole.
        closed: True once released.
    """

    def __init__(
        self, *, fail_at: int | None = None, seconds: float = 0.0, finished: range = range(0)
    ) -> None:
        self.fail_at, self.seconds, self.finished = fail_at, seconds, finished
        self.batches: list[FrameBatch | Interlude] = []
        self.committed = self.closed = False
        self._lock = threading.Lock()

    def needs(self, index: int) -> bool:
        return index not in self.finished

    def write(self, batch: FrameBatch | Interlude) -> None:
        with self._lock:
            self._check()
            if len(self.batches) == self.fail_at:
                raise OutputError("disk full")
            time.sleep(self.seconds)
            self.batches.append(batch)

    def commit(self) -> None:
        with self._lock:
            self._check()
            self.committed = True

    def close(self) -> None:
        self.closed = True

    @property
    def carriers(self) -> list[Any]:
        """Carriers of the frames."""
        return [carrier for batch in self.batches for carrier in batch.carriers]

    def _check(self) -> None:
        if self.closed or self.committed:
            raise OutputError("the sink has already been closed")
