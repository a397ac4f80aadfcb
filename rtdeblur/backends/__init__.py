"""Backends that run a model, one file each, imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from rtdeblur.errors import BackendError, DependencyError, UsageError
from rtdeblur.model import Model, Precision

if TYPE_CHECKING:  # NumPy, which the command line's help does without
    from rtdeblur.backends.base import Backend, EngineOptions, Mode
    from rtdeblur.dropout import Dropout, Policy

BACKENDS = ("auto", "openvino", "tensorrt")
"""Names that `open_backend` and `--backend` accept."""


def open_backend(
    name: str,
    model: Model | None,
    *,
    precision: Precision = "auto",
    mode: Mode = "throughput",
    dropout: Policy | None = None,
    seed: int = 0,
    engines: EngineOptions | None = None,
) -> Backend:
    """Start a backend.

    Args:
        name: one of BACKENDS; auto is tensorrt if a GPU and TensorRT are available, else openvino.
        model: model to run; None and the model identity pass frames through, whatever the name.
        precision: auto is the fastest on this machine; fp32 is exact; fp16 needs tensorrt.
        mode: throughput for files, latency for live video.
        dropout: paper keeps one mask for the whole stream, off disables it; None uses the manifest's default.
        seed: seed of the dropout mask, 0 or more.
        engines: options for building and caching TensorRT engines.

    Raises:
        BackendError: the name is unknown, or the backend cannot start on this machine.
        DependencyError: an optional package is not installed.
        ModelError: the bundle has no graph of that precision.
        UsageError: dropout is requested of a model without it.
    """
    if name not in BACKENDS:
        raise BackendError(f"no backend is called {name!r}; try one of {', '.join(BACKENDS)}")
    if precision not in get_args(Precision):
        raise BackendError(f"precision is {precision!r}; try one of {', '.join(get_args(Precision))}")
    if model is None or not model.has_graph:
        from rtdeblur.backends.identity import IdentityBackend

        return IdentityBackend()
    from rtdeblur.backends.base import EngineOptions

    mask = _stream_dropout(model, dropout, seed)
    engines = engines or EngineOptions()
    reason = ""
    if name != "openvino":
        from rtdeblur.backends.tensorrt import SLOTS, TensorRTBackend

        try:
            return TensorRTBackend.open(
                model,
                precision=precision,
                slots=SLOTS if mode == "throughput" else 1,
                dropout=mask,
                options=engines,
                listed_only=name == "auto",
            )
        except (BackendError, DependencyError) as error:
            if name == "tensorrt" or precision == "fp16":
                raise
            reason = f"; not tensorrt: {error.problem}"
    from rtdeblur.backends.openvino import OpenVINOBackend

    backend = OpenVINOBackend(model, precision=precision, mode=mode, dropout=mask, stopped=engines.stopped)
    backend.description += reason
    return backend


def _stream_dropout(model: Model, policy: Policy | None, seed: int) -> Dropout | None:
    from rtdeblur.dropout import Dropout

    sites = model.manifest.sites
    if sites is None:
        if policy == "paper":
            raise UsageError(f"the model {model.manifest.name!r} has no dropout; try --dropout off")
        return None
    return Dropout(sites, seed if (policy or model.manifest.dropout) == "paper" else None)
