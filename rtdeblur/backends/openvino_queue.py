"""Frames in flight: OpenVINO restores them in the background while Python copies others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from rtdeblur.backends.base import Pending, colour_inputs
from rtdeblur.errors import BackendError, InterruptedRunError, last_line
from rtdeblur.frames import FrameBatch, Planes
from rtdeblur.model import INPUTS, OUTPUTS

_POLL_MS = 50


class Requests:
    """Infer requests of a compiled graph, made as they are needed.

    Args:
        compiled: the graph.
        tables: inputs that are the same for all frames.
    """

    def __init__(self, compiled: ov.CompiledModel, tables: Mapping[str, NDArray[np.float16]]) -> None:
        self._compiled, self._idle = compiled, list[ov.InferRequest]()
        self._tables = {name: ov.Tensor(table) for name, table in tables.items()}  # copies, kept by this

    def take(self) -> ov.InferRequest:
        """Return an idle request."""
        if self._idle:
            return self._idle.pop()
        request = self._compiled.create_infer_request()
        for name, tensor in self._tables.items():
            request.set_tensor(name, tensor)
        return request

    def give(self, request: ov.InferRequest) -> None:
        """Take back a request that has finished."""
        self._idle.append(request)


@dataclass(eq=False)
class _Flight:
    """A batch in flight.

    Attributes:
        batch: kept alive, since the requests read its memory.
        running: index and request of each unfinished frame.
    """

    batch: FrameBatch
    running: deque[tuple[int, ov.InferRequest]] = field(default_factory=deque)


class InferQueue:
    """Batches in flight, each frame a request. OpenVINO runs as many at a time as it has streams.

    Args:
        stopped: polled while waiting; True abandons everything and raises InterruptedRunError.
    """

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self._flights: list[_Flight] = []

    def start(self, batch: FrameBatch, requests: Requests) -> Pending:
        """Start the frames of a batch on requests of its size; the returned callable waits for them.

        Raises:
            BackendError: OpenVINO failed. Everything else in flight is given up.
        """
        flight = _Flight(batch)
        self._flights.append(flight)
        fixed = colour_inputs(batch.colour)
        with self._failing():
            # All before the first starts, because OpenVINO makes none while a stream is busy.
            taken = [requests.take() for _ in range(len(batch))]
            for i, request in enumerate(taken):
                planes = (np.ascontiguousarray(plane[i : i + 1]) for plane in batch.planes)
                flight.running.append((i, request))
                request.start_async({**dict(zip(INPUTS, planes, strict=False)), **fixed}, share_inputs=True)
        return lambda: self._land(flight, requests)

    def give_up(self) -> None:
        """Cancel everything and wait for it, since the frames that it reads are about to be freed."""
        requests = [request for flight in self._flights for _, request in flight.running]
        self._flights.clear()
        for request in requests:
            request.cancel()
        for request in requests:
            with suppress(RuntimeError):  # raised because it was cancelled
                request.wait()

    def _land(self, flight: _Flight, requests: Requests) -> FrameBatch:
        if flight not in self._flights:
            raise BackendError("a batch was given up, because another one failed or another stream began")
        planes: Planes = tuple(np.empty_like(plane) for plane in flight.batch.planes)  # type: ignore[assignment]
        with self._failing():
            while flight.running:
                i, request = flight.running[0]
                self._wait(request)
                for name, plane in zip(OUTPUTS, planes, strict=True):
                    plane[i] = request.get_tensor(name).data[0]
                flight.running.popleft()
                requests.give(request)
        self._flights.remove(flight)
        return replace(flight.batch, planes=planes)

    def _wait(self, request: ov.InferRequest) -> None:
        while not request.wait_for(_POLL_MS):
            if self._stopped():
                raise InterruptedRunError

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Give up everything if something fails."""
        try:
            yield
        except BaseException as error:
            self.give_up()
            if not isinstance(error, RuntimeError):
                raise
            raise BackendError(f"OpenVINO failed: {last_line(error)}; try --precision fp32") from error
