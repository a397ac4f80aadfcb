"""Pool of engine sessions on one GPU, one per plane layout, opened when first needed.

Engines are static, so each layout and batch size has its own. If GPU memory runs short, the pool first closes
other layouts, then uses smaller batches, then gives up overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rtdeblur.backends.base import EngineOptions, colour_inputs
from rtdeblur.backends.tensorrt import gate
from rtdeblur.backends.tensorrt.builder import build
from rtdeblur.backends.tensorrt.cache import CachedEngine, EngineCache
from rtdeblur.backends.tensorrt.flavours import Flavour
from rtdeblur.backends.tensorrt.layouts import TAILS, Layout
from rtdeblur.backends.tensorrt.session import Arrays, EngineSession, LoadedEngine, Slot, Ticket
from rtdeblur.backends.tensorrt.spec import EngineSpec, Shape, ShapeProfile, Target
from rtdeblur.cuda.base import Driver
from rtdeblur.dropout import Dropout
from rtdeblur.errors import BackendError, EngineError, GpuMemoryError, InterruptedRunError
from rtdeblur.frames import Colour
from rtdeblur.model import Model
from rtdeblur.parity import LEAST_PSNR
from rtdeblur.plurals import counted

Send = Callable[[Slot, slice, Arrays], Ticket]
"""Starts a slice of a batch in a slot, given the inputs that depend only on layout and colour."""

_MAX_SESSIONS = 2
"""Number of layouts kept open, so that a stream alternating between two does not reload engines."""


class EnginePool:
    """Builds, loads, checks and caches the engines of one model.

    Args:
        model: the bundle.
        driver: driver of the GPU.
        flavour: library that builds and runs the engines.
        target: what engines are built for.
        slots: batches in flight.
        dropout: the stream's mask, for a graph with dropout tables as inputs.
        options: engine folder, notices and progress.

    Attributes:
        slots: batches in flight; fewer once memory ran short.
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
        self._sessions: dict[Layout, EngineSession] = {}
        self._most: dict[Layout, int] = {}
        self._fixed: dict[tuple[Layout, Colour], Arrays] = {}

    def start(self, layout: Layout, colour: Colour, count: int, send: Send) -> list[Ticket]:
        """Start a batch, in as many slices as GPU memory requires.

        Args:
            layout: plane layout of the batch.
            colour: colour of the batch.
            count: frames in the batch.
            send: starts the frames of a slice.

        Raises:
            EngineError: no engine can be built or loaded, or it fails the parity check.
            BackendError: not even one frame fits, or TensorRT refuses it.
        """
        tickets: list[Ticket] = []
        first = 0
        while first < count:
            session = self._session(layout, colour, count - first)
            part = slice(first, min(first + session.batch, count))
            try:
                tickets.append(send(session.next_slot(), part, self._fixed_inputs(layout, colour)))
            except GpuMemoryError as error:
                self._shrink(layout, session.batch, error)
                continue
            first = part.stop
        return tickets

    def close(self) -> None:
        """Close every session; may be called twice."""
        while self._sessions:
            self._sessions.popitem()[1].close()

    def _session(self, layout: Layout, colour: Colour, wanted: int) -> EngineSession:
        """Return the session of a layout, for `wanted` frames or as many as fit."""
        while True:
            size = min(wanted, self._most.get(layout, wanted))
            session = self._sessions.get(layout)
            if session and session.batch >= size:
                return session
            self._drop(layout)
            while len(self._sessions) >= _MAX_SESSIONS:
                self._drop(next(iter(self._sessions)))
            try:
                self._sessions[layout] = self._open(layout, colour, size)
            except GpuMemoryError as error:
                self._shrink(layout, size, error)

    def _open(self, layout: Layout, colour: Colour, size: int) -> EngineSession:
        (height, width), (chroma_height, chroma_width), planes = layout
        shape = Shape(size, height, width, chroma_height, chroma_width)
        spec = EngineSpec.of(self._model, ShapeProfile.static(shape), self._target, planes=planes)
        engine = self._cache.load(spec, partial(self._build, spec), partial(LoadedEngine, self._flavour))
        fixed = self._fixed_inputs(layout, colour)
        shapes = {name: value.shape for name, value in fixed.items()}
        luma, chroma = TAILS[planes]
        shapes["y"] = (size, 1, height, width, *luma)
        shapes["u"] = shapes["v"] = (size, 1, chroma_height, chroma_width, *chroma)
        session = EngineSession(self._driver, engine, shapes, slots=self.slots, notice=self._options.notice)
        try:
            self._check_parity(session, engine.cached, layout, colour)
        except BaseException:
            session.close()
            raise
        return session

    def _build(self, spec: EngineSpec) -> bytes:
        what = f"{spec.model} for {spec.profile}"
        self._options.notice(
            f"building the {self._flavour.title} engine of {what}; it is cached for the next run"
        )
        try:
            return build(self._model.onnx, spec, self._options.on_progress, self._options.stopped)
        except InterruptedRunError as error:
            self._options.notice(str(error))  # an interrupted caller does not wait for the result
            raise

    def _check_parity(
        self, session: EngineSession, cached: CachedEngine, layout: Layout, colour: Colour
    ) -> None:
        """Refuse an engine whose result on the test picture differs from the CPU's; checked once per GPU."""

        def restore(arrays: Arrays) -> list[gate.Array]:
            ticket = session.next_slot().start(arrays, self._fixed_inputs(layout, colour))
            ticket.finish()
            return ticket.outputs

        passed = gate.Record(cached.path and cached.path.with_suffix(".parity"))
        case = f"{self._driver.device.name} {layout}"
        if case not in passed:
            parity = gate.parity(restore, layout, colour, self._model, self._dropout, self._options.stopped)
            if parity < LEAST_PSNR:
                self._cache.discard(cached.spec)
                raise EngineError(gate.refusal(cached.spec, layout, parity))
            passed.add(case, parity)

    def _fixed_inputs(self, layout: Layout, colour: Colour) -> Arrays:
        """Return inputs that depend only on layout and colour; always the same object, so slots reuse it."""
        if (layout, colour) not in self._fixed:
            tables = self._dropout.inputs(*layout[0]) if self._dropout else {}
            self._fixed[layout, colour] = {**colour_inputs(colour), **tables}
        return self._fixed[layout, colour]

    def _shrink(self, layout: Layout, size: int, error: GpuMemoryError) -> None:
        """Use less GPU memory: close other layouts, then halve batches, then use one slot."""
        self._drop(layout)
        free, total = (n >> 20 for n in self._driver.memory())
        height, width = layout[0]
        tried = (
            f"no room for {counted(size, 'frame')} of {width}×{height} in {counted(self.slots, 'slot')} "
            f"({free} of {total} MiB free)"
        )
        if self._sessions:
            while self._sessions:
                self._drop(next(iter(self._sessions)))
            return
        if size > 1:
            self._most[layout] = size // 2
            self._options.notice(f"GPU memory is low: {tried}; continuing with batches of {size // 2}")
        elif self.slots > 1:
            self.slots = 1
            self._options.notice(f"GPU memory is low: {tried}; continuing without overlap")
        else:
            raise BackendError(
                f"GPU memory is low: {tried}: {error}; try --backend openvino, a smaller video, or "
                "closing other programs that use it"
            ) from error

    def _drop(self, layout: Layout) -> None:
        session = self._sessions.pop(layout, None)
        if session:
            session.close()
        self._fixed = {key: value for key, value in self._fixed.items() if key[0] != layout}
