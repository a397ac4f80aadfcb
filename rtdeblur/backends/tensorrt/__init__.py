"""TensorRT backend: inference on an NVIDIA GPU, with either flavour."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import astuple, replace
from functools import partial

import numpy as np

from rtdeblur.backends import sanity
from rtdeblur.backends.base import Backend, EngineOptions, Pending, PendingDevice, fingerprint_of
from rtdeblur.backends.tensorrt.flavours import Flavour, choose
from rtdeblur.backends.tensorrt.layouts import Layout
from rtdeblur.backends.tensorrt.pool import EnginePool
from rtdeblur.backends.tensorrt.session import Arrays, Slot, Ticket
from rtdeblur.backends.tensorrt.spec import Target
from rtdeblur.cuda import open_driver
from rtdeblur.cuda.base import DeviceTimes, Driver
from rtdeblur.device import DeviceBatch
from rtdeblur.dropout import Dropout
from rtdeblur.errors import CudaError, EngineError
from rtdeblur.frames import FrameBatch
from rtdeblur.model import INPUTS, Model, Precision

SLOTS = 2
"""Batches in flight: one is copied in or out while another is restored."""


class TensorRTBackend(Backend):
    """Runs a video graph as static engines, one per layout, built when first needed.

    Args:
        model: the bundle; its graph sets the precision.
        driver: GPU driver; closed with the backend.
        flavour: library that builds and runs the engines.
        slots: batches in flight; 1 uses the least memory.
        dropout: the stream's mask, for a graph with dropout tables as inputs.
        options: where engines are kept, and callbacks for notices and progress.
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
        self._driver = driver
        device = driver.device
        self.device = device.name
        target = target or Target.of(flavour, device.name, device.compute_capability)
        self._pool = EnginePool(model, driver, flavour, target, slots=slots, dropout=dropout, options=options)
        self.fingerprint = fingerprint_of(
            self.name,
            model.manifest.precision,
            f"{device.name}, compute capability {device.compute_capability}",
            dropout,
            flavour=f"{flavour.name} {flavour.version}",
        )
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
        """Open the backend on a GPU.

        Args:
            model: either variant of a bundle.
            precision: precision of the graph (see `Model.variant`); not bf16 or int8.
            slots: batches in flight.
            dropout: the stream's mask.
            options: where engines are kept, and callbacks for notices and progress.
            listed_only: refuse a GPU that the flavour does not list, instead of trying it.

        Raises:
            DependencyError: a package is missing.
            CudaError: no GPU or no driver.
            EngineError: the flavour fails to load, does not list the GPU, or the precision is bf16 or int8.
            ModelError: the bundle has no graph of that precision.
        """
        if precision in ("bf16", "int8"):
            raise EngineError(f"tensorrt runs fp16 or fp32, not {precision}", "try --precision auto")
        driver = open_driver(options.driver)
        try:
            capability = driver.device.compute_capability
            flavour = choose(options.flavour, capability)
            listed = _lists(flavour, capability)
            if listed_only and not listed:
                raise EngineError(
                    f"{flavour.title} does not list compute capability {capability} ({driver.device.name})",
                    "force it with --backend tensorrt",
                )
            variant = model.variant(precision)
            if precision == "auto" and variant.manifest.precision != "fp16":
                options.notice(f"running fp32: model {model.name!r} has no fp16 variant")
            return cls(variant, driver, flavour, slots=slots, dropout=dropout, options=options)
        except BaseException:
            driver.close()
            raise

    @property
    def slots(self) -> int:  # type: ignore[override]
        """Batches in flight; fewer once GPU memory has run short."""
        return self._pool.slots

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Restore the frames of a batch."""
        return self.submit(batch)()

    def submit(self, batch: FrameBatch) -> Pending:
        """Start a batch; the returned callable waits for it."""

        def send(slot: Slot, part: slice, fixed: Arrays) -> Ticket:
            return slot.start(dict(zip(INPUTS, (p[part] for p in batch.planes), strict=False)), fixed)

        self._driver.activate()
        tickets = self._pool.start(_layout(batch), batch.colour, len(batch), send)
        return partial(self._collect, batch, tickets)

    def submit_device(self, batch: DeviceBatch) -> PendingDevice:
        """Start a batch in GPU memory, with an NV12 engine."""

        def send(slot: Slot, part: slice, fixed: Arrays) -> Ticket:
            return slot.start_device(batch.planes[part], fixed, sanity.rows_look_broken)

        height, width = batch.size
        layout: Layout = (height, width), (height // 2, width // 2), "nv12"
        self._driver.activate()
        tickets = self._pool.start(layout, batch.colour, len(batch), send)
        return partial(self._collect_device, batch, tickets)

    def close(self) -> None:
        """Release everything on the GPU; may be called twice."""
        with suppress(CudaError):
            self._driver.activate()
        self._pool.close()
        self._driver.close()

    def _finish(self, tickets: list[Ticket]) -> None:
        self._driver.activate()
        for ticket in tickets:
            ticket.finish()
        times = [astuple(ticket.times) for ticket in tickets if ticket.times]
        self.device_times = DeviceTimes(*map(sum, zip(*times, strict=True)))

    def _collect_device(self, batch: DeviceBatch, tickets: list[Ticket]) -> DeviceBatch:
        self._finish(tickets)
        self.unrestored += sum(ticket.unrestored for ticket in tickets)
        return batch

    def _collect(self, batch: FrameBatch, tickets: list[Ticket]) -> FrameBatch:
        self._finish(tickets)
        parts = [ticket.outputs for ticket in tickets]
        joined = parts[0] if len(parts) == 1 else [np.concatenate(p) for p in zip(*parts, strict=True)]
        y, u, v = joined
        self.unrestored += sanity.put_back_broken(batch.planes, (y, u, v), batch.colour.peak)
        return replace(batch, planes=(y, u, v))


def _layout(batch: FrameBatch) -> Layout:
    y, u, _ = batch.planes
    return y.shape[2:], u.shape[2:], "uint8" if y.dtype == np.uint8 else "uint16"


def _lists(flavour: Flavour, capability: str) -> bool:
    """Whether a flavour lists the GPU's compute capability; the enterprise flavour builds for any."""
    return not flavour.portable or capability in flavour.targets
