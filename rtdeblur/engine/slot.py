"""One of the places where an engine works: a stream, buffers and an execution context.

Everything in a slot is in order. Planes in the host's memory, and pictures on the device:

    host copy ─► upload ─► inference ─► download ─► event            finish: wait for the event, host copy
                 copy ─► inference ─► copy back, some rows ─► event  finish: wait, look at the rows
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import pairwise, starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur.cuda import Bytes, DeviceTimes, Driver
from rtdeblur.engine.flavours import log_of
from rtdeblur.engine.loading import LoadedEngine, failure
from rtdeblur.errors import BackendError, CudaError
from rtdeblur.frames import DevicePlane, DevicePlanes

Arrays = dict[str, NDArray[Any]]
Notice = Callable[[str], None]
IsBroken = Callable[[tuple[Bytes, ...], tuple[Bytes, ...]], bool]
"""Whether a picture was restored to none: takes rows of its planes as they were, and as they are."""
Place = tuple[Bytes, DevicePlane]
"""A plane inside an engine's buffer, and where some of its rows go in the host's memory."""

SAMPLED_ROWS = 4
"""Of so many rows of a picture on the device one is looked at."""


@dataclass(eq=False)
class Ticket:
    """A batch in flight, then its result.

    Attributes:
        slot: that it is in.
        land: what is left to the processor when the device is done.
        outputs: the restored planes, as they went in; none of pictures on the device.
        unrestored: pictures on the device that came back as none, and were left as they were.
        times: of the device; None while it works.
    """

    slot: Slot
    land: Callable[[], None]
    outputs: list[NDArray[Any]] = field(default_factory=list)
    unrestored: int = 0
    times: DeviceTimes | None = None


class Slot:
    """A stream with its buffers and context; see `rtdeblur.engine.session.Session`."""

    def __init__(
        self, driver: Driver, context: Any, loaded: LoadedEngine, stack: ExitStack, notice: Notice
    ) -> None:
        self._driver, self._context, self._flavour, self._notice = driver, context, loaded.flavour, notice
        self._stack = stack
        self._held: Ticket | None = None
        self._fixed: Arrays | None = None
        self._graph: int | None = None
        # RTX captures by itself (`Kernels`); TensorRT wants one plain run before a capture.
        self._captures = driver.has_graphs and not loaded.flavour.portable
        self._warm = False
        self._stream = self._own(driver.create_stream(), driver.destroy_stream)
        # Before the upload, before the inference, before the download, and behind it.
        self._events = [self._own(driver.create_event(), driver.destroy_event) for _ in range(4)]
        self._host: dict[str, Bytes] = {}
        self._device: dict[str, int] = {}
        self._allocate(loaded)
        stack.callback(_quietly, driver.synchronize, self._stream)  # the last in is the first out

    def _allocate(self, loaded: LoadedEngine) -> None:
        trt, engine, context = loaded.flavour.load(), loaded.engine, self._context
        for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
            if name == "v" and loaded.cached.spec.planes == "nv12":
                self._device[name] = self._device["u"]  # which holds both
            else:
                samples = math.prod(context.get_tensor_shape(name))
                size = samples * np.dtype(trt.nptype(engine.get_tensor_dtype(name))).itemsize
                self._device[name] = self._own(self._driver.allocate(size), self._driver.free)
                self._host[name] = self._own(self._driver.allocate_host(size), self._driver.free_host)
            if not context.set_tensor_address(name, self._device[name]):
                raise BackendError(f"TensorRT refuses the memory of {name}")

    def start(self, planes: Arrays, fixed: Arrays) -> Ticket:
        """Copy a batch in and queue all that is to be done with it; see `Session.start`."""
        results = {f"{name}_out": np.empty_like(plane) for name, plane in planes.items()}

        def bring() -> None:
            for name, plane in planes.items():
                self._upload(name, plane)

        def take() -> None:
            for name, result in results.items():
                self._driver.download(self._host[name][: result.nbytes], self._device[name], self._stream)

        def land() -> None:
            for name, result in results.items():
                result.view(np.uint8).reshape(-1)[:] = self._host[name][: result.nbytes]

        self._queue(fixed, bring, take)
        self._held = Ticket(self, land, [*results.values()])
        return self._held

    def start_device(self, pictures: Sequence[DevicePlanes], fixed: Arrays, is_broken: IsBroken) -> Ticket:
        """Queue all that is to be done with pictures on the device; see `Session.start_device`."""
        places = [self._places(index, planes) for index, planes in enumerate(pictures)]

        def bring() -> None:
            for planes, (inputs, _) in zip(pictures, places, strict=True):
                for plane, (_, inside) in zip(planes, inputs, strict=True):
                    self._driver.copy_rows(inside, plane, self._stream)

        def take() -> None:
            for planes, (inputs, outputs) in zip(pictures, places, strict=True):
                for plane, (_, inside) in zip(planes, outputs, strict=True):
                    self._driver.copy_rows(plane, inside, self._stream)
                for sample, inside in (*inputs, *outputs):
                    self._driver.download_rows(sample, inside.each(SAMPLED_ROWS), self._stream)

        def land() -> None:
            for planes, (inputs, outputs) in zip(pictures, places, strict=True):
                before, after = (tuple(sample for sample, _ in side) for side in (inputs, outputs))
                if is_broken(before, after):
                    ticket.unrestored += 1
                    for plane, (_, inside) in zip(planes, inputs, strict=True):
                        self._driver.copy_rows(plane, inside, self._stream)
            if ticket.unrestored:
                self._driver.synchronize(self._stream)

        self._queue(fixed, bring, take)
        self._held = ticket = Ticket(self, land)
        return ticket

    def finish(self, ticket: Ticket) -> None:
        """Wait for a batch, and do what is left to do."""
        if ticket.times is None:
            self._driver.wait(self._events[-1])
            ticket.times = DeviceTimes(*starmap(self._driver.elapsed_ms, pairwise(self._events)))
            ticket.land()
            self._held, self._warm = None, True

    def _queue(self, fixed: Arrays, bring: Callable[[], None], take: Callable[[], None]) -> None:
        self.settle()
        if fixed is not self._fixed:
            for name, value in fixed.items():
                self._upload(name, value)
            self._fixed = fixed
        for event, work in zip(self._events, (bring, self._infer, take), strict=False):
            self._driver.record(event, self._stream)
            work()
        self._driver.record(self._events[-1], self._stream)

    def _places(self, index: int, planes: DevicePlanes) -> tuple[list[Place], list[Place]]:
        """Where a picture of a batch lies in the engine's inputs and outputs."""

        def place(name: str, plane: DevicePlane) -> Place:
            size = plane.rows * plane.width
            inside = DevicePlane(self._device[name] + index * size, plane.width, plane.rows, plane.width)
            rows = inside.each(SAMPLED_ROWS).rows
            sample = self._host[name][index * size :][: rows * plane.width].reshape(rows, plane.width)
            return sample, inside

        return (
            [place(name, plane) for name, plane in zip(("y", "u"), planes, strict=True)],
            [place(name, plane) for name, plane in zip(("y_out", "u_out"), planes, strict=True)],
        )

    def settle(self) -> None:
        """Finish the batch in flight, if there is one: its buffers are about to be used again."""
        if self._held:
            held, self._held = self._held, None
            self.finish(held)

    def close(self) -> None:
        """Finish what runs, and let go of the context, whoever still holds the slot."""
        with suppress(CudaError):
            self.settle()
        self._context = None

    def _upload(self, name: str, value: NDArray[Any]) -> None:
        staged = self._host[name][: value.nbytes]
        staged.view(value.dtype).reshape(value.shape)[...] = value
        self._driver.upload(self._device[name], staged, self._stream)

    def _infer(self) -> None:
        if self._captures and self._warm and self._graph is None:
            self._capture()
        if self._graph is not None:
            self._driver.launch(self._graph, self._stream)
        else:
            self._enqueue()

    def _enqueue(self) -> None:
        with log_of(self._flavour).listening() as messages:
            if not self._context.execute_async_v3(self._stream):
                raise failure(BackendError, "cannot run the engine", self._flavour, messages)

    def _capture(self) -> None:
        """Make a CUDA graph of the inference: one launch instead of one a kernel."""
        self._captures = False  # once
        try:
            self._driver.begin_capture(self._stream)
            try:
                self._enqueue()
            finally:
                graph = self._driver.end_capture(self._stream)
                self._own(graph, self._driver.destroy_graph)
            self._graph = graph
        except BackendError as error:
            self._notice(f"running without CUDA graphs: {error}")

    def _own(self, thing: Any, release: Callable[[Any], None]) -> Any:
        self._stack.callback(_quietly, release, thing)
        return thing


def _quietly(release: Callable[[Any], None], thing: Any) -> None:
    """Release; after a failed kernel the driver refuses that too, and the first error is the telling one."""
    with suppress(CudaError):
        release(thing)
