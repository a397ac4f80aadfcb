"""CUDA graphs: a whole training step in one launch, instead of about a thousand from Python."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor

from train.fit.checkpoint import Parts, named_tensors

T = TypeVar("T")
_WARM_UPS = 3
"""Calls before the capture, in which libraries choose their kernels and allocate what they keep."""


class Graph(Generic[T]):
    """A function captured as a CUDA graph; calling it replays the graph.

    Args:
        function: called to warm up and once for the capture. It may neither wait for the GPU nor draw random
            numbers. Its results are overwritten by each replay.
        inputs: its arguments on the GPU, kept for the replays; later ones must have the same shapes.

    Raises:
        RuntimeError: the function cannot be captured, or fails by itself; other exceptions are its own.
    """

    def __init__(self, function: Callable[..., T], *inputs: Tensor) -> None:
        self._inputs = inputs
        # A capture needs a stream of its own, and so does its warm-up. If a capture fails, PyTorch stays on
        # its stream; the outer block returns to the present one.
        with torch.cuda.stream(torch.cuda.current_stream()):
            self._warm_up(function)
            self._graph = torch.cuda.CUDAGraph()
            try:
                # Meanwhile the pool's threads may pin and copy examples, which "global" would forbid.
                with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                    self._results = function(*inputs)
            except BaseException:
                _release_generator()
                raise

    def __call__(self, *inputs: Tensor) -> T:
        """Copy the inputs and replay the graph, without waiting for it."""
        for mine, new in zip(self._inputs, inputs, strict=True):
            mine.copy_(new)
        self._graph.replay()
        return self._results

    def _warm_up(self, function: Callable[..., T]) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        present = torch.cuda.current_stream()
        stream.wait_stream(present)
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                function(*self._inputs)
        present.wait_stream(stream)


def _release_generator() -> None:
    """Let the GPU draw random numbers again: after a capture that failed, its generator still expects one."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(generator.clone_state())


@contextlib.contextmanager
def undone(parts: Parts) -> Iterator[None]:
    """Undo what a block does to modules and optimizers; moments that it creates become zero."""
    before = {key: value.clone() for key, value in named_tensors(parts).items()}
    try:
        yield
    finally:
        for key, value in named_tensors(parts).items():
            if key in before:
                value.copy_(before[key])
            else:
                value.zero_()
