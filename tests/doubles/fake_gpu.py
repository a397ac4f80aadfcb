"""A fake GPU: a driver that works asynchronously, and a TensorRT that runs on it.

Work queued in a stream runs when it is waited for, on the contents of host memory at *that* time: code that
reuses or reads a buffer too early gets wrong bytes. Every call is recorded.
"""

from __future__ import annotations

import enum
import json
import sys
import threading
from collections import deque
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np

from rtdeblur.backends.tensorrt.flavours import Flavour
from rtdeblur.backends.tensorrt.spec import EngineSpec
from rtdeblur.cuda.base import DEFAULT_STREAM, Bytes, DeviceInfo
from rtdeblur.device import DevicePlane
from rtdeblur.errors import CudaError, GpuMemoryError

UPLOAD_MS, INFERENCE_MS, DOWNLOAD_MS = 1.0, 10.0, 2.0
"""Durations of a plane's copy and of a run, on the fake's clock."""

Work = Callable[[], None]


class FakeDriver:
    """See `rtdeblur.cuda.base.Driver`; `room` is the device's memory in bytes."""

    name = "fake"
    has_graphs = True

    def __init__(self, room: int = 1 << 30) -> None:
        self.device = DeviceInfo("Fake GPU", "8.9", "13.0")
        self.room = room
        self.calls: list[tuple[Any, ...]] = []
        self.device_memory: dict[int, np.ndarray] = {}
        self.foreign_memory: dict[int, np.ndarray] = {}
        self.host_memory: dict[int, Bytes] = {}
        self.streams: dict[int, deque[Work]] = {DEFAULT_STREAM: deque()}
        self.clocks: dict[int, float] = {DEFAULT_STREAM: 0.0}
        self.events: dict[int, int] = {}
        self.reached: dict[int, float | None] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.closed = 0
        self._capturing: dict[int, list[Work]] = {}
        self._next = 1 << 20
        self._working = threading.Lock()
        self._current = threading.local()
        self._current.set = True  # as after opening a driver

    @property
    def alive(self) -> int:
        """Bytes allocated and not freed."""
        kinds = (self.device_memory, self.host_memory, self.streams, self.events, self.graphs)
        return sum(map(len, kinds)) - 1  # the default stream has no owner

    def handle(self, size: int = 1) -> int:
        """Reserve a range of numbers for a handle or allocation; return the first."""
        handle, self._next = self._next, self._next + -(-max(size, 1) // 4096) * 4096
        return handle

    def at(self, address: int, size: int) -> np.ndarray:
        """Return the device memory of an allocation."""
        for base, memory in (self.device_memory | self.foreign_memory).items():
            if base <= address < base + memory.size:
                assert address - base + size <= memory.size, "beyond the end of an allocation"
                return memory[address - base :][:size]
        raise AssertionError(f"no device memory at {address}")

    def foreign(self, size: int) -> int:
        """Allocate device memory as another library would; return its address."""
        address = self.handle(size)
        self.foreign_memory[address] = np.zeros(size, np.uint8)
        return address

    def rows(self, plane: DevicePlane) -> np.ndarray:
        """Return a view of rows of device memory, (rows, width)."""
        whole = self.at(plane.address, plane.pitch * (plane.rows - 1) + plane.width)
        return np.lib.stride_tricks.as_strided(whole, (plane.rows, plane.width), (plane.pitch, 1))

    def note(self, *call: Any) -> None:
        assert not self.closed, f"{call} after close"
        assert getattr(self._current, "set", False), f"{call} without a context in this thread"
        self.calls.append(call)

    def activate(self) -> None:
        self._current.set = True

    def memory(self) -> tuple[int, int]:
        self.note("memory")
        return self.room - sum(m.size for m in self.device_memory.values()), self.room

    def allocate(self, size: int) -> int:
        free, _ = self.memory()
        if size > free:
            raise GpuMemoryError("CUDA's cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY (out of memory)")
        self.note("allocate", size)
        address = self.handle(size)
        self.device_memory[address] = np.zeros(size, np.uint8)
        return address

    def free(self, address: int) -> None:
        self.note("free", address)
        del self.device_memory[address]

    def allocate_host(self, size: int) -> Bytes:
        self.note("allocate_host", size)
        memory = np.zeros(size, np.uint8)
        self.host_memory[memory.ctypes.data] = memory
        return memory

    def free_host(self, memory: Bytes) -> None:
        self.note("free_host", memory.size)
        del self.host_memory[memory.ctypes.data]

    def create_stream(self) -> int:
        self.note("create_stream")
        stream = self.handle()
        self.streams[stream], self.clocks[stream] = deque(), 0.0
        return stream

    def destroy_stream(self, stream: int) -> None:
        self.note("destroy_stream", stream)
        assert not self.streams.pop(stream), "a stream was dropped with work in it"

    def synchronize(self, stream: int) -> None:
        self.note("synchronize", stream)
        self.drain(stream)

    def drain(self, stream: int) -> None:
        """Run a stream's queued work, also for another library's wait."""
        with self._working:
            while self.streams[stream]:
                self.streams[stream].popleft()()

    def create_event(self) -> int:
        self.note("create_event")
        event = self.handle()
        self.events[event] = 0
        return event

    def destroy_event(self, event: int) -> None:
        self.note("destroy_event", event)
        del self.events[event]

    def record(self, event: int, stream: int) -> None:
        self.note("record", event, stream)
        self.events[event] = stream
        self.reached[event] = None
        self.put(stream, lambda: self.reached.__setitem__(event, self.clocks[stream]))

    def wait(self, event: int) -> None:
        self.note("wait", event)
        while self.reached[event] is None:
            self.streams[self.events[event]].popleft()()

    def elapsed_ms(self, start: int, end: int) -> float:
        self.note("elapsed_ms", start, end)
        began, ended = self.reached.get(start), self.reached.get(end)
        if began is None or ended is None:
            raise CudaError("CUDA's cuEventElapsedTime failed: CUDA_ERROR_NOT_READY (device not ready)")
        return ended - began

    def upload(self, address: int, source: np.ndarray, stream: int) -> None:
        self.note("upload", stream, source.nbytes)
        assert any(np.shares_memory(source, m) for m in self.host_memory.values()), "not page-locked"
        assert source.nbytes <= self.device_memory[address].size
        copy = source.reshape(-1).view(np.uint8)
        self.put(stream, lambda: self.device_memory[address].__setitem__(slice(copy.size), copy), UPLOAD_MS)

    def download(self, target: np.ndarray, address: int, stream: int) -> None:
        self.note("download", stream, target.nbytes)
        assert any(np.shares_memory(target, m) for m in self.host_memory.values()), "not page-locked"
        assert target.nbytes <= self.device_memory[address].size
        copy = target.reshape(-1).view(np.uint8)
        memory = self.device_memory[address]
        self.put(stream, lambda: copy.__setitem__(slice(None), memory[: copy.size]), DOWNLOAD_MS)

    def copy_rows(self, target: DevicePlane, source: DevicePlane, stream: int) -> None:
        self.note("copy_rows", stream, source.rows, source.width)
        assert (target.rows, target.width) == (source.rows, source.width)
        there, here = self.rows(target), self.rows(source)
        self.put(stream, lambda: there.__setitem__(..., here))

    def download_rows(self, target: np.ndarray, source: DevicePlane, stream: int) -> None:
        self.note("download_rows", stream, source.rows, source.width)
        assert any(np.shares_memory(target, m) for m in self.host_memory.values()), "not page-locked"
        assert target.shape == (source.rows, source.width)
        rows = self.rows(source)
        self.put(stream, lambda: target.__setitem__(..., rows))

    def begin_capture(self, stream: int) -> None:
        self.note("begin_capture", stream)
        self._capturing[stream] = []

    def end_capture(self, stream: int) -> int:
        self.note("end_capture", stream)
        graph = self.handle()
        self.graphs[graph] = self._capturing.pop(stream)
        return graph

    def launch(self, graph: int, stream: int) -> None:
        self.note("launch", stream)
        self.streams[stream].extend(self.graphs[graph])

    def destroy_graph(self, graph: int) -> None:
        self.note("destroy_graph", graph)
        del self.graphs[graph]

    def close(self) -> None:
        if not self.closed:
            assert not self.alive, f"{self.alive} things were not given back"
        self.closed += 1

    def put(self, stream: int, work: Work, ms: float = 0.0) -> None:
        """Queue work of a duration, or record it in a graph being captured."""

        def timed() -> None:
            self.clocks[stream] += ms
            work()

        self._capturing.get(stream, self.streams[stream]).append(timed)  # type: ignore[union-attr]


class FakeTensorRT:
    """Fake of TensorRT's runtime; its engines add 1 to every sample, up to the peak.

    Attributes:
        driver: whose memory it works on.
        built: specs of the engines that were built.
        refuse_load: message with which an engine does not load; None loads it.
        refuse_run: message with which the next run fails.
        wider: how many times as wide outputs are as their inputs.
        scratch: bytes that a context takes for each sample of luma.
        restore: what an engine does to a plane of code values; takes the plane and the peak.
        kernels: what the runtime cache holds.
        tables: names and types of what its engines take besides.
        taken: the bytes of these, as the last run found them.
    """

    def __init__(self, driver: FakeDriver, *, portable: bool = True) -> None:
        self.driver = driver
        self.built: list[EngineSpec] = []
        self.refuse_load: str | None = None
        self.refuse_run: str | None = None
        self.wider = 1
        self.scratch = 0
        self.restore: Callable[[np.ndarray, float], np.ndarray] = lambda p, peak: np.minimum(p + 1, peak)
        self.contexts = 0
        self.kernels: bytes | None = None
        self.tables: dict[str, type] = {}
        self.taken: dict[str, bytes] = {}
        self.said: Callable[[str], None] = lambda _: None
        self.module = _module(self)
        name = "rtx" if portable else "tensorrt"
        self.flavour = Flavour(name, "Fake TensorRT", self.module.__name__, name, portable=portable)

    def new_context(self, engine: Any) -> Any:
        """Execution context of an engine; a subclass may run it elsewhere."""
        return Context(engine)

    def build(self, onnx: bytes, spec: EngineSpec, *_: Any) -> bytes:
        """Fake of `rtdeblur.backends.tensorrt.builder.build`."""
        self.built.append(spec)
        return json.dumps(spec.as_json()).encode()


class _Engine:
    def __init__(self, fake: FakeTensorRT, spec: EngineSpec) -> None:
        self.fake, self.spec = fake, spec
        self.inputs = ["y", "u", "v", "yuv_to_rgb", "rgb_to_yuv", "peak", *fake.tables]
        self.outputs = ["y_out", "u_out"] + ["v_out"] * (spec.planes != "nv12")
        self.names = [*self.inputs, *self.outputs]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_dtype(self, name: str) -> type:
        if name in self.fake.tables:
            return self.fake.tables[name]
        return np.uint8 if name[0] in "yuv" and name != "yuv_to_rgb" else np.float32

    def create_runtime_config(self) -> Any:
        return _Config(self.fake)

    def create_execution_context(self, config: _Config | None = None) -> Any:
        if self.fake.flavour.portable:
            assert config
            assert config.cuda_graph_strategy == "WHOLE_GRAPH_CAPTURE"
            self.fake.kernels = b"kernels"
        shape = self.spec.profile.max
        context = self.fake.new_context(self)
        try:
            context.scratch = self.fake.driver.allocate(
                1 + self.fake.scratch * shape.batch * shape.height * shape.width
            )
        except GpuMemoryError:
            self.fake.said("Requested amount of GPU memory could not be allocated: out of memory")
            return None
        self.fake.contexts += 1
        return context


class Context:
    """Fake of `IExecutionContext`."""

    scratch: int | None = None

    def __init__(self, engine: _Engine) -> None:
        self.engine, self.fake = engine, engine.fake
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def __del__(self) -> None:
        if self.scratch is not None:
            self.fake.contexts -= 1
            self.fake.driver.device_memory.pop(self.scratch, None)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, high = self.engine.spec.profile.min, self.engine.spec.profile.max
        if name == "y" and not low.batch <= shape[0] <= high.batch:
            self.fake.said(f"set_input_shape: {shape} is not in the profile")
            return False
        self.shapes[name] = tuple(shape)
        return True

    def infer_shapes(self) -> list[str]:
        return [name for name in self.engine.inputs if name not in self.shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = self.shapes[name.removesuffix("_out")]
        return (*shape[:3], shape[3] * self.fake.wider, *shape[4:]) if name.endswith("_out") else shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address in self.fake.driver.device_memory
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.fake.driver.note("execute", stream)
        if self.fake.refuse_run:
            self.fake.said(self.fake.refuse_run)
            return False
        assert set(self.addresses) == set(self.engine.names)
        self.fake.driver.put(stream, self._run, INFERENCE_MS)
        return True

    def _run(self) -> None:
        memory = self.fake.driver.device_memory
        peak = float(memory[self.addresses["peak"]].view(np.float32)[0])
        kind = np.uint8 if self.engine.spec.planes != "uint16" else np.uint16
        self.fake.taken = {name: memory[self.addresses[name]].tobytes() for name in self.fake.tables}
        for name in (output.removesuffix("_out") for output in self.engine.outputs):
            plane = memory[self.addresses[name]].view(kind).astype(np.float64)
            restored = self.fake.restore(plane, peak).astype(kind)
            memory[self.addresses[f"{name}_out"]][:] = restored.view(np.uint8)


class _Config:
    def __init__(self, fake: FakeTensorRT) -> None:
        self.fake = fake
        self.cuda_graph_strategy = self.dynamic_shapes_kernel_specialization_strategy = ""

    def create_runtime_cache(self) -> Any:
        return _Cache(self.fake)

    def set_runtime_cache(self, cache: _Cache) -> bool:
        return True


class _Cache:
    def __init__(self, fake: FakeTensorRT) -> None:
        self.fake = fake

    def deserialize(self, blob: bytes) -> bool:
        return blob == b"kernels"

    def serialize(self) -> bytes:
        return self.fake.kernels or b""


def _module(fake: FakeTensorRT) -> ModuleType:
    """The fake module of the flavour."""

    class Runtime:
        def __init__(self, logger: Any) -> None:
            fake.said = lambda text: logger.log(Severity.ERROR, text)

        def deserialize_cuda_engine(self, data: bytes) -> Any:
            if fake.refuse_load is not None:
                fake.said(fake.refuse_load)
                return None
            return _Engine(fake, EngineSpec.from_json(json.loads(data)))

    class ILogger:
        pass

    Severity = enum.Enum("Severity", ["ERROR"])  # noqa: N806
    name = f"fake_tensorrt_{id(fake)}"
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    names: dict[str, Any] = {
        "__version__": "1.7.1", "Runtime": Runtime, "ILogger": ILogger, "nptype": lambda dtype: dtype,
        "CudaGraphStrategy": enum.StrEnum("C", {"WHOLE_GRAPH_CAPTURE": "WHOLE_GRAPH_CAPTURE"}),
        "DynamicShapesKernelSpecializationStrategy": enum.StrEnum("D", {"EAGER": "EAGER"}),
        "ComputeCapability": enum.Enum("ComputeCapability", ["SM86", "SM89"]),
    }  # fmt: skip
    for key, value in names.items():
        setattr(module, key, value)
    sys.modules[name] = module
    return module


class Broken(FakeDriver):
    """A driver whose device fails at the next wait, as after a faulty kernel."""

    def wait(self, event: int) -> None:
        raise CudaError("CUDA's cuEventSynchronize failed: CUDA_ERROR_ILLEGAL_ADDRESS (an illegal address)")
