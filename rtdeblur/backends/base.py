"""Backend protocol, and the options of backends that build engines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeVar

from rtdeblur.cuda.base import DeviceTimes
from rtdeblur.device import DeviceBatch
from rtdeblur.dropout import Dropout
from rtdeblur.errors import BackendError
from rtdeblur.frames import Colour, FrameBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtdeblur.model import Model


T = TypeVar("T")
Mode = Literal["throughput", "latency"]

Pending = Callable[[], FrameBatch]
"""A batch in flight: calling it waits and returns the restored batch. Call once, in order of submission."""
PendingDevice = Callable[[], DeviceBatch]
"""Same for a batch in GPU memory."""
IN_FLIGHT = 2
"""Batches to keep in flight if a backend has the slots: enough to hide the copies of one behind the work on
the other."""
Notice = Callable[[str], None]
"""Callback for one line to show to the user."""
BuildProgress = Callable[[float, str], None]
"""Callback for the progress of an engine build: share done (0 to 1) and name of the phase."""


class Backend(Protocol):
    """Restores batches, submitted one at a time from a single thread."""

    name: str
    description: str
    """One line for the user: what runs, and why it was chosen."""
    fingerprint: Mapping[str, str]
    """Everything, except the model's graph, that affects the restored bytes, as machine-readable values."""
    device: str = "CPU"
    """Where it runs, as shown to users: CPU, or the name of a GPU or NPU."""
    batch: int = 4
    """Frames per batch that suit files, unless the user chooses."""
    starts_with_one: bool = False
    """Whether the first frame of a file is a batch of its own, so that its result comes early. Only for a
    backend that compiles nothing per batch size, and whose bytes do not depend on it."""
    slots: int = 1
    """Batches that may be in flight; it may fall while a stream runs."""
    unrestored: int = 0
    """Number of frames so far left unchanged because the model's output was broken."""
    tiles: int = 0
    """Number of tiles that a blur gate has judged so far; 0 without one."""
    restored_tiles: int = 0
    """Number of them that were restored, not copied."""
    halved: int = 0
    """Number of frames for which `--resolution auto` chose half resolution."""
    device_times: DeviceTimes | None = None
    """Device times of the last completed batch; None if the backend has no device clock."""
    takes_device_frames: bool = False
    """Whether `submit_device` is supported."""
    reach: int = 0
    """Number of frames on either side that affect a restored frame, besides `memory`."""

    @property
    def memory(self) -> object:
        """What decisions about later frames depend on, for `recall`; None if they depend on nothing."""
        return None

    def begin(self) -> None:
        """Start another stream: forget what decisions about the frames so far depend on."""
        return

    def recall(self, memory: object) -> None:
        """Continue a stream in the middle, with the `memory` of a run that reached this frame."""
        return

    def observe(self, batch: FrameBatch) -> None:
        """Note frames that need not be restored, so that later ones are restored as if they had been."""
        return

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Return a batch of the same layout, times and carriers, with restored planes."""

    def submit(self, batch: FrameBatch) -> Pending:
        """Start a batch; by default, the returned call does all the work."""
        return partial(self.infer, batch)

    def submit_device(self, batch: DeviceBatch) -> PendingDevice:
        """Start a batch in GPU memory, restored in place."""
        raise BackendError(f"backend {self.name} cannot restore frames in GPU memory")

    def close(self) -> None:
        """Release everything; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def landed(backend: Backend, started: Iterable[Callable[[], T]], most: int = IN_FLIGHT) -> Iterator[T]:
    """Wait for batches in the order of their submission, while later ones are in flight.

    Args:
        backend: the backend that restores them; no more are in flight than it has slots.
        started: calls that wait for a batch each; the iterator submits a batch when its call is taken, which
            happens once there is room. A `Passing` keeps its place among them.
        most: batches in flight if the backend has the slots.

    Yields:
        What each call returned.
    """
    flying: deque[Callable[[], T]] = deque()
    for call in started:
        flying.append(call)
        if sum(not isinstance(one, Passing) for one in flying) >= min(most, backend.slots):
            yield flying.popleft()()
        is_urgent = isinstance(call, Passing) and call.is_urgent
        while flying and (is_urgent or isinstance(flying[0], Passing)):
            yield flying.popleft()()
    while flying:
        yield flying.popleft()()


@dataclass(frozen=True, slots=True)
class Passing(Generic[T]):
    """Keeps an item in its place among the batches in flight; calling it returns the item.

    Attributes:
        item: what is kept.
        is_urgent: whether it does not wait for later batches: those before it land at once.
    """

    item: T
    is_urgent: bool = False

    def __call__(self) -> T:
        """Return the item."""
        return self.item


class BackendWrapper(Backend):
    """A backend in front of another, which it closes; by default, it passes everything on but batches.

    Args:
        inner: the wrapped backend.
    """

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.name, self.device, self.batch = inner.name, inner.device, inner.batch
        self.starts_with_one = inner.starts_with_one
        self.reach = inner.reach

    @property
    def description(self) -> str:  # type: ignore[override]
        """The inner backend's description."""
        return self._inner.description

    @property
    def fingerprint(self) -> Mapping[str, str]:  # type: ignore[override]
        """The inner backend's fingerprint."""
        return self._inner.fingerprint

    @property
    def slots(self) -> int:  # type: ignore[override]
        """The inner backend's slots, which may fall while a stream runs."""
        return self._inner.slots

    @property
    def unrestored(self) -> int:  # type: ignore[override]
        """Frames (for a gate, also windows) that the inner backend left unrestored."""
        return self._inner.unrestored

    @property
    def tiles(self) -> int:  # type: ignore[override]
        """Tiles that the inner backend has judged."""
        return self._inner.tiles

    @property
    def restored_tiles(self) -> int:  # type: ignore[override]
        """Tiles that the inner backend has restored."""
        return self._inner.restored_tiles

    @property
    def halved(self) -> int:  # type: ignore[override]
        """Frames for which the inner backend chose half resolution."""
        return self._inner.halved

    @property
    def memory(self) -> object:
        """The inner backend's memory."""
        return self._inner.memory

    def begin(self) -> None:
        """Start another stream."""
        self._inner.begin()

    def recall(self, memory: object) -> None:
        """Continue a stream in the middle."""
        self._inner.recall(memory)

    def observe(self, batch: FrameBatch) -> None:
        """Pass frames that need not be restored to the inner backend."""
        self._inner.observe(batch)

    def close(self) -> None:
        """Close the inner backend."""
        self._inner.close()


@dataclass(frozen=True)
class EngineOptions:
    """Options for building and caching engines, used by the tensorrt backend.

    Attributes:
        flavour: rtx, tensorrt, or auto (`rtdeblur.backends.tensorrt.flavours.choose`).
        folder: engine folder; None is the user's cache.
        driver: CUDA driver package: cuda-bindings, pycuda, or auto (`rtdeblur.cuda.open_driver`).
        notice: called with a message about a build, a rebuild, or low memory.
        on_progress: called during a build.
        stopped: polled during a build and during inference on the CPU; True abandons the work and raises
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
            f"a frame of {size[1]}×{size[0]} is too small for {model.name!r}, "
            f"which needs at least {stride}×{stride}; try --model identity"
        )


def fingerprint_of(
    backend: str, precision: str, device: str, dropout: Dropout | None, **others: str
) -> Mapping[str, str]:
    """Return the `fingerprint` of a backend.

    Args:
        backend: its name.
        precision: what it computes in.
        device: what it runs on, and the version of whatever affects the bytes there.
        dropout: the stream's mask.
        **others: what else affects the bytes with this backend.
    """
    mask = "off" if dropout is None or dropout.seed is None else f"seed {dropout.seed}"
    return {"backend": backend, "precision": precision, "device": device, "dropout": mask, **others}


def colour_inputs(colour: Colour) -> dict[str, NDArray[Any]]:
    """Inputs of a video graph that describe its code values: colour matrices and peak."""
    import numpy as np

    return {
        "yuv_to_rgb": colour.yuv_to_rgb(),
        "rgb_to_yuv": colour.rgb_to_yuv(),
        "peak": np.array([colour.peak], np.float32),
    }
