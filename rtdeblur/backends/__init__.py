"""What runs a model: one file a backend, each loaded on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from rtdeblur.cuda import DeviceTimes
from rtdeblur.dropout import Dropout, Policy
from rtdeblur.errors import BackendError, DependencyError, UsageError
from rtdeblur.frames import Colour, DeviceBatch, FrameBatch
from rtdeblur.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

Precision = Literal["auto", "fp32"]
Mode = Literal["throughput", "latency"]
BACKENDS = ("auto", "openvino", "tensorrt", "identity")

Pending = Callable[[], FrameBatch]
"""A batch in flight: the call waits for it and gives it restored. Called once, in the order of submission."""
PendingDevice = Callable[[], DeviceBatch]
"""The same of a batch in the GPU's memory."""
Notice = Callable[[str], None]
"""Takes one line for the user."""


class Backend(Protocol):
    """Restores batches; batches may come from one thread only, one at a time."""

    name: str
    description: str
    """One line for the user: what runs and why it was chosen."""
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


@dataclass(frozen=True)
class EngineOptions:
    """How the backend tensorrt goes about its engines.

    Attributes:
        flavour: rtx, tensorrt, or auto (`rtdeblur.engine.flavours.choose`).
        folder: where engines lie; None is the user's cache.
        driver: of CUDA: cuda-bindings, pycuda, or auto (`rtdeblur.cuda.open_driver`).
        notice: is told of a build, a rebuild, or memory that is short.
        on_progress: takes the share done of a build, 0 to 1, and the name of the phase.
        stopped: asked again and again during a build; True gives it up, and raises InterruptedRunError.
    """

    flavour: str = "auto"
    folder: Path | None = None
    driver: str = "auto"
    notice: Notice = lambda _: None
    on_progress: Callable[[float, str], None] | None = None
    stopped: Callable[[], bool] = lambda: False


def open_backend(
    name: str,
    model: Model | None,
    *,
    precision: Precision = "auto",
    mode: Mode = "throughput",
    dropout: Policy | None = None,
    seed: int = 0,
    engines: EngineOptions | None = None,
) -> Backend:
    """Start a backend.

    Args:
        name: one of BACKENDS; auto takes tensorrt where a GPU and TensorRT are there, else openvino.
        model: what to run; None is the identity, whatever the name.
        precision: auto is the fastest that the device has; fp32 is exact.
        mode: throughput for files, latency for live pictures.
        dropout: paper keeps one mask for the whole stream, off has none; None leaves it to the manifest.
        seed: that the mask is drawn from, 0 or more.
        engines: how tensorrt goes about its engines.

    Raises:
        BackendError: unknown, or it cannot start here.
        DependencyError: an optional package that it needs is not installed.
        UsageError: dropout is asked of a model that has none.
    """
    if name not in BACKENDS:
        raise BackendError(f"no backend is called {name!r}; try one of {', '.join(BACKENDS)}")
    if precision not in get_args(Precision):
        raise BackendError(f"precision is {precision!r}; try one of {', '.join(get_args(Precision))}")
    if model is None or name == "identity":
        from rtdeblur.backends.identity import IdentityBackend

        return IdentityBackend()
    mask = _stream_dropout(model, dropout, seed)
    reason = ""
    if name != "openvino":
        from rtdeblur.backends.tensorrt import SLOTS, TensorRTBackend

        try:
            return TensorRTBackend.open(
                model,
                precision=precision,
                slots=SLOTS if mode == "throughput" else 1,
                dropout=mask,
                options=engines or EngineOptions(),
                listed_only=name == "auto",
            )
        except (BackendError, DependencyError) as error:
            if name == "tensorrt":
                raise
            reason = f"; not tensorrt: {str(error).partition(';')[0]}"
    from rtdeblur.backends.openvino import OpenVINOBackend

    backend = OpenVINOBackend(model, precision=precision, mode=mode, dropout=mask)
    backend.description += reason
    return backend


def colour_inputs(colour: Colour) -> dict[str, NDArray[Any]]:
    """The inputs of a video graph that say what its code values mean."""
    import numpy as np

    return {
        "yuv_to_rgb": colour.yuv_to_rgb(),
        "rgb_to_yuv": colour.rgb_to_yuv(),
        "peak": np.array([colour.peak], np.float32),
    }


def _stream_dropout(model: Model, policy: Policy | None, seed: int) -> Dropout | None:
    sites = model.manifest.sites
    if sites is None:
        if policy == "paper":
            raise UsageError(f"the model {model.manifest.name!r} has no dropout; try --dropout off")
        return None
    return Dropout(sites, seed if (policy or model.manifest.dropout) == "paper" else None)
