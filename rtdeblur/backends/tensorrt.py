"""Inference on an NVIDIA GPU by TensorRT, either flavour."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, dataclass, field, replace
from functools import partial

import numpy as np

from rtdeblur.backends import (
    Backend,
    EngineOptions,
    Notice,
    Pending,
    PendingDevice,
    Precision,
    colour_inputs,
    parity,
    safety,
)  # fmt: skip
from rtdeblur.cuda import DeviceTimes, Driver, open_driver
from rtdeblur.dropout import Dropout
from rtdeblur.engine.builder import build
from rtdeblur.engine.cache import CachedEngine, EngineCache
from rtdeblur.engine.flavours import Flavour, choose
from rtdeblur.engine.loading import load_engine
from rtdeblur.engine.planes import TAILS
from rtdeblur.engine.session import Session
from rtdeblur.engine.slot import Arrays, Ticket
from rtdeblur.engine.spec import EngineSpec, PlaneType, Shape, ShapeProfile, Target
from rtdeblur.errors import (
    BackendError,
    CudaError,
    EngineError,
    GpuMemoryError,
    InterruptedRunError,
    ModelError,
)  # fmt: skip
from rtdeblur.frames import Colour, DeviceBatch, FrameBatch
from rtdeblur.model import INPUTS, Model

Layout = tuple[tuple[int, ...], tuple[int, ...], PlaneType]
"""Sizes of luma and chroma, and how the samples lie."""
_Parts = list[tuple[Session, Ticket]]
"""A batch in flight, in as many parts as the GPU's memory asks for."""

SLOTS = 2
"""Batches in flight: while one is restored, another is copied in or out."""
MAX_SESSIONS = 2
"""Layouts kept ready: a stream that alternates between two does not load again."""


@dataclass
class _Room:
    """What of one layout fits into the GPU's memory."""

    session: Session
    batch: int
    fixed: dict[Colour, Arrays] = field(default_factory=dict)


class TensorRTBackend(Backend):
    """Runs a video graph as static engines, one for each layout met, built when first needed.

    Args:
        model: the bundle; its graph's precision is the engine's.
        driver: of the GPU; closed with the backend.
        flavour: that builds and runs.
        slots: batches in flight; 1 takes the least memory.
        dropout: the stream's mask, for a graph that takes its tables.
        options: where engines lie, and who is told.
        target: what engines are built for; None is `Target.of` the GPU.
    """

    name = "tensorrt"
    takes_device_frames = True

    def __init__(
        self,
        model: Model,
        driver: Driver,
        flavour: Flavour,
        *,
        slots: int,
        dropout: Dropout | None = None,
        options: EngineOptions,
        target: Target | None = None,
    ) -> None:
        self._model, self._driver, self._flavour = model, driver, flavour
        self._dropout, self._options = dropout, options
        self._cache = EngineCache(options.folder, options.notice, options.stopped)
        device = driver.device
        self._target = target or Target.of(flavour, device.name, device.compute_capability)
        self.slots = slots
        self._rooms: dict[Layout, _Room] = {}
        self._most: dict[Layout, int] = {}
        self.description = (
            f"tensorrt {model.manifest.precision}, {flavour.title} {flavour.version}, {device.name} "
            f"(compute capability {device.compute_capability}, {driver.name})"
            f"{', ' + str(dropout) if dropout else ''}"
        )

    @classmethod
    def open(
        cls,
        model: Model,
        *,
        precision: Precision = "auto",
        slots: int,
        dropout: Dropout | None,
        options: EngineOptions,
        listed_only: bool = False,
    ) -> TensorRTBackend:
        """Take hold of the GPU.

        Args:
            model: either variant of a bundle.
            precision: auto takes the fp16 variant where there is one; fp32 the float32 one.
            slots: batches in flight.
            dropout: the stream's mask.
            options: where engines lie, and who is told.
            listed_only: refuse a GPU that the flavour does not list instead of trying.

        Raises:
            DependencyError: a package is missing.
            CudaError: there is no GPU or no driver.
            EngineError: the flavour does not load, or does not list the GPU.
        """
        driver = open_driver(options.driver)
        try:
            capability = driver.device.compute_capability
            flavour = choose(options.flavour, capability)
            listed = _lists(flavour, capability)
            if listed_only and not listed:
                raise EngineError(
                    f"{flavour.title} does not list compute capability {capability} ({driver.device.name}); "
                    "--backend tensorrt tries it"
                )
            variant = _variant(model, precision, options.notice)
            return cls(variant, driver, flavour, slots=slots, dropout=dropout, options=options)
        except BaseException:
            driver.close()
            raise

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Restore the frames of a batch."""
        return self.submit(batch)()

    def submit(self, batch: FrameBatch) -> Pending:
        """Send a batch on its way; the call that is given waits for it."""

        def start(room: _Room, first: int, last: int) -> Ticket:
            planes = dict(zip(INPUTS, (plane[first:last] for plane in batch.planes), strict=False))
            return room.session.start(planes, self._fixed(room, batch.colour, layout))

        layout = _layout(batch)
        return partial(self._collect, batch, self._start(layout, batch.colour, len(batch), start))

    def submit_device(self, batch: DeviceBatch) -> PendingDevice:
        """Send a batch in the GPU's memory on its way, by an engine that takes NV12."""

        def start(room: _Room, first: int, last: int) -> Ticket:
            fixed = self._fixed(room, batch.colour, layout)
            return room.session.start_device(batch.planes[first:last], fixed, safety.rows_look_broken)

        height, width = batch.size
        layout: Layout = (height, width), (height // 2, width // 2), "nv12"
        return partial(self._collect_device, batch, self._start(layout, batch.colour, len(batch), start))

    def _start(
        self, layout: Layout, colour: Colour, count: int, start: Callable[[_Room, int, int], Ticket]
    ) -> _Parts:
        """Start `count` frames, in as many parts as the GPU's memory asks for."""
        self._driver.activate()
        parts: _Parts = []
        first = 0
        while first < count:
            room = self._room(layout, colour, count - first)
            last = min(first + room.batch, count)
            try:
                ticket = start(room, first, last)
            except GpuMemoryError as error:
                self._shrink(layout, room.batch, error)
                continue
            parts.append((room.session, ticket))
            first = last
        return parts

    def close(self) -> None:
        """Release everything on the GPU; may be called twice."""
        with suppress(CudaError):
            self._driver.activate()
        while self._rooms:
            self._rooms.popitem()[1].session.close()
        self._driver.close()

    def _finish(self, parts: _Parts) -> list[Ticket]:
        self._driver.activate()
        tickets = [session.finish(ticket) for session, ticket in parts]
        times = [astuple(ticket.times) for ticket in tickets if ticket.times]
        self.device_times = DeviceTimes(*map(sum, zip(*times, strict=True)))
        return tickets

    def _collect_device(self, batch: DeviceBatch, parts: _Parts) -> DeviceBatch:
        self.unrestored += sum(ticket.unrestored for ticket in self._finish(parts))
        return batch

    def _collect(self, batch: FrameBatch, parts: _Parts) -> FrameBatch:
        finished = [ticket.outputs for ticket in self._finish(parts)]
        joined = (
            finished[0] if len(finished) == 1 else [np.concatenate(p) for p in zip(*finished, strict=True)]
        )
        y, u, v = joined
        for i in range(len(batch)):
            before, after = (tuple(plane[i] for plane in planes) for planes in (batch.planes, (y, u, v)))
            if safety.looks_broken(before, after, batch.colour.peak):
                self.unrestored += 1
                for old, new in zip(before, after, strict=True):
                    new[...] = old
        return replace(batch, planes=(y, u, v))

    def _room(self, layout: Layout, colour: Colour, wanted: int) -> _Room:
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
                self._shrink(layout, size, error)

    def _open_room(self, colour: Colour, layout: Layout, size: int) -> _Room:
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
            self._gate(session, loaded.cached, colour, fixed)
        except BaseException:
            session.close()
            raise
        return _Room(session, size, {colour: fixed})

    def _build(self, spec: EngineSpec) -> bytes:
        what = f"{spec.model} for {spec.profile}"
        self._options.notice(f"building the {self._flavour.title} engine of {what}; kept for the next run")
        try:
            return build(self._model.onnx, spec, self._options.on_progress, self._options.stopped)
        except InterruptedRunError as error:
            self._options.notice(str(error))  # whoever stopped the run does not wait for its error
            raise

    def _gate(self, session: Session, cached: CachedEngine, colour: Colour, fixed: Arrays) -> None:
        """Refuse an engine that does not restore the test picture as the processor does; asked once a GPU."""
        spec = cached.spec
        passed = parity.Record(cached.path and cached.path.with_suffix(".parity"))
        case = f"{self._driver.device.name} {spec.profile} {spec.planes}"
        if case in passed:
            return
        shape = spec.profile.opt
        luma, chroma = (shape.height, shape.width), (shape.chroma_height, shape.chroma_width)
        picture = safety.test_picture(luma, chroma, colour)
        arrays = parity.laid_out(picture.planes, spec.planes)
        restored = session.finish(session.start(arrays, fixed)).outputs
        likeness = parity.likeness(self._model, self._dropout, picture, parity.planes_of(restored))
        if likeness < safety.LEAST_PSNR:
            self._cache.discard(spec)
            raise EngineError(safety.refusal(spec.model, luma, spec.precision, likeness))
        passed.add(case, likeness)

    def _fixed(self, room: _Room, colour: Colour, layout: Layout) -> Arrays:
        if colour not in room.fixed:
            room.fixed[colour] = self._fixed_inputs(colour, layout)
        return room.fixed[colour]

    def _fixed_inputs(self, colour: Colour, layout: Layout) -> Arrays:
        tables = self._dropout.inputs(*layout[0]) if self._dropout else {}
        return {**colour_inputs(colour), **tables}

    def _shrink(self, layout: Layout, size: int, error: GpuMemoryError) -> None:
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

    def _drop(self, layout: Layout) -> None:
        room = self._rooms.pop(layout, None)
        if room:
            room.session.close()


def _layout(batch: FrameBatch) -> Layout:
    y, u, _ = batch.planes
    return y.shape[2:], u.shape[2:], "uint8" if y.dtype == np.uint8 else "uint16"


def _lists(flavour: Flavour, capability: str) -> bool:
    """Whether a flavour names the GPU's compute capability; the enterprise one builds for any."""
    return not flavour.portable or capability in flavour.targets


def _variant(model: Model, precision: Precision, notice: Notice) -> Model:
    if precision != "auto":
        return model.variant(precision)
    try:
        return model.variant("fp16")
    except ModelError as error:
        notice(f"running {model.manifest.precision}: {error}")
        return model
