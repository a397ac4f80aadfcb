"""Graphs that come with rtdeblur beside the models, in OpenVINO on the CPU, whatever runs the models."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import resources
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from rtdeblur.backends.compiled import get_or_compile
from rtdeblur.backends.openvino import core, retype_planes
from rtdeblur.backends.openvino_queue import Requests
from rtdeblur.errors import BackendError, last_line

_MOST_COMPILED = 2
_MOST_AT_ONCE = 4
_MOST_PIXELS = 2 * 1920 * 1080
"""Of frames at the same time; the temporal stage takes some 120 bytes of memory a pixel."""

Feed = Mapping[str, NDArray[Any]]
"""Inputs of a graph by name: planes of integers, and float32."""


class BundledGraph:
    """A bundled graph, compiled once per size.

    Args:
        name: its file.
        option: the option that does without it, for messages.

    Attributes:
        sha256: checksum of the file.
    """

    def __init__(self, name: str, option: str) -> None:
        self._option = option
        self._onnx = resources.files("rtdeblur.models").joinpath(name).read_bytes()
        self.sha256 = hashlib.sha256(self._onnx).hexdigest()
        self._compiled: dict[tuple[Any, ...], Requests] = {}

    def run(self, feeds: Iterable[Feed]) -> list[list[NDArray[Any]]]:
        """Run the graph on inputs of equal shapes, some at the same time.

        Returns:
            the outputs for each.

        Raises:
            BackendError: OpenVINO failed.
        """
        given = list(feeds)
        if not given:
            return []
        running, results = [], []
        try:
            requests = self._requests(given[0])
            taken = [requests.take() for _ in given]  # all before the first starts, see `InferQueue.start`
            for request, feed in zip(taken, given, strict=True):
                request.start_async(dict(feed), share_inputs=True)  # which it reads until it is done
                running.append(request)
            for request in running:
                request.wait()
                results.append([tensor.data.copy() for tensor in request.output_tensors])
                requests.give(request)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed: {last_line(error)}; try {self._option}") from error
        finally:
            for request in running[len(results) :]:
                request.cancel()
                with suppress(RuntimeError):  # raised because it was cancelled
                    request.wait()
        return results

    def close(self) -> None:
        """Drop the compiled graphs."""
        self._compiled.clear()

    def _requests(self, feed: Feed) -> Requests:
        shapes = tuple((name, array.shape, array.dtype.name) for name, array in feed.items())
        if shapes not in self._compiled:
            if len(self._compiled) == _MOST_COMPILED:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[shapes] = Requests(self._compile(shapes), {})
        return self._compiled[shapes]

    def _compile(self, shapes: tuple[tuple[str, tuple[int, ...], str], ...]) -> Any:
        pixels = max(math.prod(shape[2:]) for _, shape, _ in shapes)
        hint = ov.properties.hint
        config = {
            hint.performance_mode: hint.PerformanceMode.THROUGHPUT,
            hint.num_requests: min(_MOST_AT_ONCE, max(1, _MOST_PIXELS // pixels)),
            hint.inference_precision: ov.Type.f32,
        }

        def compiled() -> Any:
            graph = core().read_model(self._onnx, b"")
            planes = {name: dtype for name, _, dtype in shapes if dtype != "float32"}
            for dtype in {*planes.values()}:  # one, if there are planes
                retype_planes(graph, planes, ov.Type(np.dtype(dtype)))
            graph.reshape({name: list(shape) for name, shape, _ in shapes})
            return core().compile_model(graph, "CPU", config)

        return get_or_compile(core(), compiled, config, self.sha256, shapes)
