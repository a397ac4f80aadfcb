from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from train.data import pool as pool_module
from train.data.pairs import DataOptions, TrainingPairs
from train.data.pool import ExamplePool, Place, PoolOptions, free_memory
from train.errors import ConfigError, DataError

SMALL = PoolOptions(capacity=6, replays=2)


@pytest.fixture
def pairs(make_pairs: Callable[..., Path]) -> TrainingPairs:
    return TrainingPairs(DataOptions(pairs=(str(make_pairs()),), real=0.5), 32, seed=3)


def held(pool: ExamplePool, pairs: TrainingPairs, first: int, every: int = 1, start: int = 0) -> bool:
    """Whether the pool holds just the examples `first`, `first + 1` … of its process, each in its slot."""
    for mine in range(first, first + pool.capacity):
        wanted = pairs.codes(mine * every + start)
        if not torch.equal(pool._ring[mine % pool.capacity], wanted):
            return False
    return True


def test_the_pool_holds_the_last_examples_and_takes_new_ones_by_its_turnover(pairs: TrainingPairs) -> None:
    pool = ExamplePool(pairs, SMALL, batch=4)
    pool.fill()
    assert held(pool, pairs, 0)
    for step in range(7):
        pool.draw(step)
        assert pool.made == 6 + step * 4 // 2
        assert held(pool, pairs, step * 4 // 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_pool_draws_the_same_batches(workers: int, pairs: TrainingPairs) -> None:
    with ExamplePool(pairs, SMALL, 3, workers=workers) as straight:
        batches = [straight.draw(step) for step in range(8)]
    with ExamplePool(pairs, SMALL, 3, first=5, workers=workers) as resumed:
        resumed.fill()
        assert resumed.made == straight.due(5)
        for step in (5, 6, 7):
            for wanted, got in zip(batches[step], resumed.draw(step), strict=True):
                assert torch.equal(wanted, got)


@pytest.mark.needs_posix
def test_workers_outlast_a_sigterm_sent_to_the_whole_job(pairs: TrainingPairs) -> None:
    with ExamplePool(pairs, SMALL, 4, workers=2) as pool:
        pool.fill()
        workers = multiprocessing.active_children()
        assert len(workers) == 2
        for worker in workers:
            assert worker.pid
            os.kill(worker.pid, signal.SIGTERM)
        for step in range(40):  # more than were made ahead
            pool.draw(step)
    for worker in workers:
        worker.join(10)
        assert worker.exitcode == 0


def test_a_batch_is_examples_of_the_pool_in_one_symmetry(pairs: TrainingPairs) -> None:
    pool = ExamplePool(pairs, SMALL, batch=4)
    seen, drawn = set(), set()
    for step in range(24):
        blurred, sharp = pool.draw(step)
        assert blurred.shape == sharp.shape == (4, 3, 32, 32)
        assert blurred.dtype == sharp.dtype == torch.float32
        assert -1 <= float(blurred.min()) <= float(blurred.max()) <= 1
        codes = ((torch.stack([blurred, sharp], 1) + 1) * 127.5).round().byte()
        found = [symmetry_of(example, pool._ring) for example in codes]
        assert len({symmetry for _, symmetry in found}) == 1
        seen.add(found[0][1])
        drawn |= {slot for slot, _ in found}
    assert len(seen) == 8  # chance misses one in 24 draws with 8 × (7/8)²⁴, but the seed is fixed
    assert drawn == set(range(6))


def symmetry_of(example: Tensor, ring: Tensor) -> tuple[int, tuple[int, bool]]:
    for mirror in (False, True):
        for turns in range(4):
            changed = torch.rot90(ring.flip(-1) if mirror else ring, turns, (-2, -1))
            for slot, candidate in enumerate(changed):
                if torch.equal(example, candidate):
                    return slot, (turns, mirror)
    raise AssertionError("no example of the pool looks like this")


def test_processes_share_the_examples_and_draw_apart(pairs: TrainingPairs) -> None:
    pools = [ExamplePool(pairs, SMALL, 2, place=Place(rank, 2)) for rank in (0, 1)]
    for rank, pool in enumerate(pools):
        pool.fill()
        assert pool.capacity == 3  # the options' is of all processes together
        assert held(pool, pairs, 0, every=2, start=rank)
    first, second = (pool.draw(0)[0] for pool in pools)
    assert not torch.equal(first, second)


def test_batches_come_in_the_memory_layout_of_the_run(pairs: TrainingPairs) -> None:
    plain = ExamplePool(pairs, SMALL, 4)
    last = ExamplePool(pairs, SMALL, 4, place=Place(layout=torch.channels_last))
    for a, b in zip(plain.draw(0), last.draw(0), strict=True):
        assert torch.equal(a, b)
        assert a.is_contiguous()
        assert b.is_contiguous(memory_format=torch.channels_last)


def test_waiting_for_late_examples_is_counted(pairs: TrainingPairs, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    whole = TrainingPairs.codes

    def slow(self: TrainingPairs, index: int) -> Tensor:
        nonlocal clock
        clock += 1
        return whole(self, index)

    monkeypatch.setattr(TrainingPairs, "codes", slow)
    monkeypatch.setattr("train.data.pool.time.perf_counter", lambda: clock)
    pool = ExamplePool(pairs, SMALL, 4)
    pool.fill()
    assert pool.waited == 0  # before training starts
    pool.draw(0)
    assert pool.waited == 0
    pool.draw(3)
    assert pool.waited == 6


def test_filling_shows_its_progress(pairs: TrainingPairs) -> None:
    seen: list[tuple[int, int]] = []
    ExamplePool(pairs, PoolOptions(capacity=40), 4).fill(
        lambda count, capacity: seen.append((count, capacity))
    )
    assert seen == [(32, 40), (40, 40)]


def test_a_pool_that_does_not_fit_is_one_line(pairs: TrainingPairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "free_memory", lambda device: 2**20)
    with pytest.raises(ConfigError) as caught:
        ExamplePool(pairs, PoolOptions(capacity=500), 4)
    assert str(caught.value) == (
        "a pool of 500 examples of 32×32 needs 2.9 MiB on cpu, where 1.0 MiB are free; try pool.capacity = 85"
    )
    ExamplePool(pairs, PoolOptions(capacity=85), 4)


def test_free_memory_is_reported() -> None:
    free = free_memory(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**45


@pytest.mark.parametrize(("options", "message"), [
    ({"capacity": 0}, "capacity is 0, expected at least 1"),
    ({"replays": 0.5}, r"replays is 0\.5, expected at least 1"),
])  # fmt: skip
def test_invalid_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PoolOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_disappears_is_a_one_line_error(workers: int, make_pairs: Callable[..., Path]) -> None:
    folder = make_pairs()
    data = DataOptions(pairs=(str(folder),), real=1.0, cache_mib=0)
    pool = ExamplePool(TrainingPairs(data, 32, seed=1), SMALL, 2, workers=workers)
    for path in (folder / "sharp").iterdir():
        path.unlink()
    with pool, pytest.raises(DataError, match=r"^cannot read .*sharp/00[01]\.png as a picture: [^\n]*$"):
        pool.draw(100)
