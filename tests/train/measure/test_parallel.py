"""Pictures that are measured at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from train.data.pictures import find_pairs
from train.measure.evaluate import Row, evaluate, restore_with
from train.measure.parallel import in_order
from train.networks.generators import DeblurGanOptions, Generator


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_results_are_in_order_whichever_ends_first(jobs: int) -> None:
    def work(n: int) -> int:
        time.sleep(0.002 * (3 - n % 4))
        return n * n

    assert list(in_order(work, range(20), jobs)) == [n * n for n in range(20)]


def test_as_many_as_there_are_jobs_run_at_once() -> None:
    together = threading.Barrier(3)
    results = in_order(lambda n: together.wait(20), range(6), 3)
    assert sorted(results) == [0, 0, 1, 1, 2, 2]  # each is released with two others


def test_only_a_few_results_are_waiting() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for n in range(100):
            taken += 1
            yield n

    results = in_order(lambda n: n, items(), 4)
    assert next(results) == 0
    assert taken <= 6


def test_an_error_ends_the_work() -> None:
    def work(n: int) -> int:
        if n == 2:
            raise ValueError("picture 2")
        return n

    with pytest.raises(ValueError, match="picture 2"):
        list(in_order(work, range(50), 2))


def test_pytorch_s_threads_are_divided() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert set(in_order(lambda _: torch.get_num_threads(), range(4), 2)) == {2}
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_scores_do_not_depend_on_the_number_of_jobs(make_pairs: Callable[..., Path]) -> None:
    generator: Generator = DeblurGanOptions(width=4, blocks=1).build().eval()
    pairs, seen = find_pairs(make_pairs(5)), []

    def scores(jobs: int) -> dict[str, Row]:
        table = evaluate(restore_with(generator), pairs, watch=[lambda *row: seen.append(row)], jobs=jobs)
        return {name: row | {"milliseconds": 0.0} for name, row in table.items()}

    alone = scores(1)
    assert list(alone) == [f"pairs/{n:03}" for n in range(5)]
    assert scores(3) == alone
    for one, other in zip(seen[:5], seen[5:], strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))
