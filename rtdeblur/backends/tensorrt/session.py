"""Running engine: deserialized, with slots in which batches overlap.

The upload of one batch, the inference of another and the download of a third overlap, each in its own slot: a
stream, buffers and an execution context. Within a slot, work is in order, for planes in host memory and for
pictures on the device:

    host copy ─► upload ─► inference ─► download ─► event            finish: wait for the event, host copy
                 copy ─► inference ─► copy back, some rows ─► event  finish: wait, check the rows
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

from rtdeblur import files
from rtdeblur.backends.base import Notice
from rtdeblur.backends.tensorrt.cache import CachedEngine
from rtdeblur.backends.tensorrt.flavours import Flavour, Message, complaint, log_of
from rtdeblur.cuda.base import DEFAULT_STREAM, Bytes, DeviceTimes, Driver
from rtdeblur.device import DevicePlane, DevicePlanes
from rtdeblur.errors import BackendError, CudaError, EngineError, GpuMemoryError
from rtdeblur.model import INPUTS, OUTPUTS

Arrays = dict[str, NDArray[Any]]
"""Inputs of an engine by name."""
IsBroken = Callable[[tuple[Bytes, ...], tuple[Bytes, ...]], bool]
"""Whether a picture is broken, from rows of its planes before and after."""

_SAMPLED_ROWS = 4
"""Check one in this many rows of a picture on the device."""

_Place = tuple[Bytes, DevicePlane]
"""Part of an engine's buffer that holds a plane, and host memory for its sampled rows."""
_SHORT = (
    "out of memory",
    "outofmemory",
    "out_of_memory",
    "requested amount of gpu memory",
)
"""Words in TensorRT's messages that mean the GPU is out of memory."""
_MOST_KERNEL_BYTES = 1 << 30


class LoadedEngine:
    """A deserialized engine, with the kernels that TensorRT-RTX compiles for it on this GPU.

    Args:
        flavour: library that built and runs it.
        cached: the serialized engine.

    Raises:
        EngineError: TensorRT refuses it, with its own message.
        GpuMemoryError: its weights do not fit.
    """

    def __init__(self, flavour: Flavour, cached: CachedEngine) -> None:
        self.flavour, self.cached = flavour, cached
        trt, log = flavour.load(), log_of(flavour)
        with log.listening() as messages:
            self._runtime = trt.Runtime(log.logger)  # must live as long as the engine
            self.engine: Any = self._runtime.deserialize_cuda_engine(cached.data) if self._runtime else None
        if self.engine is None:
            raise _failure(EngineError, "cannot load the engine", flavour, messages)
        self._config: Any = None
        self._kernels: Any = None
        self._saved = True
        if flavour.portable:
            self._config = self.engine.create_runtime_config()
            self._config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER  # LAZY breaks graph capture
            self._config.dynamic_shapes_kernel_specialization_strategy = strategy
            self._kernels = self._config.create_runtime_cache()
            self._saved = self._restore_kernels()
            self._config.set_runtime_cache(self._kernels)

    def create_context(self, shapes: dict[str, tuple[int, ...]]) -> Any:
        """Create an execution context for inputs of these shapes.

        Raises:
            GpuMemoryError: its scratch memory does not fit.
            BackendError: TensorRT refuses the shapes.
        """
        with log_of(self.flavour).listening() as messages:
            arguments = () if self._config is None else (self._config,)
            context = self.engine.create_execution_context(*arguments)
            if context is None:
                raise _failure(BackendError, "cannot start the engine", self.flavour, messages)
            for name, shape in shapes.items():
                if not context.set_input_shape(name, shape):
                    raise _failure(BackendError, f"refuses {name} of {shape}", self.flavour, messages)
            if missing := context.infer_shapes():
                raise BackendError(f"the engine has inputs that a video graph does not have: {missing}")
            self._check_outputs(context, shapes)
        return context

    def _check_outputs(self, context: Any, shapes: dict[str, tuple[int, ...]]) -> None:
        """Refuse an engine whose output planes differ in shape from its inputs."""
        names = {self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)}
        for name, output in zip(INPUTS, OUTPUTS, strict=False):
            if output == "v_out" and self.cached.spec.planes == "nv12":
                continue  # u_out contains both
            shape = tuple(context.get_tensor_shape(output)) if output in names else None
            if shape != shapes[name]:
                raise BackendError(
                    f"the engine's output {output} has shape {shape}, expected {shapes[name]} like {name}"
                )

    def save_kernels(self) -> None:
        """Store the compiled kernels on disk, once; failure only slows down the next start."""
        path = self.cached.runtime_cache_path
        if not self._saved and path and self._kernels:
            with suppress(OSError):
                files.write_whole(path, bytes(self._kernels.serialize()))
        self._saved = True

    def _restore_kernels(self) -> bool:
        """Load the kernels of an earlier run, validated by TensorRT; return whether it accepted them."""
        path = self.cached.runtime_cache_path
        with suppress(OSError):
            if path and self._kernels:
                return bool(self._kernels.deserialize(files.read_own(path, _MOST_KERNEL_BYTES)))
        return False

    def release(self) -> None:
        """Release the engine; may be called twice."""
        self.engine = self._config = self._kernels = None


class EngineSession:
    """An engine ready to run batches of one layout.

    Args:
        driver: must be current in the calling thread, here and in every call below.
        engine: released with the session.
        shapes: shapes of the inputs by name; the first dimension of `y` is the batch.
        slots: batches in flight.
        notice: called with one line for the user.

    Attributes:
        batch: most frames per call.

    Raises:
        GpuMemoryError: the slots do not fit.
        BackendError: TensorRT refuses the shapes.
    """

    def __init__(
        self,
        driver: Driver,
        engine: LoadedEngine,
        shapes: dict[str, tuple[int, ...]],
        *,
        slots: int,
        notice: Notice,
    ) -> None:
        self.batch = shapes["y"][0]
        self._engine = engine
        self._memory = ExitStack()
        self._next = 0
        self._slots: list[Slot] = []
        try:
            for _ in range(slots):
                context = engine.create_context(shapes)
                self._slots.append(Slot(driver, engine, context, self._memory, notice))
        except BaseException:
            self.close()
            raise

    def next_slot(self) -> Slot:
        """Return the next slot, after finishing the batch still in flight there."""
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        return slot

    def close(self) -> None:
        """Finish the batches in flight and release everything; may be called twice."""
        for slot in self._slots:
            slot.close()
        self._slots = []
        self._memory.close()
        self._engine.release()


@dataclass(eq=False)
class Ticket:
    """A batch in flight, then its result.

    Attributes:
        slot: where it runs.
        land: remaining work for the CPU once the device has finished.
        outputs: restored planes in the order of the inputs; empty for pictures on the device.
        unrestored: number of pictures on the device that came back broken and were reverted.
        times: times by the device's clock; None until it has finished.
    """

    slot: Slot
    land: Callable[[], None]
    outputs: list[NDArray[Any]] = field(default_factory=list)
    unrestored: int = 0
    times: DeviceTimes | None = None

    def finish(self) -> None:
        """Wait for the batch and do the remaining work; may be called twice."""
        self.slot.finish(self)


class Slot:
    """A stream with its buffers and execution context, for one batch at a time.

    Args:
        driver: GPU driver.
        engine: the engine to run.
        context: an execution context of the engine, with all input shapes set.
        memory: stack of resources to release in reverse order.
        notice: called with one line for the user.
    """

    def __init__(
        self, driver: Driver, engine: LoadedEngine, context: Any, memory: ExitStack, notice: Notice
    ) -> None:
        self._driver, self._engine, self._context, self._notice = driver, engine, context, notice
        self._memory = memory
        self._held: Ticket | None = None
        self._fixed: Arrays | None = None
        self._graph: int | None = None
        # RTX captures by itself (`LoadedEngine`); TensorRT requires one plain run before a capture.
        self._captures = driver.has_graphs and not engine.flavour.portable
        self._warm = False
        self._stream = self._own(driver.create_stream(), driver.destroy_stream)
        # Events before the upload, the inference and the download, and after the download.
        self._events = [self._own(driver.create_event(), driver.destroy_event) for _ in range(4)]
        self._host: dict[str, Bytes] = {}
        self._device: dict[str, int] = {}
        self._allocate()
        # Last in, first out: wait for the stream before its buffers are released.
        memory.callback(_quietly, driver.synchronize, self._stream)

    def start(self, planes: Arrays, fixed: Arrays) -> Ticket:
        """Copy a batch in and queue its work.

        Args:
            planes: inputs that change with each batch, (n, …); n may be less than the engine's batch.
            fixed: the other inputs; uploaded only if it is not the same dictionary object as in the last
                call.
        """
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
        self._held = ticket = Ticket(self, land, [*results.values()])
        return ticket

    def start_device(self, pictures: Sequence[DevicePlanes], fixed: Arrays, is_broken: IsBroken) -> Ticket:
        """Queue the work on pictures in device memory, restored in place.

        Waits for the default stream, in which a decoder may still be writing them.

        Args:
            pictures: n NV12 pictures; n may be less than the engine's batch.
            fixed: see `start`.
            is_broken: decides which pictures are reverted.
        """
        self._driver.synchronize(DEFAULT_STREAM)
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
                    self._driver.download_rows(sample, inside.each(_SAMPLED_ROWS), self._stream)

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
        """Wait for a batch of this slot and do its remaining work."""
        if ticket.times is None:
            self._driver.wait(self._events[-1])
            ticket.times = DeviceTimes(*starmap(self._driver.elapsed_ms, pairwise(self._events)))
            ticket.land()
            self._held, self._warm = None, True
            self._engine.save_kernels()

    def close(self) -> None:
        """Finish the batch in flight and drop the context, even if the slot itself is still referenced."""
        with suppress(CudaError):
            self._settle()
        self._context = None

    def _allocate(self) -> None:
        trt, engine, context = self._engine.flavour.load(), self._engine.engine, self._context
        for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
            if name == "v" and self._engine.cached.spec.planes == "nv12":
                self._device[name] = self._device["u"]  # one buffer holds both
            else:
                samples = math.prod(context.get_tensor_shape(name))
                size = samples * np.dtype(trt.nptype(engine.get_tensor_dtype(name))).itemsize
                self._device[name] = self._own(self._driver.allocate(size), self._driver.free)
                self._host[name] = self._own(self._driver.allocate_host(size), self._driver.free_host)
            if not context.set_tensor_address(name, self._device[name]):
                raise BackendError(f"TensorRT refused the memory of {name}")

    def _queue(self, fixed: Arrays, bring: Callable[[], None], take: Callable[[], None]) -> None:
        self._settle()
        if fixed is not self._fixed:
            for name, value in fixed.items():
                self._upload(name, value)
            self._fixed = fixed
        for event, work in zip(self._events, (bring, self._infer, take), strict=False):
            self._driver.record(event, self._stream)
            work()
        self._driver.record(self._events[-1], self._stream)

    def _settle(self) -> None:
        """Finish the batch in flight, if any, since its buffers are about to be reused."""
        if self._held:
            held, self._held = self._held, None
            self.finish(held)

    def _places(self, index: int, planes: DevicePlanes) -> tuple[list[_Place], list[_Place]]:
        """Return the buffers of one picture of a batch in the engine's inputs and outputs."""

        def place(name: str, plane: DevicePlane) -> _Place:
            size = plane.rows * plane.width
            inside = DevicePlane(self._device[name] + index * size, plane.width, plane.rows, plane.width)
            rows = inside.each(_SAMPLED_ROWS).rows
            sample = self._host[name][index * size :][: rows * plane.width].reshape(rows, plane.width)
            return sample, inside

        return (
            [place(name, plane) for name, plane in zip(("y", "u"), planes, strict=True)],
            [place(name, plane) for name, plane in zip(("y_out", "u_out"), planes, strict=True)],
        )

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
        flavour = self._engine.flavour
        with log_of(flavour).listening() as messages:
            if not self._context.execute_async_v3(self._stream):
                raise _failure(BackendError, "cannot run the engine", flavour, messages)

    def _capture(self) -> None:
        """Capture the inference as a CUDA graph: one launch instead of one per kernel."""
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
        self._memory.callback(_quietly, release, thing)
        return thing


def _failure(kind: type[BackendError], what: str, flavour: Flavour, messages: list[Message]) -> BackendError:
    """Return an error with TensorRT's message; a GpuMemoryError if it means that memory ran out."""
    short = any(word in text.lower() for _, text in messages for word in _SHORT)
    reason = complaint(messages) or "it gave no reason"
    return (GpuMemoryError if short else kind)(f"{flavour.title} {what}: {reason}")


def _quietly(release: Callable[[Any], None], thing: Any) -> None:
    """Release, ignoring errors: after a failed kernel every call fails, and only the first error matters."""
    with suppress(CudaError):
        release(thing)
