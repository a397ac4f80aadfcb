"""CUDA driver through NVIDIA's cuda-bindings."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from cuda.bindings import driver as cuda
from numpy.typing import NDArray

from rtdeblur.cuda.base import Bytes, DeviceInfo
from rtdeblur.device import DevicePlane
from rtdeblur.errors import CudaError, GpuMemoryError

_PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE: page-locked for every context
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream
_BLOCKING_SYNC = 4  # CU_CTX_SCHED_BLOCKING_SYNC: waiting threads sleep
_NAME_BYTES = 256


class BindingsDriver:
    """See `rtdeblur.cuda.base.Driver`."""

    name = "cuda-bindings"
    has_graphs = True

    def __init__(self, index: int = 0) -> None:
        try:
            _call(cuda.cuInit, 0)
        except RuntimeError as error:  # the driver library is missing
            raise CudaError("no NVIDIA driver found", "check with nvidia-smi") from error
        count = _call(cuda.cuDeviceGetCount)
        if index >= count:
            raise CudaError(f"GPU {index} was requested, but CUDA sees {count}", "check CUDA_VISIBLE_DEVICES")
        self._device = _call(cuda.cuDeviceGet, index)
        self.device = self._describe()
        with suppress(CudaError):  # another user of the context has already set it
            # FFmpeg shares only a context with blocking waits; these also free the core while waiting.
            _call(cuda.cuDevicePrimaryCtxSetFlags, self._device, _BLOCKING_SYNC)
        self._context = _call(cuda.cuDevicePrimaryCtxRetain, self._device)
        self.activate()

    def _describe(self) -> DeviceInfo:
        attribute = cuda.CUdevice_attribute
        major, minor = (
            _call(cuda.cuDeviceGetAttribute, which, self._device)
            for which in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        name = _call(cuda.cuDeviceGetName, _NAME_BYTES, self._device)
        version = _call(cuda.cuDriverGetVersion)
        return DeviceInfo(
            name.split(b"\0")[0].decode(errors="replace"),
            f"{major}.{minor}",
            f"{version // 1000}.{version % 1000 // 10}",
        )

    def activate(self) -> None:
        """Make the context current in the calling thread."""
        _call(cuda.cuCtxSetCurrent, self._context)

    def memory(self) -> tuple[int, int]:
        """Return free and total device memory in bytes."""
        free, total = _call(cuda.cuMemGetInfo)
        return int(free), int(total)

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes of device memory; return the address."""
        return int(_call(cuda.cuMemAlloc, size))

    def free(self, address: int) -> None:
        """Free device memory."""
        _call(cuda.cuMemFree, address)

    def allocate_host(self, size: int) -> Bytes:
        """Allocate `size` bytes of page-locked host memory."""
        address = int(_call(cuda.cuMemHostAlloc, size, _PORTABLE))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_host(self, memory: Bytes) -> None:
        """Free page-locked memory."""
        _call(cuda.cuMemFreeHost, memory.ctypes.data)

    def create_stream(self) -> int:
        """Create a stream: a queue of work that runs in order, concurrently with other streams."""
        return int(_call(cuda.cuStreamCreate, _NON_BLOCKING))

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream."""
        _call(cuda.cuStreamDestroy, stream)

    def synchronize(self, stream: int) -> None:
        """Wait for all work in a stream."""
        _call(cuda.cuStreamSynchronize, stream)

    def create_event(self) -> int:
        """Create an event: a marker in a stream."""
        return int(_call(cuda.cuEventCreate, 0))

    def destroy_event(self, event: int) -> None:
        """Destroy an event."""
        _call(cuda.cuEventDestroy, event)

    def record(self, event: int, stream: int) -> None:
        """Record an event after the work queued so far in a stream."""
        _call(cuda.cuEventRecord, event, stream)

    def wait(self, event: int) -> None:
        """Wait until an event is reached."""
        _call(cuda.cuEventSynchronize, event)

    def elapsed_ms(self, start: int, end: int) -> float:
        """Return the device time between two reached events in milliseconds."""
        return float(_call(cuda.cuEventElapsedTime, start, end))

    def upload(self, address: int, source: NDArray[Any], stream: int) -> None:
        """Queue a copy of a C-contiguous array to the device."""
        _call(cuda.cuMemcpyHtoDAsync, address, source.ctypes.data, source.nbytes, stream)

    def download(self, target: NDArray[Any], address: int, stream: int) -> None:
        """Queue a copy from the device to a C-contiguous array."""
        _call(cuda.cuMemcpyDtoHAsync, target.ctypes.data, address, target.nbytes, stream)

    def copy_rows(self, target: DevicePlane, source: DevicePlane, stream: int) -> None:
        """Queue a copy of rows between two equally large places on the device."""
        copy = _rows_from(source)
        copy.dstMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_DEVICE
        copy.dstDevice, copy.dstPitch = target.address, target.pitch
        _call(cuda.cuMemcpy2DAsync, copy, stream)

    def download_rows(self, target: NDArray[Any], source: DevicePlane, stream: int) -> None:
        """Queue a copy of rows from the device to a C-contiguous array."""
        copy = _rows_from(source)
        copy.dstMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_HOST
        copy.dstHost, copy.dstPitch = target.ctypes.data, source.width
        _call(cuda.cuMemcpy2DAsync, copy, stream)

    def begin_capture(self, stream: int) -> None:
        """Start capturing a stream's work instead of running it."""
        # Thread-local, because decoders and encoders in other threads may allocate during the capture.
        mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _call(cuda.cuStreamBeginCapture, stream, mode)

    def end_capture(self, stream: int) -> int:
        """End the capture and return it as a graph."""
        graph = _call(cuda.cuStreamEndCapture, stream)
        try:
            return int(_call(cuda.cuGraphInstantiate, graph, 0))
        finally:
            _call(cuda.cuGraphDestroy, graph)

    def launch(self, graph: int, stream: int) -> None:
        """Launch a graph in a stream."""
        _call(cuda.cuGraphLaunch, graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """Destroy a graph."""
        _call(cuda.cuGraphExecDestroy, graph)

    def close(self) -> None:
        """Release the primary context; may be called twice."""
        if self._context is not None:
            self._context = None
            _call(cuda.cuDevicePrimaryCtxRelease, self._device)


def _rows_from(source: DevicePlane) -> Any:
    copy = cuda.CUDA_MEMCPY2D()
    copy.srcMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_DEVICE
    copy.srcDevice, copy.srcPitch = source.address, source.pitch
    copy.WidthInBytes, copy.Height = source.width, source.rows
    return copy


def _call(function: Callable[..., Any], *args: Any) -> Any:
    """Return a driver function's results after the status code; raise if that is an error."""
    code, *values = function(*args)
    if code != cuda.CUresult.CUDA_SUCCESS:
        raise _error(function.__name__, code)
    return values[0] if len(values) == 1 else tuple(values)


def _error(function: str, code: Any) -> CudaError:
    name, text = (
        value.decode() if status == cuda.CUresult.CUDA_SUCCESS else str(code)
        for status, value in (cuda.cuGetErrorName(code), cuda.cuGetErrorString(code))
    )
    short = code == cuda.CUresult.CUDA_ERROR_OUT_OF_MEMORY
    return (GpuMemoryError if short else CudaError)(f"CUDA's {function} failed: {name} ({text})")
