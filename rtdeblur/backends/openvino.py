"""OpenVINO backend: inference on the CPU, or on a GPU or NPU that OpenVINO has a driver for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from rtdeblur import system
from rtdeblur.backends import gate
from rtdeblur.backends.base import IN_FLIGHT, Backend, Mode, Pending, check_size, fingerprint_of
from rtdeblur.backends.compiled import get_or_compile
from rtdeblur.backends.devices import CPU, Device
from rtdeblur.backends.openvino_queue import InferQueue, Requests
from rtdeblur.backends.sanity import put_back_broken
from rtdeblur.dropout import Dropout
from rtdeblur.errors import BackendError, last_line
from rtdeblur.frames import FrameBatch
from rtdeblur.model import INPUTS, OUTPUTS, Model, Precision
from rtdeblur.plurals import counted

Shapes = tuple[tuple[int, ...], tuple[int, ...], str]

_MOST_FRAMES = 16
_MAX_COMPILED = 4
"""Number of compiled sizes kept, so that a stream alternating between them does not recompile: the frame, and
windows of a few shapes (`rtdeblur.blur_gate`)."""


class OpenVINOBackend(Backend):
    """Runs a video graph with static shapes, compiled once per frame size.

    Frames are independent requests, which OpenVINO queues, so that no core waits while a frame is copied, and
    batching does not change the output bytes. Video of more than 8 bits runs the same graph with uint16
    planes. Before its first frame of a size, a device other than the CPU must restore a test picture like the
    CPU (`rtdeblur.backends.gate`).

    Args:
        model: the bundle.
        precision: on the CPU, auto is int8 if that is clearly faster (`rtdeblur.backends.int8`), else bf16 if
            that is fast, else fp32; on other devices, the fp16 graph. int8 is the quantised graph, whose
            float parts run in bf16 if that is fast.
        device: auto is a discrete GPU if there is one, else the CPU.
        mode: throughput runs several frames in parallel; latency uses all cores for one frame.
        dropout: the stream's mask, for a graph with dropout tables as inputs.
        stopped: polled during inference; True abandons it and raises InterruptedRunError.

    Raises:
        BackendError: there is no such device, or it does not run that precision, OpenVINO cannot read the
            graph, or a frame is smaller than the model's stride.
    """

    name = "openvino"
    starts_with_one = True

    def __init__(
        self,
        model: Model,
        *,
        precision: Precision = "auto",
        device: Device = CPU,
        mode: Mode = "throughput",
        dropout: Dropout | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._dropout, self._stopped = dropout, stopped
        try:
            self._core = core()
            self._device = device_name(self._core, device)
            full_name = self._core.get_property(self._device, "FULL_DEVICE_NAME")
            on_cpu = self._device == "CPU"
            threads = self._core.get_property("CPU", "RANGE_FOR_STREAMS")[1] if on_cpu else 0
            fast = on_cpu and is_fast_in_bf16(self._core)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot start: {last_line(error)}; free memory") from error
        _check_precision(precision, self._core if on_cpu else None)
        why = ""
        if on_cpu and precision == "auto":
            precision, why = auto_precision(self._core, model, bf16=fast, stopped=stopped)
        bf16 = on_cpu and (precision == "bf16" or (precision == "int8" and fast))
        self._model = model if on_cpu and precision != "int8" else model.variant(precision)
        self.device = "CPU" if on_cpu else full_name
        # With many cores, up to one frame per core is restored at a time.
        self.batch = min(max(type(self).batch, threads), _MOST_FRAMES)
        self._bf16, self._mode = bf16, mode
        self.slots = 1 if mode == "latency" else 2 * IN_FLIGHT  # a gate makes two of a batch
        self._compiled: dict[Shapes, Requests] = {}
        self._queue = InferQueue(stopped)
        runs_in = precision if on_cpu else self._model.manifest.precision
        self.fingerprint = fingerprint_of(
            self.name, runs_in, full_name, dropout, mode=mode, threads=str(threads)
        )
        self.description = (
            f"openvino {runs_in}{why}, {mode}, {full_name} "
            f"({counted(threads, 'thread') if on_cpu else self._device})"
            f"{', ' + str(dropout) if dropout else ''}"
        )

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Restore the frames of a batch."""
        return self.submit(batch)()

    def submit(self, batch: FrameBatch) -> Pending:
        """Start the frames of a batch; the returned callable waits for them."""
        pending = self._start(batch)

        def landed() -> FrameBatch:
            restored = pending()
            self.unrestored += put_back_broken(batch.planes, restored.planes, batch.colour.peak)
            return restored

        return landed

    def begin(self) -> None:
        """Start another stream: abandon what an earlier one left in flight."""
        self._queue.give_up()

    def close(self) -> None:
        """Drop the compiled models."""
        self._queue.give_up()
        self._compiled.clear()

    def _start(self, batch: FrameBatch) -> Pending:
        return self._queue.start(batch, self._requests(batch))

    def _requests(self, batch: FrameBatch) -> Requests:
        luma, chroma = batch.planes[0].shape[2:], batch.planes[1].shape[2:]
        key = (luma, chroma, batch.planes[0].dtype.name)
        if key not in self._compiled:
            check_size(luma, self._model)
            if len(self._compiled) == _MAX_COMPILED:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[key] = self._compile(luma, chroma, ov.Type(batch.planes[0].dtype))
            if self._device != "CPU":
                where = f"openvino {ov.__version__} {self.fingerprint['precision']} on {self.device}"
                exact = partial(exact_result, model=self._model, dropout=self._dropout, stopped=self._stopped)
                try:
                    gate.check(lambda test: self._start(test)(), exact, batch, self._model, where)
                except BaseException:
                    del self._compiled[key]
                    raise
        return self._compiled[key]

    def _compile(self, luma: tuple[int, ...], chroma: tuple[int, ...], dtype: ov.Type) -> Requests:
        hint = ov.properties.hint
        config = {hint.performance_mode: getattr(hint.PerformanceMode, self._mode.upper())}
        if self._device == "CPU":
            config[hint.inference_precision] = ov.Type.bf16 if self._bf16 else ov.Type.f32
        else:  # as the graph says: a GPU's own choice would put its float32 parts into half precision too
            config[hint.execution_mode] = hint.ExecutionMode.ACCURACY
        tables = self._dropout.inputs(luma[0], luma[1]) if self._dropout else {}
        graph = partial(self._graph, luma, chroma, dtype, tables)
        try:
            if self._device == "CPU":
                sha256 = hashlib.sha256(self._model.onnx).hexdigest()
                facts = sha256, luma, chroma, dtype.to_string(), sorted(tables)
                compiled = get_or_compile(
                    self._core, lambda: self._core.compile_model(graph(), "CPU", config), config, *facts
                )
            else:
                compiled = self._core.compile_model(graph(), self._device, config)
        except (RuntimeError, BackendError) as error:
            raise BackendError(
                f"OpenVINO cannot run {self._model.path}: {last_line(error)}; "
                "download the model again, or free memory"
            ) from error
        return Requests(compiled, tables)

    def _graph(
        self,
        luma: tuple[int, ...],
        chroma: tuple[int, ...],
        dtype: ov.Type,
        tables: Mapping[str, NDArray[np.float16]],
    ) -> ov.Model:
        """Return the video graph for planes of one size and type."""
        graph = self._core.read_model(self._model.onnx, b"")
        _check_names(graph, {*INPUTS, *tables})
        retype_planes(graph, INPUTS[:3], dtype)
        shapes = {name: [1, 1, *(luma if name == "y" else chroma)] for name in INPUTS[:3]}
        graph.reshape(shapes | {name: list(table.shape) for name, table in tables.items()})
        _check_outputs(graph, shapes)
        return graph


def exact_result(
    batch: FrameBatch, model: Model, dropout: Dropout | None, stopped: Callable[[], bool] = lambda: False
) -> FrameBatch:
    """Restore a batch on the processor in float32, with which other devices are compared.

    Args:
        batch: a batch of any layout.
        model: the bundle.
        dropout: the stream's mask.
        stopped: polled during inference; True abandons it and raises InterruptedRunError.
    """
    with OpenVINOBackend(model, precision="fp32", mode="latency", dropout=dropout, stopped=stopped) as exact:
        return exact.infer(batch)


@cache
def core() -> ov.Core:
    """Return the process's only core.

    On Linux a core sets an alternate signal stack, and restores the one before it when it is released. If
    two cores are released in the order they were made, the thread is left with the first one's stack, which
    is gone: the next signal crashes the process.
    """
    return ov.Core()


def devices() -> dict[str, str]:
    """Return the devices of this machine: full names by the names that --device takes."""
    found = core()
    return {
        name.lower(): str(found.get_property(name, "FULL_DEVICE_NAME")) for name in found.available_devices
    }


def device_name(core: ov.Core, device: Device) -> str:
    """Return OpenVINO's name of a device.

    Raises:
        BackendError: this machine has no such device, or OpenVINO has no driver for it.
    """
    known: list[str] = list(core.available_devices)
    gpus = [name for name in known if name.partition(".")[0] == "GPU"]
    if device.kind == "auto":
        return next((name for name in gpus if _is_discrete(core, name)), "CPU")
    if device.kind == "gpu":
        if device.index < len(gpus):
            return gpus[device.index]
    elif device.kind.upper() in known:
        return device.kind.upper()
    raise BackendError(
        f"openvino finds no {device} here, only {', '.join(name.lower() for name in known)}",
        "install the driver of the device, or try --device cpu",
    )


def _is_discrete(core: ov.Core, name: str) -> bool:
    return "DISCRETE" in str(core.get_property(name, "DEVICE_TYPE")).upper()


def auto_precision(
    core: ov.Core, model: Model, *, bf16: bool, stopped: Callable[[], bool] = lambda: False
) -> tuple[Precision, str]:
    """Choose the precision on the CPU for `auto`.

    Args:
        core: the process's core.
        model: the bundle.
        bf16: whether the CPU is fast in bfloat16.
        stopped: polled while measuring; True raises InterruptedRunError.

    Returns:
        int8, bf16 or fp32; and the reason in parentheses, '' for a bundle without an int8 graph.
    """
    from rtdeblur.backends import int8

    floats: Precision = "bf16" if bf16 else "fp32"
    measured = int8.of(core, model, bf16=bf16, stopped=stopped)
    if measured is None:
        return floats, ""
    return "int8" if measured.is_better else floats, f" ({measured.compared_with(floats)})"


def _check_precision(precision: Precision, cpu: ov.Core | None) -> None:
    """Refuse a precision that the CPU, or another device, does not run."""
    if cpu is None and precision == "bf16":
        raise BackendError("openvino runs bf16 on the processor only; try --precision auto")
    if cpu is not None and precision == "fp16":
        raise BackendError("openvino runs bf16, fp32 or int8, not fp16; try --precision auto")
    if cpu is not None and precision == "bf16" and not _has_bf16(cpu):
        raise BackendError("this processor has no bfloat16 arithmetic; try --precision auto")


def _has_bf16(core: ov.Core) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def is_fast_in_bf16(core: ov.Core) -> bool:
    """Whether the CPU supports bfloat16 and is faster in it than in float32.

    Intel CPUs are slower in it (1.6 times, measured) if their matrix unit AMX is missing or hidden by a
    virtual machine.
    """
    hampered = system.cpu_vendor() == "GenuineIntel" and "amx_bf16" not in (system.cpu_flags() or ())
    return _has_bf16(core) and not hampered


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


def retype_planes(graph: ov.Model, names: Iterable[str], dtype: ov.Type) -> None:
    """Change the integer type of a graph's input planes, which are named, and of its outputs.

    Only the first and the last cast change: the arithmetic between them is float32.
    """
    for name in names:
        graph.input(name).get_node().set_element_type(dtype)
    for result in graph.get_results():
        cast = result.input_value(0).get_node()
        cast.set_attribute("destination_type", dtype.to_string())
    graph.validate_nodes_and_infer_types()
