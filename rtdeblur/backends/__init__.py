"""Backends that run a model, one file each, imported on first use."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, get_args

from rtdeblur import system
from rtdeblur.errors import BackendError, CudaError, DependencyError, RtdeblurError, UsageError
from rtdeblur.model import Model, Precision

if TYPE_CHECKING:  # NumPy, which the command line's help does without
    from rtdeblur.backends.base import Backend, EngineOptions, Mode
    from rtdeblur.backends.devices import Device
    from rtdeblur.dropout import Dropout, Policy

# `import openvino` sends a report to Google Analytics, from a fork of this process. Behind a silent firewall
# the fork delays the exit for seconds and runs our signal handlers. Without this package, nothing is sent.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# ONNX Runtime 1.29 and later report sessions to Microsoft, and write an identifier to the user's cache.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

BACKENDS = ("auto", "openvino", "onnxruntime", "tensorrt")
"""Names that `open_backend` and `--backend` accept."""

_SERVING = {
    "auto": ("tensorrt", "onnxruntime", "openvino"),
    "gpu": ("tensorrt", "onnxruntime", "openvino"),
    "npu": ("openvino", "onnxruntime"),
    "cpu": ("openvino",),
}
"""Backends that `auto` tries, by kind of device: the first that starts runs."""
_CPU_ONLY = ("bf16", "int8")
"""Precisions that only openvino runs, so its refusal is the one to report."""

_LEAST_ROOM_MIB = 300
_ROOM_PER_THREAD_MIB = 72
"""Stack and heap that the C library reserves per thread.

With less room, importing ONNX Runtime crashes, importing OpenVINO prints its own lines, and OpenVINO runs
out of memory while it compiles a model, which aborts the process: there is no error to catch."""


def open_backend(
    name: str,
    model: Model | None,
    *,
    precision: Precision = "auto",
    device: str = "auto",
    mode: Mode = "throughput",
    dropout: Policy | None = None,
    seed: int = 0,
    engines: EngineOptions | None = None,
) -> Backend:
    """Start a backend.

    Args:
        name: one of BACKENDS; auto is tensorrt, or else onnxruntime, if it starts on a GPU, else openvino.
        model: model to run; None and the model identity pass frames through, whatever the name.
        precision: auto is the fastest of int8 (if the bundle has it), bf16 and fp32 on a CPU, else fp16; fp32
            is exact; fp16 needs a GPU or NPU, bf16 and int8 a CPU.
        device: auto, cpu, gpu, gpu.1 (the second GPU) or npu.
        mode: throughput for files, latency for live video.
        dropout: paper keeps one mask for the whole stream, off disables it; None uses the manifest's default.
        seed: seed of the dropout mask, 0 or more.
        engines: options for building and caching TensorRT engines.

    Raises:
        BackendError: the name is unknown, or the backend cannot start on this machine or device.
        DependencyError: an optional package is not installed.
        ModelError: the bundle has no graph of that precision.
        UsageError: the device's name is unknown, or dropout is requested of a model without it.
    """
    if name not in BACKENDS:
        raise BackendError(f"no backend is called {name!r}; try one of {', '.join(BACKENDS)}")
    if precision not in get_args(Precision):
        raise BackendError(f"precision is {precision!r}; try one of {', '.join(get_args(Precision))}")
    from rtdeblur.backends.base import EngineOptions
    from rtdeblur.backends.devices import Device

    where = Device.parse(device)
    if model is None or not model.has_graph:
        from rtdeblur.backends.identity import IdentityBackend

        return IdentityBackend()
    _check_room()
    mask = _stream_dropout(model, dropout, seed)
    start = _Start(model, precision, where, mode, mask, engines or EngineOptions())
    if name != "auto":
        return start.backend(name)
    refusals: list[tuple[str, RtdeblurError]] = []
    for candidate in _SERVING[where.kind]:
        if candidate == "onnxruntime" and not _has_accelerators():
            continue
        try:
            backend = start.backend(candidate, auto=True)
        except (BackendError, DependencyError) as error:
            refusals.append((candidate, error))
        else:
            backend.description += "".join(f"; not {who}: {error.problem}" for who, error in refusals)
            return backend
    if where.kind == "auto":
        raise refusals[-1 if precision in _CPU_ONLY else 0][1]
    reasons = "; ".join(f"{who}: {error.problem}" for who, error in refusals)
    raise BackendError(f"nothing runs on {where} here: {reasons}", "try --device auto")


def _has_accelerators() -> bool:
    """Whether ONNX Runtime is installed, in a build that supports GPUs."""
    if find_spec("onnxruntime") is None:
        return False
    from rtdeblur.backends.onnxruntime import accelerators

    try:
        return bool(accelerators())
    except (BackendError, DependencyError):
        return False


@dataclass(frozen=True)
class _Start:
    """Arguments that a backend is started with."""

    model: Model
    precision: Precision
    device: Device
    mode: Mode
    dropout: Dropout | None
    engines: EngineOptions

    def backend(self, name: str, *, auto: bool = False) -> Backend:
        """Start a backend; `auto` refuses what it would only try, or what another runs better."""
        if name == "tensorrt":
            return self._tensorrt(listed_only=auto)
        common: dict[str, Any] = {
            "precision": self.precision,
            "device": self.device,
            "mode": self.mode,
            "dropout": self.dropout,
            "stopped": self.engines.stopped,
        }
        if name == "onnxruntime":
            from rtdeblur.backends.onnxruntime import OnnxRuntimeBackend

            return OnnxRuntimeBackend(self.model, accelerated=auto, **common)
        from rtdeblur.backends.openvino import OpenVINOBackend

        return OpenVINOBackend(self.model, **common)

    def _tensorrt(self, *, listed_only: bool) -> Backend:
        from rtdeblur.backends.tensorrt import SLOTS, TensorRTBackend

        if self.device.kind not in ("auto", "gpu") or self.device.index:
            raise BackendError(
                f"tensorrt runs on the first GPU that CUDA shows, not on {self.device}",
                "set CUDA_VISIBLE_DEVICES to choose one",
            )
        try:
            return TensorRTBackend.open(
                self.model,
                precision=self.precision,
                slots=SLOTS if self.mode == "throughput" else 1,
                dropout=self.dropout,
                options=self.engines,
                listed_only=listed_only,
            )
        except DependencyError as error:
            if reason := system.why_no_gpu():  # no package would help
                raise CudaError(reason, "see `rtdeblur doctor`") from error
            raise


def _stream_dropout(model: Model, policy: Policy | None, seed: int) -> Dropout | None:
    from rtdeblur.dropout import Dropout, Policy

    if policy not in (None, *get_args(Policy)):
        raise UsageError(f"dropout is {policy!r}, expected {' or '.join(get_args(Policy))}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"seed is {seed!r}, expected an integer, 0 or more")
    sites = model.manifest.sites
    if sites is None:
        if policy == "paper":
            raise UsageError(f"the model {model.name!r} has no dropout; try --dropout off")
        return None
    return Dropout(sites, seed if (policy or model.manifest.dropout) == "paper" else None)


def _check_room() -> None:
    room = system.address_space_left_mib()
    least = _LEAST_ROOM_MIB + _ROOM_PER_THREAD_MIB * system.usable_cores()
    if room is not None and room < least:
        raise BackendError(
            f"models need at least {least} MiB of address space, but this process's limit leaves {room}",
            "raise it (ulimit -v)",
        )
