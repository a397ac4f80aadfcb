import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fake_media import FakeSink, FakeSource

from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.errors import InterruptedRunError, OutputError
from rtdeblur.frames import FrameBatch, Interlude
from rtdeblur.pipeline import QUEUE_BATCHES, Pipeline
from rtdeblur.strength import StrengthBackend


class Slow(IdentityBackend):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def infer(self, batch: FrameBatch) -> FrameBatch:
        time.sleep(self.seconds)
        return replace(batch, planes=tuple(p + np.uint8(1) for p in batch.planes))  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_every_frame_is_written_once_in_order_with_its_time(batch_size: int) -> None:
    source, sink = FakeSource(30), FakeSink()
    stats = Pipeline(source, Slow(0), sink, batch_size=batch_size).run()
    assert sink.carriers == list(range(30))
    assert [p for b in sink.batches for p in b.pts] == [3 * i for i in range(30)]
    assert [int(y) for b in sink.batches for y in b.planes[0][:, 0, 0, 0]] == list(range(1, 31))
    assert sink.committed
    assert sink.closed
    assert source.closed
    assert stats.frames == 30
    assert stats.media_seconds == pytest.approx(29 * 3 / 75)


def test_frames_finished_by_an_earlier_run_are_not_restored_again() -> None:
    sink = FakeSink(finished=range(4, 14))
    Pipeline(FakeSource(20), Slow(0), sink, batch_size=4).run()
    values = [int(y) for b in sink.batches for y in b.planes[0][:, 0, 0, 0]]
    # Batches stay as they were in that run: the one that is partly needed is restored whole.
    assert [value - index for index, value in enumerate(values)] == [1] * 4 + [0] * 8 + [1] * 8


def test_a_change_of_size_ends_a_batch() -> None:
    sink = FakeSink()
    Pipeline(FakeSource(10, wide_from=6), IdentityBackend(), sink, batch_size=4).run()
    assert [len(b) for b in sink.batches] == [4, 2, 4]


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_first_frame_does_not_wait_for_a_batch_if_the_backend_can_do_without(wrapped: bool) -> None:
    backend, sink = IdentityBackend(), FakeSink()
    backend.starts_with_one = True
    Pipeline(FakeSource(10), StrengthBackend(backend) if wrapped else backend, sink, batch_size=4).run()
    assert [len(b) for b in sink.batches] == [1, 4, 4, 1]


def test_an_interlude_keeps_its_place_between_frames() -> None:
    sink = FakeSink()
    stats = Pipeline(FakeSource(10, interludes=(4,)), Slow(0), sink, batch_size=4).run()
    given = [b.carrier if isinstance(b, Interlude) else list(b.carriers) for b in sink.batches]
    assert given == [[0, 1, 2, 3], [4], "sound", [5, 6, 7, 8], [9]]
    assert stats.frames == 10


def test_a_slow_sink_holds_the_source_back() -> None:
    source, sink = FakeSource(60), FakeSink(seconds=0.01)
    ahead: list[int] = []
    Pipeline(
        source, IdentityBackend(), sink, on_progress=lambda done, _: ahead.append(source.read - done)
    ).run()
    # Two queues, and a batch in the hands of each of the three stages.
    assert max(ahead) <= 2 * QUEUE_BATCHES + 3


def test_stages_overlap() -> None:
    began = time.perf_counter()
    stats = Pipeline(FakeSource(30, seconds=0.01), Slow(0.01), FakeSink(seconds=0.01)).run()
    wall = time.perf_counter() - began
    total = stats.decode_seconds + stats.infer_seconds + stats.encode_seconds
    # One after the other the stages take `total`, overlapped a third; sleeping needs no core, so load hardly
    # matters.
    assert wall < 0.7 * total


@pytest.mark.parametrize(
    ("source", "sink", "error", "message"),
    [
        (FakeSource(9, fail_at=5), FakeSink(), ValueError, "decode broke"),
        (FakeSource(99), FakeSink(fail_at=3), OutputError, "disk full"),
    ],
)
def test_a_failed_stage_ends_the_run(
    source: FakeSource, sink: FakeSink, error: type[Exception], message: str
) -> None:
    before = threading.active_count()
    with pytest.raises(error, match=message):
        Pipeline(source, IdentityBackend(), sink).run()
    assert not sink.committed
    assert sink.closed
    assert source.closed
    assert threading.active_count() == before


@pytest.mark.parametrize(("slots", "in_flight"), [(1, 1), (2, 2), (4, 2)])
def test_two_batches_are_in_flight_if_the_backend_has_the_slots(slots: int, in_flight: int) -> None:
    class Deep(IdentityBackend):
        flying = most = 0

        def submit(self, batch: FrameBatch) -> Callable[[], FrameBatch]:
            self.flying += 1
            self.most = max(self.most, self.flying)
            return partial(self.land, batch)

        def land(self, batch: FrameBatch) -> FrameBatch:
            self.flying -= 1
            return batch

    backend, sink = Deep(), FakeSink()
    backend.slots = slots
    Pipeline(FakeSource(10), backend, sink).run()
    assert sink.carriers == list(range(10))
    assert (backend.flying, backend.most) == (0, in_flight)


def test_a_failed_backend_ends_the_run() -> None:
    class Broken(IdentityBackend):
        def infer(self, batch: FrameBatch) -> FrameBatch:
            raise RuntimeError("enqueue failed")

    sink = FakeSink()
    with pytest.raises(RuntimeError, match="enqueue failed"):
        Pipeline(FakeSource(99), Broken(), sink).run()
    assert not sink.committed


def test_stop_discards_everything() -> None:
    source, sink = FakeSource(10**6), FakeSink()
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
        Pipeline(FakeSource(1), IdentityBackend(), FakeSink(), batch_size=0)
