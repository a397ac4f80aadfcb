"""OpenVINO backend: inference on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache

import numpy as np
import openvino as ov

from rtdeblur import system
from rtdeblur.backends.base import Backend, Mode, colour_inputs, fingerprint_of
from rtdeblur.backends.sanity import put_back_broken
from rtdeblur.dropout import Dropout
from rtdeblur.errors import BackendError, InterruptedRunError
from rtdeblur.frames import FrameBatch, Planes
from rtdeblur.model import INPUTS, OUTPUTS, Model, Precision

Shapes = tuple[tuple[int, ...], tuple[int, ...], str]

_POLL_MS = 50
_LEAST_ROOM_MIB = 300
_ROOM_PER_THREAD_MIB = 72
"""Stack and heap that the C library reserves per thread.

With less room, OpenVINO's own threads run out of memory while it compiles a model. That aborts the process:
there is no error to catch."""
_MAX_COMPILED = 2
"""Number of compiled sizes kept, so that a stream alternating between two does not recompile."""


class OpenVINOBackend(Backend):
    """Runs a video graph with static shapes, compiled once per frame size.

    The frames of a batch are independent requests, so batching does not change the output bytes. Video of
    more than 8 bits runs the same graph with uint16 planes.

    Args:
        model: the bundle.
        precision: auto is bf16 on CPUs that are fast in it, else fp32.
        mode: throughput runs several frames in parallel; latency uses all cores for one frame.
        dropout: the stream's mask, for a graph with dropout tables as inputs.
        stopped: polled during inference; True abandons it and raises InterruptedRunError.

    Raises:
        BackendError: precision is fp16, OpenVINO cannot read the graph, or a frame is smaller than the
            model's stride.
    """

    name = "openvino"

    def __init__(
        self,
        model: Model,
        *,
        precision: Precision = "auto",
        mode: Mode = "throughput",
        dropout: Dropout | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        if precision == "fp16":
            raise BackendError("openvino runs bf16 or fp32, not fp16; try --precision auto")
        self._model = model
        self._dropout, self._stopped = dropout, stopped
        room, least = system.address_space_left_mib(), _least_room_mib()
        if room is not None and room < least:
            raise BackendError(
                f"OpenVINO needs at least {least} MiB of address space, but the limit of this process "
                f"leaves {room}; raise it (ulimit -v)"
            )
        try:
            self._core = core()
            cores = self._core.get_property("CPU", "RANGE_FOR_STREAMS")[1]
            processor = self._core.get_property("CPU", "FULL_DEVICE_NAME")
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot start: {_last_line(error)}; free memory") from error
        self._bf16 = precision == "auto" and is_fast_in_bf16(self._core)
        self._mode = mode
        self._compiled: dict[Shapes, list[ov.InferRequest]] = {}
        self.fingerprint = {
            "backend": self.name,
            "precision": "bf16" if self._bf16 else "fp32",
            "mode": mode,
            "device": processor,
            "threads": str(cores),
            "dropout": fingerprint_of(dropout),
        }
        self.description = (
            f"openvino {'bf16' if self._bf16 else 'fp32'}, {mode}, {processor} ({cores} threads)"
            f"{', ' + str(dropout) if dropout else ''}"
        )

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Restore the frames of a batch."""
        requests = self._requests(batch)
        fixed = colour_inputs(batch.colour)
        restored: Planes = tuple(np.empty_like(plane) for plane in batch.planes)  # type: ignore[assignment]
        try:
            for first in range(0, len(batch), len(requests)):
                running = list(enumerate(requests[: len(batch) - first], first))
                for i, request in running:
                    planes = zip(
                        INPUTS, (np.ascontiguousarray(p[i : i + 1]) for p in batch.planes), strict=False
                    )
                    request.start_async({**dict(planes), **fixed}, share_inputs=True)
                for i, request in running:
                    self._wait(request)
                    for name, plane in zip(OUTPUTS, restored, strict=True):
                        plane[i] = request.get_tensor(name).data[0]
        except BaseException as error:
            _cancel(requests)
            if not isinstance(error, RuntimeError):
                raise
            raise BackendError(f"OpenVINO failed: {_last_line(error)}; try --precision fp32") from error
        self.unrestored += put_back_broken(batch.planes, restored, batch.colour.peak)
        return replace(batch, planes=restored)

    def _wait(self, request: ov.InferRequest) -> None:
        while not request.wait_for(_POLL_MS):
            if self._stopped():
                raise InterruptedRunError("the run was interrupted; nothing was written")

    def close(self) -> None:
        """Drop the compiled models."""
        self._compiled.clear()

    def _requests(self, batch: FrameBatch) -> list[ov.InferRequest]:
        luma, chroma = batch.planes[0].shape[2:], batch.planes[1].shape[2:]
        key = (luma, chroma, batch.planes[0].dtype.name)
        if key not in self._compiled:
            stride = self._model.manifest.stride
            if min(luma) < stride:
                raise BackendError(
                    f"a frame of {luma[1]}×{luma[0]} is too small for {self._model.manifest.name!r}, "
                    f"which needs at least {stride}×{stride}; try --model identity"
                )
            if len(self._compiled) == _MAX_COMPILED:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[key] = self._compile(luma, chroma, ov.Type(batch.planes[0].dtype))
        return self._compiled[key]

    def _compile(
        self, luma: tuple[int, ...], chroma: tuple[int, ...], dtype: ov.Type
    ) -> list[ov.InferRequest]:
        hint = ov.properties.hint
        config = {
            hint.performance_mode: getattr(hint.PerformanceMode, self._mode.upper()),
            hint.inference_precision: ov.Type.bf16 if self._bf16 else ov.Type.f32,
        }
        tables = self._dropout.inputs(luma[0], luma[1]) if self._dropout else {}
        try:
            graph = self._core.read_model(self._model.onnx, b"")
            _check_names(graph, {*INPUTS, *tables})
            _retype_planes(graph, dtype)
            shapes = {name: [1, 1, *(luma if name == "y" else chroma)] for name in INPUTS[:3]}
            graph.reshape(shapes | {name: list(table.shape) for name, table in tables.items()})
            _check_outputs(graph, shapes)
            compiled = self._core.compile_model(graph, "CPU", config)
        except (RuntimeError, BackendError) as error:
            raise BackendError(
                f"OpenVINO cannot run {self._model.path}: {_last_line(error)}; "
                "download the model again, or free memory"
            ) from error
        count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        requests = [compiled.create_infer_request() for _ in range(count)]
        for name, table in tables.items():
            tensor = ov.Tensor(table)  # a copy, owned by the requests
            for request in requests:
                request.set_tensor(name, tensor)
        return requests


def _cancel(requests: list[ov.InferRequest]) -> None:
    """Cancel running requests and wait for them, since the frames they read are about to be freed."""
    for request in requests:
        request.cancel()
    for request in requests:
        with suppress(RuntimeError):  # raised because it was cancelled
            request.wait()


def _least_room_mib() -> int:
    return _LEAST_ROOM_MIB + _ROOM_PER_THREAD_MIB * system.usable_cores()


@cache
def core() -> ov.Core:
    """Return the process's only core.

    On Linux a core sets an alternate signal stack, and restores the one before it when it is released. If
    two cores are released in the order they were made, the thread is left with the first one's stack, which
    is gone: the next signal crashes the process.
    """
    return ov.Core()


def devices() -> list[str]:
    """OpenVINO's names for the devices of this machine."""
    return list(core().available_devices)


def runs_in_bf16() -> bool:
    """Whether `precision="auto"` selects bfloat16 on this machine."""
    return is_fast_in_bf16(core())


def is_fast_in_bf16(core: ov.Core) -> bool:
    """Whether the CPU supports bfloat16 and is faster in it than in float32.

    Intel CPUs are slower in it (1.6 times, measured) if their matrix unit AMX is missing or hidden by a
    virtual machine.
    """
    hampered = system.cpu_vendor() == "GenuineIntel" and "amx_bf16" not in (system.cpu_flags() or ())
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") and not hampered


def _check_names(graph: ov.Model, known: set[str]) -> None:
    """Refuse a graph that is not a video graph."""
    inputs, outputs = ({port.any_name for port in ports} for ports in (graph.inputs, graph.outputs))
    if unknown := inputs - known:
        raise BackendError(f"it has inputs that a video graph does not have: {', '.join(sorted(unknown))}")
    if missing := {*INPUTS, *OUTPUTS} - inputs - outputs:
        raise BackendError(f"it is not a video graph; missing: {', '.join(sorted(missing))}")


def _check_outputs(graph: ov.Model, shapes: dict[str, list[int]]) -> None:
    """Refuse a graph whose output planes differ in shape from its inputs."""
    for name, output in zip(INPUTS, OUTPUTS, strict=False):
        shape, expected = graph.output(output).partial_shape, shapes[name]
        if shape.is_dynamic or list(shape.to_shape()) != expected:
            raise BackendError(f"its output {output} has shape {shape}, expected {expected} like {name}")


def _retype_planes(graph: ov.Model, dtype: ov.Type) -> None:
    """Change the integer type of the graph's input and output planes.

    Only the first and the last cast change: the arithmetic between them is float32.
    """
    for name in INPUTS[:3]:
        graph.input(name).get_node().set_element_type(dtype)
    for result in graph.get_results():
        cast = result.input_value(0).get_node()
        cast.set_attribute("destination_type", dtype.to_string())
    graph.validate_nodes_and_infer_types()


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
