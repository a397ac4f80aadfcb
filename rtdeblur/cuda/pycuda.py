"""CUDA driver through pycuda, for users who have it; without CUDA graphs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pycuda.driver as cuda
from numpy.typing import NDArray

from rtdeblur.cuda.base import DEFAULT_STREAM, Bytes, DeviceInfo
from rtdeblur.device import DevicePlane
from rtdeblur.errors import CudaError, GpuMemoryError


class PycudaDriver:
    """See `rtdeblur.cuda.base.Driver`."""

    name = "pycuda"
    has_graphs = False

    def __init__(self, index: int = 0) -> None:
        with _errors():
            cuda.init()
            if index >= cuda.Device.count():
                raise CudaError(
                    f"GPU {index} was requested, but CUDA sees {cuda.Device.count()}",
                    "check CUDA_VISIBLE_DEVICES",
                )
            device = cuda.Device(index)
            major, minor = device.compute_capability()
            version = cuda.get_driver_version()
            self.device = DeviceInfo(
                device.name(), f"{major}.{minor}", f"{version // 1000}.{version % 1000 // 10}"
            )
            self._context: Any = device.retain_primary_context()
        # pycuda frees unreferenced objects, so keep them by their handles.
        self._objects: dict[int, Any] = {}
        self._active = threading.local()
        self.activate()

    def activate(self) -> None:
        """Make the context current in the calling thread."""
        if not getattr(self._active, "pushed", False):
            with _errors():
                self._context.push()
            self._active.pushed = True

    def memory(self) -> tuple[int, int]:
        """Return free and total device memory in bytes."""
        with _errors():
            free, total = cuda.mem_get_info()
        return int(free), int(total)

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes of device memory; return the address."""
        with _errors():
            memory = cuda.mem_alloc(size)
        return self._keep(int(memory), memory)

    def free(self, address: int) -> None:
        """Free device memory."""
        with _errors():
            self._objects.pop(address).free()

    def allocate_host(self, size: int) -> Bytes:
        """Allocate `size` bytes of page-locked host memory."""
        with _errors():
            memory: Bytes = cuda.pagelocked_empty(size, np.uint8, mem_flags=cuda.host_alloc_flags.PORTABLE)
        return memory

    def free_host(self, memory: Bytes) -> None:
        """Free page-locked memory."""
        with _errors():
            memory.base.free()  # type: ignore[union-attr]

    def create_stream(self) -> int:
        """Create a stream: a queue of work that runs in order, concurrently with other streams."""
        with _errors():
            stream = cuda.Stream(flags=1)  # CU_STREAM_NON_BLOCKING: does not wait for the default stream
        return self._keep(int(stream.handle), stream)

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream."""
        del self._objects[stream]

    def synchronize(self, stream: int) -> None:
        """Wait for all work in a stream."""
        with _errors():
            if stream == DEFAULT_STREAM:  # the default stream, which has no object
                event = cuda.Event()
                event.record()
                event.synchronize()
            else:
                self._objects[stream].synchronize()

    def create_event(self) -> int:
        """Create an event: a marker in a stream."""
        with _errors():
            event = cuda.Event()
        return self._keep(id(event), event)

    def destroy_event(self, event: int) -> None:
        """Destroy an event."""
        del self._objects[event]

    def record(self, event: int, stream: int) -> None:
        """Record an event after the work queued so far in a stream."""
        with _errors():
            self._objects[event].record(self._objects[stream])

    def wait(self, event: int) -> None:
        """Wait until an event is reached."""
        with _errors():
            self._objects[event].synchronize()

    def elapsed_ms(self, start: int, end: int) -> float:
        """Return the device time between two reached events in milliseconds."""
        with _errors():
            return float(self._objects[end].time_since(self._objects[start]))

    def upload(self, address: int, source: NDArray[Any], stream: int) -> None:
        """Queue a copy of a C-contiguous array to the device."""
        with _errors():
            cuda.memcpy_htod_async(address, source, self._objects[stream])

    def download(self, target: NDArray[Any], address: int, stream: int) -> None:
        """Queue a copy from the device to a C-contiguous array."""
        with _errors():
            cuda.memcpy_dtoh_async(target, address, self._objects[stream])

    def copy_rows(self, target: DevicePlane, source: DevicePlane, stream: int) -> None:
        """Queue a copy of rows between two equally large places on the device."""
        copy = _rows_from(source)
        copy.set_dst_device(target.address)
        copy.dst_pitch = target.pitch
        with _errors():
            copy(self._objects[stream])

    def download_rows(self, target: NDArray[Any], source: DevicePlane, stream: int) -> None:
        """Queue a copy of rows from the device to a C-contiguous array."""
        copy = _rows_from(source)
        copy.set_dst_host(target)
        copy.dst_pitch = source.width
        with _errors():
            copy(self._objects[stream])

    def begin_capture(self, stream: int) -> None:
        """Raise: pycuda has no CUDA graphs."""
        raise CudaError("pycuda has no CUDA graphs; try: pip install cuda-bindings")

    def end_capture(self, stream: int) -> int:
        """Raise: pycuda has no CUDA graphs."""
        raise CudaError("pycuda has no CUDA graphs; try: pip install cuda-bindings")

    def launch(self, graph: int, stream: int) -> None:
        """Raise: pycuda has no CUDA graphs."""
        raise CudaError("pycuda has no CUDA graphs; try: pip install cuda-bindings")

    def destroy_graph(self, graph: int) -> None:
        """Raise: pycuda has no CUDA graphs."""
        raise CudaError("pycuda has no CUDA graphs; try: pip install cuda-bindings")

    def close(self) -> None:
        """Release the primary context; may be called twice."""
        if self._context is None:
            return
        context, self._context = self._context, None
        with _errors():
            self._objects.clear()
            if getattr(self._active, "pushed", False):
                context.pop()
            context.detach()

    def _keep(self, handle: int, thing: Any) -> int:
        self._objects[handle] = thing
        return handle


def _rows_from(source: DevicePlane) -> Any:
    copy = cuda.Memcpy2D()
    copy.set_src_device(source.address)
    copy.src_pitch, copy.width_in_bytes, copy.height = source.pitch, source.width, source.rows
    return copy


@contextmanager
def _errors() -> Iterator[None]:
    """Translate pycuda's errors, whose text has the function and CUDA's message."""
    try:
        yield
    except cuda.MemoryError as error:
        raise GpuMemoryError(f"CUDA failed: {error}") from error
    except cuda.Error as error:
        raise CudaError(f"CUDA failed: {error}") from error
