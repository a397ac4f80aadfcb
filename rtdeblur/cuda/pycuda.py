"""The CUDA driver by way of pycuda, for those who have it; it has no CUDA graphs."""

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
                    f"GPU {index} was asked for, but CUDA shows {cuda.Device.count()}",
                    "see CUDA_VISIBLE_DEVICES",
                )
            device = cuda.Device(index)
            major, minor = device.compute_capability()
            version = cuda.get_driver_version()
            self.device = DeviceInfo(
                device.name(), f"{major}.{minor}", f"{version // 1000}.{version % 1000 // 10}"
            )
            self._context: Any = device.retain_primary_context()
        # pycuda frees what is no longer referred to: its objects are kept by their handles.
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
        """Free and total bytes of the device."""
        with _errors():
            free, total = cuda.mem_get_info()
        return int(free), int(total)

    def allocate(self, size: int) -> int:
        """Address of `size` bytes of device memory."""
        with _errors():
            memory = cuda.mem_alloc(size)
        return self._keep(int(memory), memory)

    def free(self, address: int) -> None:
        """Give device memory back."""
        with _errors():
            self._objects.pop(address).free()

    def allocate_host(self, size: int) -> Bytes:
        """`size` bytes of page-locked host memory."""
        with _errors():
            memory: Bytes = cuda.pagelocked_empty(size, np.uint8, mem_flags=cuda.host_alloc_flags.PORTABLE)
        return memory

    def free_host(self, memory: Bytes) -> None:
        """Give page-locked memory back."""
        with _errors():
            memory.base.free()  # type: ignore[union-attr]

    def create_stream(self) -> int:
        """A queue of work that runs in order, beside other streams."""
        with _errors():
            stream = cuda.Stream(flags=1)  # CU_STREAM_NON_BLOCKING: does not wait for the default stream
        return self._keep(int(stream.handle), stream)

    def destroy_stream(self, stream: int) -> None:
        """Drop a stream."""
        del self._objects[stream]

    def synchronize(self, stream: int) -> None:
        """Wait for all work of a stream."""
        with _errors():
            if stream == DEFAULT_STREAM:  # which has no object of its own
                event = cuda.Event()
                event.record()
                event.synchronize()
            else:
                self._objects[stream].synchronize()

    def create_event(self) -> int:
        """A point in a stream's work."""
        with _errors():
            event = cuda.Event()
        return self._keep(id(event), event)

    def destroy_event(self, event: int) -> None:
        """Drop an event."""
        del self._objects[event]

    def record(self, event: int, stream: int) -> None:
        """Put an event behind what a stream has to do so far."""
        with _errors():
            self._objects[event].record(self._objects[stream])

    def wait(self, event: int) -> None:
        """Wait until an event is reached."""
        with _errors():
            self._objects[event].synchronize()

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds on the device between two events that were reached."""
        with _errors():
            return float(self._objects[end].time_since(self._objects[start]))

    def upload(self, address: int, source: NDArray[Any], stream: int) -> None:
        """Copy a C-contiguous array to the device, in a stream."""
        with _errors():
            cuda.memcpy_htod_async(address, source, self._objects[stream])

    def download(self, target: NDArray[Any], address: int, stream: int) -> None:
        """Fill a C-contiguous array from the device, in a stream."""
        with _errors():
            cuda.memcpy_dtoh_async(target, address, self._objects[stream])

    def copy_rows(self, target: DevicePlane, source: DevicePlane, stream: int) -> None:
        """Copy rows from one place of the device to another of as many bytes, in a stream."""
        copy = _rows_from(source)
        copy.set_dst_device(target.address)
        copy.dst_pitch = target.pitch
        with _errors():
            copy(self._objects[stream])

    def download_rows(self, target: NDArray[Any], source: DevicePlane, stream: int) -> None:
        """Fill a C-contiguous array with rows from the device, in a stream."""
        copy = _rows_from(source)
        copy.set_dst_host(target)
        copy.dst_pitch = source.width
        with _errors():
            copy(self._objects[stream])

    def begin_capture(self, stream: int) -> None:
        """Not in pycuda."""
        raise CudaError("pycuda has no CUDA graphs; try: pip install cuda-bindings")

    def end_capture(self, stream: int) -> int:
        """Not in pycuda."""
        raise CudaError("pycuda has no CUDA graphs; try: pip install cuda-bindings")

    def launch(self, graph: int, stream: int) -> None:
        """Not in pycuda."""
        raise CudaError("pycuda has no CUDA graphs; try: pip install cuda-bindings")

    def destroy_graph(self, graph: int) -> None:
        """Not in pycuda."""
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
    """Turn pycuda's errors into ours; their text has the function and CUDA's message."""
    try:
        yield
    except cuda.MemoryError as error:
        raise GpuMemoryError(f"CUDA failed: {error}") from error
    except cuda.Error as error:
        raise CudaError(f"CUDA failed: {error}") from error
