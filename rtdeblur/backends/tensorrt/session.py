"""A loaded engine and its slots: upload of one batch, inference of another, download of a third overlap.

A slot is a stream with buffers and an execution context. Its work is in order, for planes in the host's
memory and for pictures on the device:

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
from rtdeblur.backends.tensorrt.cache import CachedEngine
from rtdeblur.backends.tensorrt.flavours import Flavour, Message, complaint, log_of
from rtdeblur.backends.tensorrt.sidecar import write_whole
from rtdeblur.cuda.base import DEFAULT_STREAM, Bytes, DeviceTimes, Driver
from rtdeblur.device import DevicePlane, DevicePlanes
from rtdeblur.errors import BackendError, CudaError, EngineError, GpuMemoryError

_SHORT = (
    "out of memory",
    "outofmemory",
    "out_of_memory",
    "requested amount of gpu memory",
)
"""How TensorRT's messages say that the GPU's memory is short."""
_MOST_CACHE_BYTES = 1 << 30
Arrays = dict[str, NDArray[Any]]
Notice = Callable[[str], None]
IsBroken = Callable[[tuple[Bytes, ...], tuple[Bytes, ...]], bool]
"""Whether a picture was restored to none: takes rows of its planes as they were, and as they are."""
Place = tuple[Bytes, DevicePlane]
"""A plane inside an engine's buffer, and where some of its rows go in the host's memory."""
SAMPLED_ROWS = 4
"""Of so many rows of a picture on the device one is looked at."""


@dataclass(frozen=True)
class LoadedEngine:
    """A deserialized engine; `runtime` must live as long."""

    flavour: Flavour
    runtime: Any
    engine: Any
    cached: CachedEngine


def load_engine(flavour: Flavour, cached: CachedEngine) -> LoadedEngine:
    """Deserialize an engine.

    Raises:
        EngineError: TensorRT refuses it; with its own message.
        GpuMemoryError: there is no room for its weights.
    """
    trt, log = flavour.load(), log_of(flavour)
    with log.listening() as messages:
        runtime = trt.Runtime(log.logger)
        engine = runtime.deserialize_cuda_engine(cached.data) if runtime else None
    if engine is None:
        raise failure(EngineError, "does not load the engine", flavour, messages)
    return LoadedEngine(flavour, runtime, engine, cached)


class Kernels:
    """Creates execution contexts; what the RTX flavour compiles for them on this GPU is kept on the disk."""

    def __init__(self, loaded: LoadedEngine) -> None:
        self._engine, self._path = loaded.engine, loaded.cached.runtime_cache_path
        self._config = self._cache = None
        self._saved = True
        if loaded.flavour.portable:
            trt = loaded.flavour.load()
            self._config = loaded.engine.create_runtime_config()
            self._config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER  # LAZY breaks a capture
            self._config.dynamic_shapes_kernel_specialization_strategy = strategy
            self._cache = self._config.create_runtime_cache()
            self._saved = self._restore()
            self._config.set_runtime_cache(self._cache)

    def _restore(self) -> bool:
        """Whether kernels of an earlier run serve; TensorRT checks them itself."""
        with suppress(OSError):
            if self._path and self._cache:
                return bool(self._cache.deserialize(files.read_own(self._path, _MOST_CACHE_BYTES)))
        return False

    def create_context(self) -> Any:
        """An execution context; None where TensorRT refuses."""
        if self._config is None:
            return self._engine.create_execution_context()
        return self._engine.create_execution_context(self._config)

    def save(self) -> None:
        """Keep what was compiled, once; without it the next start only takes longer."""
        if not self._saved and self._path and self._cache:
            with suppress(OSError):
                write_whole(self._path, bytes(self._cache.serialize()))
        self._saved = True

    def release(self) -> None:
        """Let go of the engine."""
        self._engine = self._config = self._cache = None


def failure(kind: type[BackendError], what: str, flavour: Flavour, messages: list[Message]) -> BackendError:
    """What went wrong, in TensorRT's own words; GpuMemoryError where they are of short memory."""
    short = any(word in text.lower() for _, text in messages for word in _SHORT)
    reason = complaint(messages) or "it gave no reason"
    return (GpuMemoryError if short else kind)(f"{flavour.title} {what}: {reason}")


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
    """A stream with its buffers and context; see `rtdeblur.backends.tensorrt.session.Session`."""

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


class Session:
    """Runs batches of one layout.

    Args:
        driver: current in the calling thread, as in every call below.
        loaded: the engine.
        shapes: of the inputs as the engine takes them, by name; the first dimension of planes is the batch.
        slots: batches in flight.
        notice: takes one line for the user.

    Raises:
        GpuMemoryError: the slots do not fit.
        BackendError: TensorRT refuses the shapes.
    """

    def __init__(
        self,
        driver: Driver,
        loaded: LoadedEngine,
        shapes: dict[str, tuple[int, ...]],
        *,
        slots: int,
        notice: Notice,
    ) -> None:
        self._driver = driver
        self._stack = ExitStack()
        self._kernels = Kernels(loaded)
        self._next = 0
        self._slots: list[Slot] = []
        try:
            for _ in range(slots):
                context = self._context(loaded, shapes)
                self._slots.append(Slot(driver, context, loaded, self._stack, notice))
        except BaseException:
            self.close()
            raise

    def _context(self, loaded: LoadedEngine, shapes: dict[str, tuple[int, ...]]) -> Any:
        with log_of(loaded.flavour).listening() as messages:
            context = self._kernels.create_context()
            if context is None:
                raise failure(BackendError, "cannot start the engine", loaded.flavour, messages)
            for name, shape in shapes.items():
                if not context.set_input_shape(name, shape):
                    raise failure(BackendError, f"refuses {name} of {shape}", loaded.flavour, messages)
            if missing := context.infer_shapes():
                raise BackendError(f"the engine asks for inputs that a video graph lacks: {missing}")
        return context

    def start(self, planes: Arrays, fixed: Arrays) -> Ticket:
        """Send a batch on its way.

        Args:
            planes: inputs that change from batch to batch, (n, …); n may be less than the engine's batch.
            fixed: the other inputs; sent only where the dictionary is another object than the slot's last.
        """
        return self._slot().start(planes, fixed)

    def start_device(self, pictures: Sequence[DevicePlanes], fixed: Arrays, is_broken: IsBroken) -> Ticket:
        """Send pictures in the device's memory on their way; they are restored in place.

        What the default stream has to do with them so far is waited for.

        Args:
            pictures: n of them; n may be less than the engine's batch, whose planes are nv12.
            fixed: as of `start`.
            is_broken: a picture of which it says so is left as it was.
        """
        self._driver.synchronize(DEFAULT_STREAM)
        return self._slot().start_device(pictures, fixed, is_broken)

    def finish(self, ticket: Ticket) -> Ticket:
        """Wait for a batch; give its ticket, with what came of it."""
        ticket.slot.finish(ticket)
        self._kernels.save()
        return ticket

    def _slot(self) -> Slot:
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        return slot

    def close(self) -> None:
        """Wait for what runs, and release everything; may be called twice."""
        for slot in self._slots:
            slot.close()
        self._slots = []
        self._stack.close()
        self._kernels.release()
