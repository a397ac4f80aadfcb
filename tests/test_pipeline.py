import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.errors import InterruptedRunError, OutputError
from rtdeblur.frames import Colour, Frame, FrameBatch, Interlude, VideoInfo
from rtdeblur.pipeline import QUEUE_BATCHES, Pipeline


class Source:
    """`count` frames of rising pts; notes how far it was read and that it was closed."""

    def __init__(
        self, count: int, *, fail_at: int | None = None, seconds: float = 0.0, wide_from: int = 10**9
    ) -> None:
        self.count, self.fail_at, self.seconds, self.wide_from = count, fail_at, seconds, wide_from
        self.read, self.closed = 0, False
        self.info = VideoInfo(4, 6, "yuv420p", Fraction(25), None, None)

    def __iter__(self) -> Iterator[Frame]:
        for i in range(self.count):
            if i == self.fail_at:
                raise ValueError("decode broke")
            time.sleep(self.seconds)
            chroma = np.zeros((2, 3), np.uint8)
            y = np.full((4, 8 if i >= self.wide_from else 6), i % 256, np.uint8)
            self.read += 1
            yield Frame((y, chroma, chroma), i * 3, Fraction(1, 75), Colour(), i)

    def close(self) -> None:
        self.closed = True


class Sink:
    """Keeps what it is given."""

    def __init__(
        self, *, fail_at: int | None = None, seconds: float = 0.0, finished: range = range(0)
    ) -> None:
        self.fail_at, self.seconds, self.finished = fail_at, seconds, finished
        self.batches: list[FrameBatch | Interlude] = []
        self.committed = self.closed = False

    def needs(self, index: int) -> bool:
        return index not in self.finished

    def write(self, batch: FrameBatch | Interlude) -> None:
        if len(self.batches) == self.fail_at:
            raise OutputError("disk full")
        time.sleep(self.seconds)
        self.batches.append(batch)

    def commit(self) -> None:
        self.committed = True

    def close(self) -> None:
        self.closed = True

    @property
    def carriers(self) -> list[int]:
        return [c for batch in self.batches for c in batch.carriers]


class Slow(IdentityBackend):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def infer(self, batch: FrameBatch) -> FrameBatch:
        time.sleep(self.seconds)
        return replace(batch, planes=tuple(p + np.uint8(1) for p in batch.planes))  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_every_frame_once_in_order_with_its_time(batch_size: int) -> None:
    source, sink = Source(30), Sink()
    stats = Pipeline(source, Slow(0), sink, batch_size=batch_size).run()
    assert sink.carriers == list(range(30))
    assert [p for b in sink.batches for p in b.pts] == [3 * i for i in range(30)]
    assert [int(y) for b in sink.batches for y in b.planes[0][:, 0, 0, 0]] == list(range(1, 31))
    assert sink.committed
    assert sink.closed
    assert source.closed
    assert stats.frames == 30
    assert stats.media_seconds == pytest.approx(29 * 3 / 75)


def test_what_an_earlier_run_finished_is_not_restored_again() -> None:
    sink = Sink(finished=range(4, 14))
    Pipeline(Source(20), Slow(0), sink, batch_size=4).run()
    values = [int(y) for b in sink.batches for y in b.planes[0][:, 0, 0, 0]]
    # Batches stay as they were in that run: the one that is partly needed is restored whole.
    assert [value - index for index, value in enumerate(values)] == [1] * 4 + [0] * 8 + [1] * 8


def test_a_change_of_size_ends_a_batch() -> None:
    sink = Sink()
    Pipeline(Source(10, wide_from=6), IdentityBackend(), sink, batch_size=4).run()
    assert [len(b) for b in sink.batches] == [4, 2, 4]


def test_an_interlude_keeps_its_place() -> None:
    class Gap(Source):
        def __iter__(self) -> Iterator[Frame | Interlude]:
            for frame in super().__iter__():
                yield frame
                if frame.carrier == 4:
                    yield Interlude("sound")

    sink = Sink()
    stats = Pipeline(Gap(10), Slow(0), sink, batch_size=4).run()
    given = [b.carrier if isinstance(b, Interlude) else list(b.carriers) for b in sink.batches]
    assert given == [[0, 1, 2, 3], [4], "sound", [5, 6, 7, 8], [9]]
    assert stats.frames == 10


def test_a_slow_sink_holds_the_source_back() -> None:
    source, sink = Source(60), Sink(seconds=0.01)
    ahead: list[int] = []
    Pipeline(
        source, IdentityBackend(), sink, on_progress=lambda done, _: ahead.append(source.read - done)
    ).run()
    # Two queues, and a batch in the hands of each of the three stages.
    assert max(ahead) <= 2 * QUEUE_BATCHES + 3


def test_stages_overlap() -> None:
    began = time.perf_counter()
    stats = Pipeline(Source(30, seconds=0.01), Slow(0.01), Sink(seconds=0.01)).run()
    wall = time.perf_counter() - began
    total = stats.decode_seconds + stats.infer_seconds + stats.encode_seconds
    # Alone the stages take `total`, overlapped a third of it; sleeping needs no core, so load hardly matters.
    assert wall < 0.7 * total


@pytest.mark.parametrize(
    ("source", "sink", "error", "message"),
    [
        (Source(9, fail_at=5), Sink(), ValueError, "decode broke"),
        (Source(99), Sink(fail_at=3), OutputError, "disk full"),
    ],
)
def test_a_failed_stage_ends_the_run(
    source: Source, sink: Sink, error: type[Exception], message: str
) -> None:
    before = threading.active_count()
    with pytest.raises(error, match=message):
        Pipeline(source, IdentityBackend(), sink).run()
    assert not sink.committed
    assert sink.closed
    assert source.closed
    assert threading.active_count() == before


def test_batches_in_flight_are_as_many_as_the_backend_s_slots() -> None:
    class Deep(IdentityBackend):
        slots = 3
        flying = most = 0

        def submit(self, batch: FrameBatch) -> Callable[[], FrameBatch]:
            self.flying += 1
            self.most = max(self.most, self.flying)
            return partial(self.land, batch)

        def land(self, batch: FrameBatch) -> FrameBatch:
            self.flying -= 1
            return batch

    backend, sink = Deep(), Sink()
    Pipeline(Source(10), backend, sink).run()
    assert sink.carriers == list(range(10))
    assert (backend.flying, backend.most) == (0, 3)


def test_a_failed_backend_ends_the_run() -> None:
    class Broken(IdentityBackend):
        def infer(self, batch: FrameBatch) -> FrameBatch:
            raise RuntimeError("enqueue failed")

    sink = Sink()
    with pytest.raises(RuntimeError, match="enqueue failed"):
        Pipeline(Source(99), Broken(), sink).run()
    assert not sink.committed


def test_stop_discards_everything() -> None:
    source, sink = Source(10**6), Sink()
    pipeline = Pipeline(
        source, IdentityBackend(), sink, on_progress=lambda done, _: done == 5 and pipeline.stop()
    )
    with pytest.raises(InterruptedRunError):
        pipeline.run()
    assert not sink.committed
    assert sink.closed
    assert source.closed


def test_batch_size_is_checked() -> None:
    with pytest.raises(ValueError, match="batch_size is 0"):
        Pipeline(Source(1), IdentityBackend(), Sink(), batch_size=0)
