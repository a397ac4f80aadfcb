"""Device names in messages, and the reason if no GPU is used."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rtdeblur import system

if TYPE_CHECKING:
    from rtdeblur.backends.base import Backend


def place(backend: Backend) -> str:
    """Return where a backend runs, for people: `on the CPU`, or `on` and the GPU's name."""
    return "on the CPU" if backend.device == "CPU" else f"on {backend.device}"


@cache
def why_no_gpu() -> str:
    """Return why the model cannot run on a GPU here; '' if it probably can."""
    reason = system.why_no_gpu()
    if not (reason or any(find_spec(module) for module in ("tensorrt_rtx", "tensorrt"))):
        return f"TensorRT for the {system.nvidia_gpus()[0].name} is not installed"
    return reason
