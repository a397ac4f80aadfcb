"""ONNX Runtime backend, whose execution providers reach GPUs of AMD, Apple, Intel and NVIDIA."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur import system
from rtdeblur.backends import gate
from rtdeblur.backends.base import Backend, Mode, check_size, colour_inputs, fingerprint_of
from rtdeblur.backends.devices import AUTO, Device
from rtdeblur.backends.sanity import put_back_broken
from rtdeblur.dropout import Dropout
from rtdeblur.errors import BackendError, DependencyError, InterruptedRunError, ModelError
from rtdeblur.frames import FrameBatch
from rtdeblur.model import INPUTS, OUTPUTS, Model, Precision

_POLL_SECONDS = 0.05
_MAX_SESSIONS = 3
"""Shapes kept ready: a stream of one size, its last batch, and a second size."""
_DISABLE = "0"


@dataclass(frozen=True)
class Provider:
    """An execution provider of ONNX Runtime.

    Attributes:
        name: ONNX Runtime's name of it.
        title: name shown to users.
        options: options by kind of device; `{}` becomes the index of the GPU.
    """

    name: str
    title: str
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def session_options(self, device: Device) -> dict[str, str]:
        """Return the provider's options for a device."""
        kind = device.kind if device.kind in self.options else next(iter(self.options))
        return {key: value.format(device.index) for key, value in self.options[kind].items()}

    def serves(self, device: Device) -> bool:
        """Whether it can run on a device; auto accepts any."""
        has_index = any("{}" in value for value in self.options.get("gpu", {}).values())
        return device.kind == "auto" or (device.kind in self.options and (has_index or not device.index))


_BY_INDEX = {"device_id": "{}"}
_CPU = Provider("CPUExecutionProvider", "CPU", {"cpu": {}})
PROVIDERS = (
    Provider("NvTensorRTRTXExecutionProvider", "TensorRT-RTX", {"gpu": _BY_INDEX}),
    Provider("CUDAExecutionProvider", "CUDA", {"gpu": {**_BY_INDEX, "use_tf32": _DISABLE}}),
    Provider("DmlExecutionProvider", "DirectML", {"gpu": _BY_INDEX}),
    Provider(
        "CoreMLExecutionProvider",
        "CoreML",
        {
            "gpu": {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUAndGPU"},
            "npu": {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUAndNeuralEngine"},
        },
    ),
    Provider("MIGraphXExecutionProvider", "MIGraphX", {"gpu": _BY_INDEX}),
    Provider("WebGpuExecutionProvider", "WebGPU", {"gpu": {}}),
    Provider(
        "OpenVINOExecutionProvider",
        "OpenVINO",
        {"gpu": {"device_type": "GPU.{}"}, "npu": {"device_type": "NPU"}},
    ),
    _CPU,
)
"""In order of preference. TF32 would cut float32 down to 10 bits of mantissa."""


class OnnxRuntimeBackend(Backend):
    """Runs a video graph with static shapes, in one ONNX Runtime session per shape.

    Before its first frame of a size, it must restore a test picture like OpenVINO on the CPU in float32
    (`rtdeblur.backends.gate`).

    Args:
        model: either variant of the bundle.
        precision: auto is the fp16 graph on a GPU or NPU if the bundle has one, else fp32; never int8.
        device: auto is the first of PROVIDERS that starts.
        mode: throughput restores a batch in one call; latency restores its frames one after another.
        dropout: the stream's mask, for a graph with dropout tables as inputs.
        accelerated: refuse the CPU.
        stopped: polled during inference; True abandons it and raises InterruptedRunError.

    Raises:
        DependencyError: onnxruntime or onnx is not installed.
        BackendError: no provider starts for that device, or precision is bf16, or fp16 on the CPU.
        ModelError: the bundle has no graph of that precision.
    """

    name = "onnxruntime"

    def __init__(
        self,
        model: Model,
        *,
        precision: Precision = "auto",
        device: Device = AUTO,
        mode: Mode = "throughput",
        dropout: Dropout | None = None,
        accelerated: bool = False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ort = _load()
        self._provider, skipped = _start_provider(self._ort, device, accelerated)
        on_cpu = self._provider is _CPU
        if precision == "bf16" or (on_cpu and precision == "fp16"):
            runs = "fp32 or int8 on the CPU" if on_cpu else "fp16 or fp32"
            raise BackendError(f"onnxruntime runs {runs}, not {precision}; try --precision auto")
        self._model = _exact(model) if on_cpu and precision == "auto" else model.variant(precision)
        self._where, self._mode = device, mode
        self._dropout, self._stopped = dropout, stopped
        self._sessions: dict[tuple[Any, ...], tuple[Any, dict[str, NDArray[Any]]]] = {}
        title = self._provider.title
        self.device = "CPU" if on_cpu else f"{_card(title, device)} by {title}"
        runs_in = self._model.manifest.precision
        version = self._ort.__version__
        threads = system.usable_cores() if on_cpu else 0
        where = f"{self.device}, onnxruntime {version}"
        self.fingerprint = fingerprint_of(self.name, runs_in, where, dropout, mode=mode, threads=str(threads))
        self.description = (
            f"onnxruntime {runs_in}, {mode}, {self.device} (version {version})"
            f"{', ' + str(dropout) if dropout else ''}{skipped}"
        )

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Restore the frames of a batch."""
        restored = self._restore(batch)
        y, u, v = restored.planes
        self.unrestored += put_back_broken(batch.planes, (y, u, v), batch.colour.peak)
        return restored

    def close(self) -> None:
        """Release the sessions; may be called twice."""
        self._sessions.clear()

    def _restore(self, batch: FrameBatch) -> FrameBatch:
        size = len(batch) if self._mode == "throughput" else 1
        session, tables = self._session(batch, size)
        fixed = {**colour_inputs(batch.colour), **tables}
        parts = []
        for first in range(0, len(batch), size):
            planes = (np.ascontiguousarray(p[first : first + size]) for p in batch.planes)
            feed = {**dict(zip(INPUTS, planes, strict=False)), **fixed}
            parts.append(self._run(session, feed))
        y, u, v = (np.concatenate(planes) for planes in zip(*parts, strict=True))
        return replace(batch, planes=(y, u, v))

    def _run(self, session: Any, feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run in another thread, so that this one can notice that the run was stopped."""
        options = self._ort.RunOptions()
        with ThreadPoolExecutor(1, "rtdeblur-onnxruntime") as worker:
            running: Future[list[NDArray[Any]]] = worker.submit(session.run, OUTPUTS, feed, options)
            try:
                while True:
                    with suppress(TimeoutError):
                        return running.result(_POLL_SECONDS)
                    if self._stopped():
                        raise InterruptedRunError
            except BaseException as error:
                options.terminate = True
                if isinstance(error, InterruptedRunError) or not isinstance(error, Exception):
                    raise
                raise BackendError(  # the binding raises kinds of its own
                    f"onnxruntime failed on {self.device}: {_line(error)}", "try --backend openvino"
                ) from error

    def _session(self, batch: FrameBatch, size: int) -> tuple[Any, dict[str, NDArray[Any]]]:
        luma, chroma = (plane.shape[2:] for plane in batch.planes[:2])
        key = (size, luma, chroma, batch.planes[0].dtype.name)
        if key not in self._sessions:
            check_size(luma, self._model)
            while len(self._sessions) >= _MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            tables = self._dropout.inputs(luma[0], luma[1]) if self._dropout else {}
            self._sessions[key] = self._open(batch, size, tables), tables
            where = f"onnxruntime {self._ort.__version__} {self.fingerprint['precision']} on {self.device}"
            try:
                gate.check(self._repeated(size), self._exact, batch, self._model, where)
            except BaseException:
                self._sessions.pop(key, None)
                raise
        return self._sessions[key]

    def _exact(self, batch: FrameBatch) -> FrameBatch:
        from rtdeblur.backends.openvino import exact_result

        return exact_result(batch, self._model, self._dropout, self._stopped)

    def _repeated(self, size: int) -> Callable[[FrameBatch], FrameBatch]:
        """Return a function that restores a single frame in a session for `size` frames."""

        def restore(picture: FrameBatch) -> FrameBatch:
            planes = tuple(plane.repeat(size, axis=0) for plane in picture.planes)
            many = FrameBatch(planes, (0,) * size, picture.time_base, picture.colour, (None,) * size)  # type: ignore[arg-type]
            y, u, v = (plane[:1] for plane in self._restore(many).planes)
            return replace(picture, planes=(y, u, v))

        return restore

    def _open(self, batch: FrameBatch, size: int, tables: Mapping[str, NDArray[Any]]) -> Any:
        shapes = {name: [size, *plane.shape[1:]] for name, plane in zip(INPUTS, batch.planes, strict=False)}
        shapes |= {name: list(table.shape) for name, table in tables.items()}
        graph = _with_shapes(self._model, shapes, batch.planes[0].dtype)
        try:
            return _open_session(self._ort, graph, self._provider, self._where)
        except Exception as error:  # the binding raises kinds of its own
            raise BackendError(
                f"onnxruntime cannot run {self._model.path}: {_line(error)}; "
                "download the model again, or free memory"
            ) from error


def _exact(model: Model) -> Model:
    """Return the float32 graph, if the bundle has one: half precision is slower on a CPU."""
    try:
        return model.variant("fp32")
    except ModelError:
        return model


def accelerators() -> list[str]:
    """Return the titles of the installed providers for GPUs and NPUs; [] without ONNX Runtime."""
    if find_spec("onnxruntime") is None:
        return []
    known = _load().get_available_providers()
    return [provider.title for provider in PROVIDERS if provider is not _CPU and provider.name in known]


def _load() -> Any:
    for package in ("onnxruntime", "onnx"):
        if find_spec(package) is None:
            raise DependencyError(package, "onnxruntime", "--backend onnxruntime")
    import onnxruntime

    # Packages for different devices share a folder; uninstalling one leaves the rest unusable.
    if not hasattr(onnxruntime, "InferenceSession"):
        raise BackendError(
            "onnxruntime is installed incompletely", "uninstall all onnxruntime packages, and install one"
        )
    return onnxruntime


def _start_provider(ort: Any, device: Device, accelerated: bool) -> tuple[Provider, str]:
    """Return the first provider that starts, and a note on those that did not, for the description."""
    known = ort.get_available_providers()
    skipped = []
    for provider in PROVIDERS:
        if provider.name not in known or not provider.serves(device) or (accelerated and provider is _CPU):
            continue
        try:
            if provider is not _CPU:
                _open_session(ort, _tiny_graph(), provider, device)
        except Exception as error:  # the binding raises kinds of its own
            skipped.append(f"{provider.title} does not start: {_line(error)}")
            continue
        return provider, f"; {'; '.join(skipped)}" if skipped else ""
    if skipped:
        raise BackendError(f"onnxruntime runs on no {device} here: {'; '.join(skipped)}")
    wanted = "GPU or NPU" if device.kind == "auto" else device
    raise BackendError(
        f"this onnxruntime has no provider for a {wanted}, only {', '.join(_titles(known))}",
        "install onnxruntime-gpu, onnxruntime-directml or another build in its place",
    )


def _card(title: str, device: Device) -> str:
    """Return the name of an NVIDIA card; of others, only the kind: ONNX Runtime knows no names."""
    if title in ("CUDA", "TensorRT-RTX"):
        with suppress(OSError, AttributeError, IndexError):  # no driver; another number of cards
            return system.nvidia_gpus()[device.index].name
    return str(device).replace("auto", "gpu").upper()


def _titles(known: list[str]) -> list[str]:
    return [provider.title for provider in PROVIDERS if provider.name in known] or known


def _open_session(ort: Any, graph: bytes, provider: Provider, device: Device) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = system.usable_cores()
    if provider.name.startswith("Dml"):  # which requires both
        options.enable_mem_pattern = False
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    chosen = [(provider.name, provider.session_options(device))]
    session = ort.InferenceSession(graph, options, providers=chosen, enable_fallback=0)
    if session.get_providers()[0] != provider.name:  # it falls back to the CPU without an error
        raise BackendError("its libraries or driver are missing")
    return session


def _tiny_graph() -> bytes:
    """Return a graph that adds two numbers, to see whether a provider starts."""
    from onnx import TensorProto, helper

    a, b = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab")
    graph = helper.make_graph([helper.make_node("Add", ["a", "a"], ["b"])], "tiny", [a], [b])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()  # type: ignore[no-any-return]


def _with_shapes(model: Model, shapes: Mapping[str, list[int]], dtype: np.dtype[Any]) -> bytes:
    """Return the graph with static shapes, for planes of any integer type.

    The arithmetic between the first and the last cast is float32, so only the casts change.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load_from_string(model.onnx)
    except DecodeError as error:
        raise BackendError(
            f"onnxruntime cannot run {model.path}: {error}; download the model again"
        ) from error
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    inputs = {value.name: value.type.tensor_type for value in proto.graph.input}
    outputs = {value.name: value.type.tensor_type for value in proto.graph.output}
    if unknown := inputs.keys() - {*INPUTS, *shapes}:
        raise BackendError(
            f"{model.path} asks for inputs that a video graph lacks: {', '.join(sorted(unknown))}"
        )
    if missing := {*INPUTS, *shapes, *OUTPUTS} - inputs.keys() - outputs.keys():
        raise BackendError(f"{model.path} is not a video graph, which has {', '.join(sorted(missing))}")
    casts = {node.output[0]: node for node in proto.graph.node if node.op_type == "Cast"}
    del proto.graph.value_info[:]
    for name, shape in shapes.items():
        _set_shape(inputs[name], shape)
    for name, output in zip(INPUTS, OUTPUTS, strict=False):
        _set_shape(outputs[output], shapes[name])
        inputs[name].elem_type = outputs[output].elem_type = kind
        if output not in casts:
            raise BackendError(f"{model.path} is not a video graph: {output} is not the result of a cast")
        next(value for value in casts[output].attribute if value.name == "to").i = kind
    return proto.SerializeToString()  # type: ignore[no-any-return]


def _set_shape(tensor: Any, shape: list[int]) -> None:
    del tensor.shape.dim[:]
    for side in shape:
        tensor.shape.dim.add().dim_value = side


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
