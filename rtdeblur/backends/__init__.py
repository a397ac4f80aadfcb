"""Backends, which run a model: one file each, loaded on first use."""

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
        name: one of BACKENDS; auto takes tensorrt where a GPU and TensorRT are there, else openvino.
        model: what to run; None and the model identity pass frames through, whatever the name.
        precision: auto is the fastest here; fp32 is exact; fp16 needs tensorrt.
        mode: throughput for files, latency for live pictures.
        dropout: paper keeps one mask for the whole stream, off has none; None leaves it to the manifest.
        seed: that the mask is drawn from, 0 or more.
        engines: how tensorrt goes about its engines.

    Raises:
        BackendError: unknown, or it cannot start here.
        DependencyError: an optional package that it needs is not installed.
        ModelError: the bundle lacks a graph of that precision.
        UsageError: dropout is asked of a model that has none.
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
