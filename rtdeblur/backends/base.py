"""The protocol of a backend, and the options of those that build engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from rtdeblur.cuda.base import DeviceTimes
from rtdeblur.device import DeviceBatch
from rtdeblur.dropout import Dropout
from rtdeblur.errors import BackendError
from rtdeblur.frames import Colour, FrameBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtdeblur.model import Model


Mode = Literal["throughput", "latency"]


Pending = Callable[[], FrameBatch]
"""A batch in flight: the call waits for it and gives it restored. Called once, in the order of submission."""
PendingDevice = Callable[[], DeviceBatch]
"""The same of a batch in the GPU's memory."""
Notice = Callable[[str], None]
"""Takes one line for the user."""
BuildProgress = Callable[[float, str], None]
"""Takes the share of an engine build that is done, 0 to 1, and the name of the phase."""


class Backend(Protocol):
    """Restores batches; batches may come from one thread only, one at a time."""

    name: str
    description: str
    """One line for the user: what runs and why it was chosen."""
    fingerprint: Mapping[str, str]
    """What decides the bytes of restored frames besides the model's graph: names and values for programs."""
    device: str = "CPU"
    """Where it runs, for people: CPU, or the name of a GPU or NPU."""
    slots: int = 1
    """Batches that `submit` may have in flight."""
    unrestored: int = 0
    """Frames so far that came back as no pictures, and were left as they were."""
    device_times: DeviceTimes | None = None
    """Of the batch that came back last; None where no clock but the processor's is known."""
    takes_device_frames: bool = False
    """Whether `submit_device` may be called."""

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Give a batch of the same layout, times and carriers, with restored planes."""

    def submit(self, batch: FrameBatch) -> Pending:
        """Begin with a batch; by default the call that is given does all of it."""
        return partial(self.infer, batch)

    def submit_device(self, batch: DeviceBatch) -> PendingDevice:
        """Begin with a batch in the GPU's memory, which is restored in place."""
        raise BackendError(f"the backend {self.name} restores no frames in the GPU's memory")

    def close(self) -> None:
        """Release everything; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class EngineOptions:
    """How the backend tensorrt goes about its engines.

    Attributes:
        flavour: rtx, tensorrt, or auto (`rtdeblur.backends.tensorrt.flavours.choose`).
        folder: where engines lie; None is the user's cache.
        driver: of CUDA: cuda-bindings, pycuda, or auto (`rtdeblur.cuda.open_driver`).
        notice: called with a message about a build, a rebuild, or low memory.
        on_progress: called with the progress of a build.
        stopped: polled during a build, and during inference on the CPU; True gives it up, and raises
            InterruptedRunError.
    """

    flavour: str = "auto"
    folder: Path | None = None
    driver: str = "auto"
    notice: Notice = lambda _: None
    on_progress: BuildProgress | None = None
    stopped: Callable[[], bool] = lambda: False


def check_size(size: tuple[int, ...], model: Model) -> None:
    """Refuse a frame that is smaller than a model's stride, which the graph could not pad by reflection.

    Raises:
        BackendError: the frame is too small.
    """
    stride = model.manifest.stride
    if min(size) < stride:
        raise BackendError(
            f"a frame of {size[1]}×{size[0]} is too small for {model.manifest.name!r}, "
            f"which needs at least {stride}×{stride}; try --model identity"
        )


def fingerprint_of(dropout: Dropout | None) -> str:
    """The dropout mask in a backend's fingerprint."""
    return "off" if dropout is None or dropout.seed is None else f"seed {dropout.seed}"


def colour_inputs(colour: Colour) -> dict[str, NDArray[Any]]:
    """The inputs of a video graph that say what its code values mean."""
    import numpy as np

    return {
        "yuv_to_rgb": colour.yuv_to_rgb(),
        "rgb_to_yuv": colour.rgb_to_yuv(),
        "peak": np.array([colour.peak], np.float32),
    }
