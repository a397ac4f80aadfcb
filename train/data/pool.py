"""Pool of ready examples: worker processes make them, training draws each one several times.

The pool at step n holds examples [due(n) - capacity, due(n)), and example i follows from the seed and i only.
So a resumed run refills the pool with exactly what it held, and its next step is the same bit for bit.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
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
from train.errors import ConfigError, DataError

_IN_FLIGHT = 32 * 2**20
"""Bytes of finished examples that may wait in shared memory, which is 64 MiB in many containers."""
_LARGEST_CHUNK = 32
"""Examples that a worker hands over at once."""
_DRAWS = 1
"""Keeps the stream of random slots apart from the streams of the examples."""


@dataclass(frozen=True)
class PoolOptions:
    """How many examples are held ready, and how often each is used.

    Attributes:
        capacity: examples held, over all processes.
        replays: draws of an example, on average, before another takes its place.
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
    """A process among those of a run.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        device: where it trains and keeps its part of the pool.
        layout: memory layout of the batches that it draws.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    layout: torch.memory_format = torch.contiguous_format


class ExamplePool:
    """A process's ring of ready examples on its training device; every `world`-th example is its own.

    A context manager, which stops the workers.

    Args:
        pairs: where the examples come from.
        options: size and turnover.
        batch: examples that a step draws.
        first: the step to begin with.
        workers: processes that make examples; 0 makes them in this one, when they are due.
        place: this process among the others.

    Attributes:
        made: examples of this process that have entered the ring since step 0.
        waited: seconds spent waiting for late examples since the pool was full.

    Raises:
        ConfigError: the device lacks the memory.
        DataError: from `fill` and `draw`: a picture cannot be read any more.
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
        self._stream = iter(())  # the loader's iterator stops its workers as it is dropped

    def due(self, step: int) -> int:
        """Examples of this process that must have been made before a step, counted from 0."""
        return self.capacity + int(step * self._batch // self._replays)

    def fill(self, progress: Callable[[int, int], None] = lambda count, capacity: None) -> None:
        """Make what the pool holds before its first step.

        Args:
            progress: called with the number of examples that the pool holds, as it grows, and its capacity.
        """
        empty, end = self.made, self.due(self._first)
        while self.made < end:
            self._take(min(_LARGEST_CHUNK, end - self.made))
            progress(self.made - empty, self.capacity)

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Draw the batch of a step; steps follow one another.

        Returns:
            blurred and sharp, (N, 3, size, size) float32 in [-1, 1], in one of the eight symmetries of the
            square. The same step draws the same batch, whatever came before.
        """
        began = time.perf_counter()
        self._take(self.due(step) - self.made)
        self.waited += time.perf_counter() - began
        rng = np.random.default_rng(
            np.random.SeedSequence([self._seed, step, self._place.rank], spawn_key=(_DRAWS,))
        )
        slots = torch.from_numpy(rng.integers(self.capacity, size=self._batch))
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        codes = self._ring[slots.to(self._place.device)]
        codes = torch.rot90(codes.flip(-1) if mirror else codes, turns, (-2, -1))
        blurred, sharp = (to_floats(part, self._place.layout) for part in codes.unbind(1))
        return blurred, sharp

    def _take(self, count: int) -> None:
        """Move the next examples from the workers to the ring, over the oldest ones."""
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


class _Codes(Dataset[Tensor | str]):
    """The examples as uint8, a quarter of their size in float32; or what went wrong with one.

    An exception of a worker would reach the run with the worker's traceback in its message.
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
    """Numbers of a process's examples, without end."""

    def __init__(self, first: int, place: Place) -> None:
        self._first, self._place = first, place

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self._first * self._place.world + self._place.rank, self._place.world)


def _stream(pairs: TrainingPairs, first: int, workers: int, place: Place) -> Iterator[Tensor | str]:
    """Chunks of (n, 2, 3, size, size) uint8, from a process's example `first` on, or what went wrong."""
    prefetch = 2
    room = _IN_FLIGHT // (6 * pairs.size**2 * prefetch * max(1, workers))
    loader = DataLoader(
        _Codes(pairs),
        min(max(1, room), _LARGEST_CHUNK if workers else 1),
        sampler=_Count(first, place),
        num_workers=workers,
        collate_fn=_stack,
        prefetch_factor=prefetch if workers else None,
        # Forked workers share the decoded pictures; where there is no fork, each decodes its own.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
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
    """Bytes that can still be allocated on a device; None if the system does not say."""
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
