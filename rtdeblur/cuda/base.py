"""The driver protocol: CUDA memory, streams, events and graphs.

Addresses and handles are plain integers, as TensorRT takes them. Whoever allocates frees.
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
    """A GPU as its driver describes it.

    Attributes:
        name: as "NVIDIA GeForce RTX 4090".
        compute_capability: as "8.9".
        cuda: the newest CUDA that the driver knows, as "13.0".
    """

    name: str
    compute_capability: str
    cuda: str


DEFAULT_STREAM = 0
"""Where who names no stream works, as FFmpeg's decoders do; streams made here do not wait for it."""


@dataclass(frozen=True)
class DeviceTimes:
    """Milliseconds of a batch by the device's own clock, without what the processor does meanwhile.

    Attributes:
        upload: that its planes took to the engine's inputs.
        inference: of the engine.
        download: that its planes took from the engine's outputs.
    """

    upload: float
    inference: float
    download: float


class Driver(Protocol):
    """One GPU's primary context; use from one thread at a time, which calls `activate` first.

    Every method raises CudaError with CUDA's own name and message, GpuMemoryError where memory is short.
    Copies need page-locked host memory to overlap with anything.
    """

    name: str
    device: DeviceInfo
    has_graphs: bool

    def activate(self) -> None:
        """Make the context current in the calling thread."""

    def memory(self) -> tuple[int, int]:
        """Free and total bytes of the device."""

    def allocate(self, size: int) -> int:
        """Address of `size` bytes of device memory."""

    def free(self, address: int) -> None:
        """Give device memory back."""

    def allocate_host(self, size: int) -> Bytes:
        """`size` bytes of page-locked host memory."""

    def free_host(self, memory: Bytes) -> None:
        """Give page-locked memory back; no view of it may be used any more."""

    def create_stream(self) -> int:
        """A queue of work that runs in order, beside other streams."""

    def destroy_stream(self, stream: int) -> None:
        """Drop a stream, whose work was waited for."""

    def synchronize(self, stream: int) -> None:
        """Wait for all work of a stream; what failed in it is raised here."""

    def create_event(self) -> int:
        """A point in a stream's work."""

    def destroy_event(self, event: int) -> None:
        """Drop an event."""

    def record(self, event: int, stream: int) -> None:
        """Put an event behind what a stream has to do so far."""

    def wait(self, event: int) -> None:
        """Wait until an event is reached; what failed before it is raised here."""

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds on the device between two events that were reached."""

    def upload(self, address: int, source: NDArray[Any], stream: int) -> None:
        """Copy a C-contiguous array to the device, in a stream."""

    def download(self, target: NDArray[Any], address: int, stream: int) -> None:
        """Fill a C-contiguous array from the device, in a stream."""

    def copy_rows(self, target: DevicePlane, source: DevicePlane, stream: int) -> None:
        """Copy rows from one place of the device to another of as many bytes, in a stream."""

    def download_rows(self, target: NDArray[Any], source: DevicePlane, stream: int) -> None:
        """Fill a C-contiguous array with rows from the device, in a stream."""

    def begin_capture(self, stream: int) -> None:
        """Note a stream's work from here on instead of doing it; where `has_graphs`."""

    def end_capture(self, stream: int) -> int:
        """Make a graph of what was noted."""

    def launch(self, graph: int, stream: int) -> None:
        """Do what a graph says, in a stream."""

    def destroy_graph(self, graph: int) -> None:
        """Drop a graph."""

    def close(self) -> None:
        """Release the primary context; may be called twice."""
