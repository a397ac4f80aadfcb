"""A loaded engine and its execution slots.

A slot has a stream, its own buffers and its own execution context, so that the upload of one batch, the
inference of another and the download of a third overlap. Within a slot everything is in order:

    host copy ─► upload ─► inference ─► download ─► event            finish: wait for the event, host copy
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur.cuda import Bytes, Driver
from rtdeblur.engine.cache import CachedEngine
from rtdeblur.engine.flavours import Flavour, Message, complaint, log_of
from rtdeblur.engine.sidecar import write_whole
from rtdeblur.errors import BackendError, CudaError, EngineError, GpuMemoryError
from rtdeblur.model import OUTPUTS

Arrays = dict[str, NDArray[Any]]
Notice = Callable[[str], None]

_SHORT = (
    "out of memory",
    "outofmemory",
    "out_of_memory",
    "requested amount of gpu memory",
)
"""How TensorRT's messages say that the GPU's memory is short."""


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
        raise _failure(EngineError, "does not load the engine", flavour, messages)
    return LoadedEngine(flavour, runtime, engine, cached)


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
        self._kernels = _Kernels(loaded)
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
                raise _failure(BackendError, "cannot start the engine", loaded.flavour, messages)
            for name, shape in shapes.items():
                if not context.set_input_shape(name, shape):
                    raise _failure(BackendError, f"refuses {name} of {shape}", loaded.flavour, messages)
            if missing := context.infer_shapes():
                raise BackendError(f"the engine asks for inputs that a video graph lacks: {missing}")
        return context

    def start(self, planes: Arrays, fixed: Arrays) -> Ticket:
        """Send a batch on its way.

        Args:
            planes: inputs that change from batch to batch, (n, …); n may be less than the engine's batch.
            fixed: the other inputs; sent only where the dictionary is another object than the slot's last.
        """
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        return slot.start(planes, fixed)

    def finish(self, ticket: Ticket) -> list[NDArray[Any]]:
        """Wait for a batch; give its planes as they went in, restored."""
        restored = ticket.slot.finish(ticket)
        self._kernels.save()
        return restored

    def close(self) -> None:
        """Wait for what runs, and release everything; may be called twice."""
        for slot in self._slots:
            slot.close()
        self._slots = []
        self._stack.close()
        self._kernels.release()


@dataclass(eq=False)
class Ticket:
    """A batch in flight, then its result."""

    slot: Slot
    outputs: list[NDArray[Any]]
    done: bool = False


class Slot:
    """A stream with its buffers and context; see `Session`."""

    def __init__(
        self, driver: Driver, context: Any, loaded: LoadedEngine, stack: ExitStack, notice: Notice
    ) -> None:
        self._driver, self._context, self._flavour, self._notice = driver, context, loaded.flavour, notice
        self._stack = stack
        self._held: Ticket | None = None
        self._fixed: Arrays | None = None
        self._graph: int | None = None
        # RTX captures by itself (`_Kernels`); TensorRT wants one plain run before a capture.
        self._captures = driver.has_graphs and not loaded.flavour.portable
        self._warm = False
        self._stream = self._own(driver.create_stream(), driver.destroy_stream)
        self._event = self._own(driver.create_event(), driver.destroy_event)
        self._host: dict[str, Bytes] = {}
        self._device: dict[str, int] = {}
        self._allocate(loaded)
        stack.callback(_quietly, driver.synchronize, self._stream)  # the last in is the first out

    def _allocate(self, loaded: LoadedEngine) -> None:
        trt, engine, context = loaded.flavour.load(), loaded.engine, self._context
        for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
            samples = math.prod(context.get_tensor_shape(name))
            size = samples * np.dtype(trt.nptype(engine.get_tensor_dtype(name))).itemsize
            self._device[name] = self._own(self._driver.allocate(size), self._driver.free)
            self._host[name] = self._own(self._driver.allocate_host(size), self._driver.free_host)
            if not context.set_tensor_address(name, self._device[name]):
                raise BackendError(f"TensorRT refuses the memory of {name}")

    def start(self, planes: Arrays, fixed: Arrays) -> Ticket:
        """Copy a batch in and queue all that is to be done with it."""
        self.settle()
        if fixed is not self._fixed:
            for name, value in fixed.items():
                self._upload(name, value)
            self._fixed = fixed
        for name, plane in planes.items():
            self._upload(name, plane)
        self._infer()
        results = [np.empty_like(plane) for plane in planes.values()]
        for name, result in zip(OUTPUTS, results, strict=True):
            self._driver.download(self._host[name][: result.nbytes], self._device[name], self._stream)
        self._driver.record(self._event, self._stream)
        self._held = Ticket(self, results)
        return self._held

    def finish(self, ticket: Ticket) -> list[NDArray[Any]]:
        """Wait for a batch and copy it out."""
        if not ticket.done:
            self._driver.wait(self._event)
            for name, result in zip(OUTPUTS, ticket.outputs, strict=True):
                result.view(np.uint8).reshape(-1)[:] = self._host[name][: result.nbytes]
            ticket.done, self._held, self._warm = True, None, True
        return ticket.outputs

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
                raise _failure(BackendError, "cannot run the engine", self._flavour, messages)

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


class _Kernels:
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
                return bool(self._cache.deserialize(self._path.read_bytes()))
        return False

    def create_context(self) -> Any:
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
        self._engine = self._config = self._cache = None


def _quietly(release: Callable[[Any], None], thing: Any) -> None:
    """Release; after a failed kernel the driver refuses that too, and the first error is the telling one."""
    with suppress(CudaError):
        release(thing)


def _failure(kind: type[BackendError], what: str, flavour: Flavour, messages: list[Message]) -> BackendError:
    short = any(word in text.lower() for _, text in messages for word in _SHORT)
    reason = complaint(messages) or "it gave no reason"
    return (GpuMemoryError if short else kind)(f"{flavour.title} {what}: {reason}")
