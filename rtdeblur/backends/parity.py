"""Whether an engine restores as the processor does: the question, the answer, and where it is kept."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur.backends.safety import psnr
from rtdeblur.dropout import Dropout
from rtdeblur.engine.sidecar import write_whole
from rtdeblur.engine.spec import PlaneType
from rtdeblur.frames import FrameBatch, Planes
from rtdeblur.model import INPUTS, Model

Array = NDArray[Any]


class Record:
    """The GPUs and layouts for which an engine passed, in a file beside it; what is lost is asked again.

    Args:
        path: of the file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._passed: dict[str, float] = {}
        with suppress(OSError, ValueError):
            if path:
                self._passed = dict(json.loads(path.read_text(encoding="utf-8")))

    def __contains__(self, case: str) -> bool:
        return case in self._passed

    def add(self, case: str, likeness: float) -> None:
        """Note that a case passed, with so many dB."""
        self._passed[case] = min(round(likeness, 1), 99.0)
        with suppress(OSError):
            if self._path:
                write_whole(self._path, json.dumps(self._passed).encode())


def likeness(model: Model, dropout: Dropout | None, picture: FrameBatch, restored: Planes) -> float:
    """How near restored planes are to the processor's float32 result, dB, the worst plane."""
    from rtdeblur.backends.openvino import OpenVINOBackend

    exact = OpenVINOBackend(model, precision="fp32", mode="latency", dropout=dropout)
    reference = exact.infer(picture).planes
    exact.close()
    return psnr(restored, reference, picture.colour.peak)


def laid_out(planes: Planes, kind: PlaneType) -> dict[str, Array]:
    """Planes as an engine takes them, by the names of its inputs."""
    arrays: dict[str, Array] = dict(zip(INPUTS, planes, strict=False))
    if kind == "nv12":
        arrays["u"] = np.stack([arrays["u"], arrays.pop("v")], axis=-1)
    return arrays


def planes_of(outputs: list[Array]) -> Planes:
    """y, u and v of what an engine gives for `laid_out`."""
    if len(outputs) == 2:
        y, pairs = outputs
        return y, pairs[..., 0], pairs[..., 1]
    y, u, v = outputs
    return y, u, v
