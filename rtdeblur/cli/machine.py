"""Device names in messages, and the reason if no GPU is used."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib.util import find_spec

from rtdeblur import system


def place(backend: str) -> str:
    """Return where a backend runs, for people: `on the CPU`, or `on` and the GPU's name."""
    if backend == "tensorrt":
        gpu = system.first_gpu()
        return f"on {gpu.name if gpu else 'the GPU'}"
    return "on the CPU"


@cache
def why_no_gpu() -> str:
    """Return why the model cannot run on a GPU here; '' if it probably can."""
    gpus = None
    with suppress(OSError, AttributeError):  # driver missing or not working
        gpus = system.nvidia_gpus()
    if gpus is None:
        return "the NVIDIA GPU has no driver" if system.has_nvidia_card() else "no NVIDIA GPU"
    if not gpus:
        return "no NVIDIA GPU"
    if not any(find_spec(module) for module in ("tensorrt_rtx", "tensorrt")):
        return f"TensorRT for the {gpus[0].name} is not installed"
    return ""
