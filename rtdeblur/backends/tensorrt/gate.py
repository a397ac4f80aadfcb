"""Guards half precision: tests each new engine once per GPU.

It must restore a test picture as the processor does in float32. What passed is kept in a file next
to the engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur import files
from rtdeblur.backends.tensorrt.layouts import Layout
from rtdeblur.backends.tensorrt.sidecar import write_whole
from rtdeblur.backends.tensorrt.spec import EngineSpec, PlaneType
from rtdeblur.decode import DecodeError, from_json
from rtdeblur.dropout import Dropout
from rtdeblur.frames import Colour, FrameBatch, Plane, Planes
from rtdeblur.model import INPUTS, Model
from rtdeblur.parity import LEAST_PSNR, worst_psnr

_MOST_BYTES = 1 << 20
Array = NDArray[Any]


def test_picture(luma: tuple[int, ...], chroma: tuple[int, ...], colour: Colour) -> FrameBatch:
    """A picture with ramps, edges, fine texture and noise, the same on every machine; a batch of one."""
    rng = np.random.default_rng(0)

    def plane(size: tuple[int, ...], low: float, high: float) -> Plane:
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
        y, x = y / max(size), x / max(size)
        waves = np.sin(40 * x + 25 * y) + np.sin(300 * x * (x + y)) + np.sign(np.sin(17 * (x - 2 * y)))
        picture = x + y + 0.25 * waves + rng.normal(0, 0.03, size)
        span = np.ptp(picture) or 1.0
        code = low + (picture - picture.min()) / span * (high - low)
        dtype = np.uint8 if colour.bit_depth == 8 else np.uint16
        samples: Plane = np.rint(code * colour.peak).astype(dtype)
        return samples[None, None]

    planes = (plane(luma, 0.07, 0.92), plane(chroma, 0.3, 0.7), plane(chroma, 0.35, 0.65))
    return FrameBatch(planes, (0,), Fraction(1), colour, (None,))


class Record:
    """The GPUs and layouts for which an engine passed, in a file beside it; what is lost is asked again.

    Args:
        path: of the file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._passed: dict[str, float] = {}
        with suppress(OSError, DecodeError):
            if path:
                self._passed = from_json(dict[str, float], files.read_own(path, _MOST_BYTES))

    def __contains__(self, case: str) -> bool:
        return case in self._passed

    def add(self, case: str, likeness: float) -> None:
        """Note that a case passed, with so many dB."""
        self._passed[case] = min(round(likeness, 1), 99.0)
        with suppress(OSError):
            if self._path:
                write_whole(self._path, json.dumps(self._passed).encode())


def parity(
    restore: Callable[[dict[str, Array]], list[Array]],
    layout: Layout,
    colour: Colour,
    model: Model,
    dropout: Dropout | None,
    stopped: Callable[[], bool] = lambda: False,
) -> float:
    """Compare what an engine makes of the test picture with the processor's float32 result.

    Args:
        restore: runs the engine: takes its planes by name, returns its outputs in the same order.
        layout: of the planes that the engine takes.
        colour: of the test picture.
        model: what the engine was built from.
        dropout: the stream's mask.
        stopped: polled while the processor works; True gives it up, and raises InterruptedRunError.

    Returns:
        PSNR of the worst plane in dB.
    """
    from rtdeblur.backends.openvino import OpenVINOBackend

    luma, chroma, kind = layout
    picture = test_picture(luma, chroma, colour)
    restored = _planes_of(restore(_laid_out(picture.planes, kind)))
    exact = OpenVINOBackend(model, precision="fp32", mode="latency", dropout=dropout, stopped=stopped)
    try:
        return worst_psnr(restored, exact.infer(picture).planes, colour.peak)
    finally:
        exact.close()


def refusal(spec: EngineSpec, layout: Layout, parity: float) -> str:
    """Why an engine is not used, and which precision to try instead."""
    height, width = layout[0]
    advice = "raise its convolutions to fp32 by --precision fp32"
    if spec.precision != "fp16":
        advice = "try --backend openvino"
    return (
        f"the {spec.precision} engine of {spec.model!r} at {width}×{height} restores the test picture at "
        f"{parity:.1f} dB of the processor's float32 result, expected {LEAST_PSNR:.0f} dB or more; {advice}"
    )


def _laid_out(planes: Planes, kind: PlaneType) -> dict[str, Array]:
    """Planes as an engine takes them, by the names of its inputs."""
    arrays: dict[str, Array] = dict(zip(INPUTS, planes, strict=False))
    if kind == "nv12":
        arrays["u"] = np.stack([arrays["u"], arrays.pop("v")], axis=-1)
    return arrays


def _planes_of(outputs: list[Array]) -> Planes:
    """y, u and v of what an engine gives for `_laid_out`."""
    if len(outputs) == 2:
        y, pairs = outputs
        return y, pairs[..., 0], pairs[..., 1]
    y, u, v = outputs
    return y, u, v
