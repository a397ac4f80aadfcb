"""What is ready on the GPU for each layout of planes met: an engine, its session, its fixed inputs.

Engines are static, so each layout and batch has its own. Where the GPU's memory is short, others make room,
batches become smaller, and overlap is given up at last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from rtdeblur.backends.base import EngineOptions, colour_inputs
from rtdeblur.backends.tensorrt import gate
from rtdeblur.backends.tensorrt.builder import build
from rtdeblur.backends.tensorrt.cache import CachedEngine, EngineCache
from rtdeblur.backends.tensorrt.flavours import Flavour
from rtdeblur.backends.tensorrt.layouts import TAILS
from rtdeblur.backends.tensorrt.session import Arrays, Session, load_engine
from rtdeblur.backends.tensorrt.spec import EngineSpec, PlaneType, Shape, ShapeProfile, Target
from rtdeblur.cuda.base import Driver
from rtdeblur.dropout import Dropout
from rtdeblur.errors import BackendError, EngineError, GpuMemoryError, InterruptedRunError
from rtdeblur.frames import Colour
from rtdeblur.model import Model

Layout = tuple[tuple[int, ...], tuple[int, ...], PlaneType]
"""Sizes of luma and chroma, and how the samples lie."""
MAX_SESSIONS = 2
"""Layouts kept ready: a stream that alternates between two does not load again."""


@dataclass
class Room:
    """What of one layout fits into the GPU's memory."""

    session: Session
    batch: int
    fixed: dict[Colour, Arrays] = field(default_factory=dict)


class Rooms:
    """The sessions of a backend.

    Args:
        model: the bundle.
        driver: of the GPU.
        flavour: that builds and runs.
        target: what engines are built for.
        slots: batches in flight.
        dropout: the stream's mask, for a graph that takes its tables.
        options: where engines lie, and who is told.

    Attributes:
        slots: how many are left.
    """

    def __init__(
        self,
        model: Model,
        driver: Driver,
        flavour: Flavour,
        target: Target,
        *,
        slots: int,
        dropout: Dropout | None,
        options: EngineOptions,
    ) -> None:
        self._model, self._driver, self._flavour, self._target = model, driver, flavour, target
        self._dropout, self._options = dropout, options
        self._cache = EngineCache(options.folder, options.notice, options.stopped)
        self.slots = slots
        self._rooms: dict[Layout, Room] = {}
        self._most: dict[Layout, int] = {}

    def find(self, layout: Layout, colour: Colour, wanted: int) -> Room:
        """The session of a layout, for `wanted` frames or as many as fit."""
        while True:
            size = min(wanted, self._most.get(layout, wanted))
            room = self._rooms.get(layout)
            if room and room.batch >= size:
                return room
            self._drop(layout)
            while len(self._rooms) >= MAX_SESSIONS:
                self._drop(next(iter(self._rooms)))
            try:
                self._rooms[layout] = self._open_room(colour, layout, size)
            except GpuMemoryError as error:
                self.shrink(layout, size, error)

    def fixed(self, room: Room, colour: Colour, layout: Layout) -> Arrays:
        """Inputs that change with the colour alone; the same object as long as they do not."""
        if colour not in room.fixed:
            room.fixed[colour] = self._fixed_inputs(colour, layout)
        return room.fixed[colour]

    def _fixed_inputs(self, colour: Colour, layout: Layout) -> Arrays:
        tables = self._dropout.inputs(*layout[0]) if self._dropout else {}
        return {**colour_inputs(colour), **tables}

    def shrink(self, layout: Layout, size: int, error: GpuMemoryError) -> None:
        """Ask for less of the GPU's memory: other layouts first, then smaller batches, then one slot."""
        self._drop(layout)
        free, total = (n >> 20 for n in self._driver.memory())
        height, width = layout[0]
        tried = (
            f"{size} frames of {width}×{height} in {self.slots} slots do not fit ({free} of {total} MiB free)"
        )
        if self._rooms:
            while self._rooms:
                self._drop(next(iter(self._rooms)))
            return
        if size > 1:
            self._most[layout] = size // 2
            self._options.notice(f"the GPU's memory is short: {tried}; going on with batches of {size // 2}")
        elif self.slots > 1:
            self.slots = 1
            self._options.notice(f"the GPU's memory is short: {tried}; going on without overlap")
        else:
            raise BackendError(
                f"the GPU's memory is short: {tried}: {error}; try --backend openvino, a smaller video, or "
                "closing other programs that use it"
            ) from error

    def close(self) -> None:
        """Close every session; may be called twice."""
        while self._rooms:
            self._rooms.popitem()[1].session.close()

    def _open_room(self, colour: Colour, layout: Layout, size: int) -> Room:
        (height, width), (chroma_height, chroma_width), planes = layout
        shape = Shape(size, height, width, chroma_height, chroma_width)
        spec = EngineSpec.of(self._model, ShapeProfile.static(shape), self._target, planes=planes)
        loaded = self._cache.load(spec, partial(self._build, spec), partial(load_engine, self._flavour))
        fixed = self._fixed_inputs(colour, layout)
        shapes = {name: value.shape for name, value in fixed.items()}
        luma, chroma = TAILS[planes]
        shapes["y"] = (size, 1, height, width, *luma)
        shapes["u"] = shapes["v"] = (size, 1, chroma_height, chroma_width, *chroma)
        session = Session(self._driver, loaded, shapes, slots=self.slots, notice=self._options.notice)
        try:
            self._gate(session, loaded.cached, layout, colour, fixed)
        except BaseException:
            session.close()
            raise
        return Room(session, size, {colour: fixed})

    def _build(self, spec: EngineSpec) -> bytes:
        what = f"{spec.model} for {spec.profile}"
        self._options.notice(f"building the {self._flavour.title} engine of {what}; kept for the next run")
        try:
            return build(self._model.onnx, spec, self._options.on_progress, self._options.stopped)
        except InterruptedRunError as error:
            self._options.notice(str(error))  # whoever stopped the run does not wait for its error
            raise

    def _gate(
        self, session: Session, cached: CachedEngine, layout: Layout, colour: Colour, fixed: Arrays
    ) -> None:
        """Refuse an engine that does not restore the test picture as the processor does; asked once a GPU."""
        spec = cached.spec
        passed = gate.Record(cached.path and cached.path.with_suffix(".parity"))
        case = f"{self._driver.device.name} {layout}"
        if case in passed:
            return
        luma, chroma, planes = layout
        picture = gate.test_picture(luma, chroma, colour)
        arrays = gate.laid_out(picture.planes, planes)
        restored = session.finish(session.start(arrays, fixed)).outputs
        likeness = gate.likeness(self._model, self._dropout, picture, gate.planes_of(restored))
        if likeness < gate.LEAST_PSNR:
            self._cache.discard(spec)
            raise EngineError(gate.refusal(spec.model, luma, spec.precision, likeness))
        passed.add(case, likeness)

    def _drop(self, layout: Layout) -> None:
        room = self._rooms.pop(layout, None)
        if room:
            room.session.close()
