"""Work on many pictures at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Yield the result of every item, in order, computed by `jobs` threads.

    At most `jobs` results are waiting at any time, so that memory does not grow with the number of items.
    PyTorch's threads are divided among the jobs. OpenCV, NumPy and the networks release the interpreter's
    lock, so threads suffice.
    """
    if jobs == 1:
        yield from map(work, items)
        return
    threads = max(1, torch.get_num_threads() // jobs)
    with ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
