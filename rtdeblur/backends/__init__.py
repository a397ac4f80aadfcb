"""What runs a model: one file a backend, each loaded on first use."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

from rtdeblur.dropout import Dropout, Policy
from rtdeblur.errors import BackendError, UsageError
from rtdeblur.frames import FrameBatch
from rtdeblur.model import Model

Precision = Literal["auto", "fp32"]
Mode = Literal["throughput", "latency"]
BACKENDS = ("auto", "openvino", "tensorrt", "identity")


class Backend(Protocol):
    """Restores batches; batches may come from one thread only, one at a time."""

    name: str
    description: str
    """One line for the user: what runs and why it was chosen."""

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Give a batch of the same layout, times and carriers, with restored planes."""

    def close(self) -> None:
        """Release everything; may be called twice."""


def open_backend(
    name: str,
    model: Model | None,
    *,
    precision: Precision = "auto",
    mode: Mode = "throughput",
    dropout: Policy | None = None,
    seed: int = 0,
) -> Backend:
    """Start a backend.

    Args:
        name: one of BACKENDS; auto takes openvino.
        model: what to run; None is the identity, whatever the name.
        precision: auto is the fastest that the processor has; fp32 is exact.
        mode: throughput for files, latency for live pictures.
        dropout: paper keeps one mask for the whole stream, off has none; None leaves it to the manifest.
        seed: that the mask is drawn from, 0 or more.

    Raises:
        BackendError: unknown, or it cannot start here.
        UsageError: dropout is asked of a model that has none.
    """
    if name not in BACKENDS:
        raise BackendError(f"no backend is called {name!r}; try one of {', '.join(BACKENDS)}")
    if precision not in get_args(Precision):
        raise BackendError(f"precision is {precision!r}; try one of {', '.join(get_args(Precision))}")
    if model is None or name == "identity":
        from rtdeblur.backends.identity import IdentityBackend

        return IdentityBackend()
    if name == "tensorrt":
        raise BackendError("the backend tensorrt is not built yet; try --backend openvino")
    from rtdeblur.backends.openvino import OpenVINOBackend

    mask = _stream_dropout(model, dropout, seed)
    return OpenVINOBackend(model, precision=precision, mode=mode, dropout=mask)


def _stream_dropout(model: Model, policy: Policy | None, seed: int) -> Dropout | None:
    sites = model.manifest.sites
    if sites is None:
        if policy == "paper":
            raise UsageError(f"the model {model.manifest.name!r} has no dropout; try --dropout off")
        return None
    return Dropout(sites, seed if (policy or model.manifest.dropout) == "paper" else None)
