"""Driver protocol: CUDA memory, streams, events and graphs.

Addresses and handles are plain integers, as TensorRT expects. The caller that allocates must free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtdeblur.device import DevicePlane

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class DeviceInfo:
    """A GPU, as described by its driver.

    Attributes:
        name: such as "NVIDIA GeForce RTX 4090".
        compute_capability: such as "8.9".
        cuda: newest CUDA version that the driver supports, such as "13.0".
    """

    name: str
    compute_capability: str
    cuda: str


DEFAULT_STREAM = 0
"""The stream used if none is named, as by FFmpeg's decoders; streams created here do not wait for it."""


@dataclass(frozen=True)
class DeviceTimes:
    """Times of a batch by the device's clock, in milliseconds; the CPU's work is not included.

    Attributes:
        upload: copy of the planes to the engine's inputs.
        inference: run of the engine.
        download: copy of the planes from the engine's outputs.
    """

    upload: float
    inference: float
    download: float


class Driver(Protocol):
    """The primary context of a GPU; use from one thread at a time, which must call `activate` first.

    Every method raises CudaError with CUDA's error name and message, GpuMemoryError if memory runs out.
    Copies need page-locked host memory to overlap with anything.
    """

    name: str
    device: DeviceInfo
    has_graphs: bool

    def activate(self) -> None:
        """Make the context current in the calling thread."""

    def memory(self) -> tuple[int, int]:
        """Return free and total device memory in bytes."""

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes of device memory; return the address."""

    def free(self, address: int) -> None:
        """Free device memory."""

    def allocate_host(self, size: int) -> Bytes:
        """Allocate `size` bytes of page-locked host memory."""

    def free_host(self, memory: Bytes) -> None:
        """Free page-locked memory; no view of it may be used afterwards."""

    def create_stream(self) -> int:
        """Create a stream: a queue of work that runs in order, concurrently with other streams."""

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream whose work has finished."""

    def synchronize(self, stream: int) -> None:
        """Wait for all work in a stream; raises its errors."""

    def create_event(self) -> int:
        """Create an event: a marker in a stream."""

    def destroy_event(self, event: int) -> None:
        """Destroy an event."""

    def record(self, event: int, stream: int) -> None:
        """Record an event after the work queued so far in a stream."""

    def wait(self, event: int) -> None:
        """Wait until an event is reached; raises errors of the work before it."""

    def elapsed_ms(self, start: int, end: int) -> float:
        """Return the device time between two reached events in milliseconds."""

    def upload(self, address: int, source: NDArray[Any], stream: int) -> None:
        """Queue a copy of a C-contiguous array to the device."""

    def download(self, target: NDArray[Any], address: int, stream: int) -> None:
        """Queue a copy from the device to a C-contiguous array."""

    def copy_rows(self, target: DevicePlane, source: DevicePlane, stream: int) -> None:
        """Queue a copy of rows between two equally large places on the device."""

    def download_rows(self, target: NDArray[Any], source: DevicePlane, stream: int) -> None:
        """Queue a copy of rows from the device to a C-contiguous array."""

    def begin_capture(self, stream: int) -> None:
        """Start capturing a stream's work instead of running it; requires `has_graphs`."""

    def end_capture(self, stream: int) -> int:
        """End the capture and return it as a graph."""

    def launch(self, graph: int, stream: int) -> None:
        """Launch a graph in a stream."""

    def destroy_graph(self, graph: int) -> None:
        """Destroy a graph."""

    def close(self) -> None:
        """Release the primary context; may be called twice."""
