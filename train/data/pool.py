"""Pool of ready examples: worker processes make them, and training draws each several times.

The pool at step n holds examples [due(n) - capacity, due(n)), and example i depends only on the seed and i.
So a resumed run refills the pool with the same examples, and its next step is identical bit for bit.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from train.data.pairs import TrainingPairs, to_floats
from train.data.workers import outlast_sigterm, start_method
from train.errors import ConfigError, DataError

_IN_FLIGHT = 32 * 2**20
"""Bytes of finished examples that may wait in shared memory, which is 64 MiB in many containers."""
_LARGEST_CHUNK = 32
"""Examples per message from a worker."""
_DRAWS = 1
"""Separates the random stream of slots from those of the examples."""


@dataclass(frozen=True)
class PoolOptions:
    """Size of the pool, and how often each example is used.

    Attributes:
        capacity: number of examples, over all processes.
        replays: average draws of an example before it is replaced.
    """

    capacity: int = 8192
    replays: float = 10.0

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ConfigError(f"capacity is {self.capacity}, expected at least 1")
        if self.replays < 1:
            raise ConfigError(f"replays is {self.replays}, expected at least 1")


@dataclass(frozen=True)
class Place:
    """Place of a process in a run.

    Attributes:
        rank: its number, from 0.
        world: number of processes.
        device: device for training and for its part of the pool.
        layout: memory layout of its batches.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    layout: torch.memory_format = torch.contiguous_format


class ExamplePool:
    """A process's ring of ready examples on its training device; it holds every `world`-th example.

    A context manager, which stops the workers.

    Args:
        pairs: source of the examples.
        options: size and turnover.
        batch: examples per step.
        first: the first step.
        workers: processes that make examples; 0 makes them in this process, when due.
        place: this process among the others.

    Attributes:
        made: examples of this process that have entered the ring since step 0.
        waited: seconds spent waiting for late examples since the pool was full.

    Raises:
        ConfigError: the device has too little memory.
        DataError: from `fill` and `draw`: a picture can no longer be read.
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        options: PoolOptions,
        batch: int,
        first: int = 0,
        workers: int = 0,
        place: Place | None = None,
    ) -> None:
        self._place, self._batch, self._replays = place or Place(), batch, options.replays
        self.capacity = -(-options.capacity // self._place.world)
        self._seed = pairs.seed
        shape = (2, 3, pairs.size, pairs.size)
        _check_memory(self.capacity * int(np.prod(shape)), self.capacity, pairs.size, self._place)
        self.made = self.due(first) - self.capacity
        self.waited = 0.0
        self._stream = _stream(pairs, self.made, workers, self._place)
        self._left = torch.empty(0, *shape, dtype=torch.uint8)
        self._ring = torch.empty(self.capacity, *shape, dtype=torch.uint8, device=self._place.device)
        self._first = first

    def __enter__(self) -> ExamplePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream = iter(())  # dropping the loader's iterator stops its workers

    def due(self, step: int) -> int:
        """Return the number of this process's examples needed before a step, counted from 0."""
        return self.capacity + int(step * self._batch // self._replays)

    def fill(self, progress: Callable[[int, int], None] = lambda count, capacity: None) -> None:
        """Fill the pool before its first step.

        Args:
            progress: called with the current number of examples and the capacity.
        """
        empty, end = self.made, self.due(self._first)
        while self.made < end:
            self._take(min(_LARGEST_CHUNK, end - self.made))
            progress(self.made - empty, self.capacity)

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Draw the batch of a step; steps must be consecutive.

        Returns:
            blurred and sharp, (N, 3, size, size) float32 in [-1, 1], in one of the eight symmetries of the
            square. The same step always draws the same batch.
        """
        began = time.perf_counter()
        self._take(self.due(step) - self.made)
        self.waited += time.perf_counter() - began
        rng = np.random.default_rng(
            np.random.SeedSequence([self._seed, step, self._place.rank], spawn_key=(_DRAWS,))
        )
        slots = torch.from_numpy(rng.integers(self.capacity, size=self._batch))
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        codes = self._ring[_sent(slots, self._place.device)]
        codes = torch.rot90(codes.flip(-1) if mirror else codes, turns, (-2, -1))
        blurred, sharp = (to_floats(part, self._place.layout) for part in codes.unbind(1))
        return blurred, sharp

    def _take(self, count: int) -> None:
        """Move the next examples from the workers to the ring, replacing the oldest."""
        while count > 0:
            if not len(self._left):
                chunk = next(self._stream)
                if isinstance(chunk, str):
                    raise DataError(chunk)
                self._left = chunk
            slot = self.made % self.capacity
            some = min(count, len(self._left), self.capacity - slot)
            self._ring[slot : slot + some].copy_(self._left[:some], non_blocking=True)
            self._left = self._left[some:]
            self.made, count = self.made + some, count - some


def _sent(slots: Tensor, device: torch.device) -> Tensor:
    """Copy to a device; to a GPU from pinned memory, since another copy waits for all its work."""
    if device.type == "cuda":
        return slots.pin_memory().to(device, non_blocking=True)
    return slots.to(device)


class _Codes(Dataset[Tensor | str]):
    """Make examples as uint8, a quarter of the size of float32; or return the error of one.

    An exception raised in a worker would include the worker's traceback in its message.
    """

    def __init__(self, pairs: TrainingPairs) -> None:
        self._pairs = pairs

    def __getitem__(self, index: int) -> Tensor | str:
        try:
            return self._pairs.codes(index)
        except DataError as error:
            return str(error)


def _stack(items: list[Tensor | str]) -> Tensor | str:
    problem = next((item for item in items if isinstance(item, str)), None)
    return problem or torch.stack([item for item in items if isinstance(item, Tensor)])


class _Count(Sampler[int]):
    """Yield the numbers of a process's examples, endlessly."""

    def __init__(self, first: int, place: Place) -> None:
        self._first, self._place = first, place

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self._first * self._place.world + self._place.rank, self._place.world)


def _stream(pairs: TrainingPairs, first: int, workers: int, place: Place) -> Iterator[Tensor | str]:
    """Yield chunks of (n, 2, 3, size, size) uint8, from a process's example `first` on, or an error."""
    prefetch = 2
    room = _IN_FLIGHT // (6 * pairs.size**2 * prefetch * max(1, workers))
    loader = DataLoader(
        _Codes(pairs),
        min(max(1, room), _LARGEST_CHUNK if workers else 1),
        sampler=_Count(first, place),
        num_workers=workers,
        collate_fn=_stack,
        prefetch_factor=prefetch if workers else None,
        multiprocessing_context=start_method(workers),
        worker_init_fn=outlast_sigterm,
        pin_memory=place.device.type == "cuda",
    )
    return iter(loader)  # starts the workers now, before anything else starts a thread


def _check_memory(size: int, capacity: int, side: int, place: Place) -> None:
    free = free_memory(place.device)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", place.world)) if place.device.type == "cpu" else 1
    if free is not None and size * here > free:
        raise ConfigError(
            f"a pool of {capacity * here} examples of {side}×{side} needs {_size(size * here)} on "
            f"{place.device}, where {_size(free)} are free; "
            f"try pool.capacity = {capacity * place.world * free // (size * here) // 2}"
        )


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def free_memory(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        limits.append(1024 * {name: int(value) for name, value, *_ in lines}["MemAvailable:"])
    with contextlib.suppress(OSError, ValueError, KeyError):  # a container's own limit, "max" if it has none
        group = Path("/sys/fs/cgroup")
        most, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        limits.append(most - used + {name: int(value) for name, value in lines}["inactive_file"])
    return min(limits, default=None)
