"""Parity gate for half precision: tests each new engine once per GPU.

Its result on a test picture is compared with the CPU's in float32. Passed tests are recorded in a file next
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
    """Return a batch of one picture with ramps, edges, fine texture and noise, identical on every machine."""
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
    """Record of the GPUs and layouts for which an engine passed, in a file next to it; safe to lose.

    Args:
        path: the file; None stores nothing.
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
        """Record that a case passed, with its PSNR in dB."""
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
    """Compare an engine's result on the test picture with the CPU's float32 result.

    Args:
        restore: runs the engine: planes by input name in, outputs in the same order out.
        layout: plane layout of the engine.
        colour: colour of the test picture.
        model: what the engine was built from.
        dropout: the stream's mask.
        stopped: polled during inference on the CPU; True abandons it and raises InterruptedRunError.

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
    """Return the error for a failed engine, with what to try instead."""
    height, width = layout[0]
    advice = "try --precision fp32"
    if spec.precision != "fp16":
        advice = "try --backend openvino"
    return (
        f"the {spec.precision} engine of {spec.model!r} at {width}×{height} differs too much from float32 "
        f"on the test picture: {parity:.1f} dB PSNR, expected {LEAST_PSNR:.0f} dB or more; {advice}"
    )


def _laid_out(planes: Planes, kind: PlaneType) -> dict[str, Array]:
    """Return the planes in the engine's layout, by input name."""
    arrays: dict[str, Array] = dict(zip(INPUTS, planes, strict=False))
    if kind == "nv12":
        arrays["u"] = np.stack([arrays["u"], arrays.pop("v")], axis=-1)
    return arrays


def _planes_of(outputs: list[Array]) -> Planes:
    """Return y, u and v from an engine's outputs for `_laid_out` inputs."""
    if len(outputs) == 2:
        y, pairs = outputs
        return y, pairs[..., 0], pairs[..., 1]
    y, u, v = outputs
    return y, u, v
