"""A loaded engine and its slots: upload of one batch, inference of another, download of a third overlap."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from rtdeblur.cuda import DEFAULT_STREAM, Driver
from rtdeblur.engine.flavours import log_of
from rtdeblur.engine.loading import Kernels, LoadedEngine, failure
from rtdeblur.engine.slot import Arrays, IsBroken, Notice, Slot, Ticket
from rtdeblur.errors import BackendError
from rtdeblur.frames import DevicePlanes


class Session:
    """Runs batches of one layout.

    Args:
        driver: current in the calling thread, as in every call below.
        loaded: the engine.
        shapes: of the inputs as the engine takes them, by name; the first dimension of planes is the batch.
        slots: batches in flight.
        notice: takes one line for the user.

    Raises:
        GpuMemoryError: the slots do not fit.
        BackendError: TensorRT refuses the shapes.
    """

    def __init__(
        self,
        driver: Driver,
        loaded: LoadedEngine,
        shapes: dict[str, tuple[int, ...]],
        *,
        slots: int,
        notice: Notice,
    ) -> None:
        self._driver = driver
        self._stack = ExitStack()
        self._kernels = Kernels(loaded)
        self._next = 0
        self._slots: list[Slot] = []
        try:
            for _ in range(slots):
                context = self._context(loaded, shapes)
                self._slots.append(Slot(driver, context, loaded, self._stack, notice))
        except BaseException:
            self.close()
            raise

    def _context(self, loaded: LoadedEngine, shapes: dict[str, tuple[int, ...]]) -> Any:
        with log_of(loaded.flavour).listening() as messages:
            context = self._kernels.create_context()
            if context is None:
                raise failure(BackendError, "cannot start the engine", loaded.flavour, messages)
            for name, shape in shapes.items():
                if not context.set_input_shape(name, shape):
                    raise failure(BackendError, f"refuses {name} of {shape}", loaded.flavour, messages)
            if missing := context.infer_shapes():
                raise BackendError(f"the engine asks for inputs that a video graph lacks: {missing}")
        return context

    def start(self, planes: Arrays, fixed: Arrays) -> Ticket:
        """Send a batch on its way.

        Args:
            planes: inputs that change from batch to batch, (n, …); n may be less than the engine's batch.
            fixed: the other inputs; sent only where the dictionary is another object than the slot's last.
        """
        return self._slot().start(planes, fixed)

    def start_device(self, pictures: Sequence[DevicePlanes], fixed: Arrays, is_broken: IsBroken) -> Ticket:
        """Send pictures in the device's memory on their way; they are restored in place.

        What the default stream has to do with them so far is waited for.

        Args:
            pictures: n of them; n may be less than the engine's batch, whose planes are nv12.
            fixed: as of `start`.
            is_broken: a picture of which it says so is left as it was.
        """
        self._driver.synchronize(DEFAULT_STREAM)
        return self._slot().start_device(pictures, fixed, is_broken)

    def finish(self, ticket: Ticket) -> Ticket:
        """Wait for a batch; give its ticket, with what came of it."""
        ticket.slot.finish(ticket)
        self._kernels.save()
        return ticket

    def _slot(self) -> Slot:
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        return slot

    def close(self) -> None:
        """Wait for what runs, and release everything; may be called twice."""
        for slot in self._slots:
            slot.close()
        self._slots = []
        self._stack.close()
        self._kernels.release()
