"""Parity gate for half precision: tests each new engine once per GPU, with `rtdeblur.backends.gate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur.backends.gate import Record, test_picture
from rtdeblur.backends.tensorrt.layouts import Layout
from rtdeblur.backends.tensorrt.spec import EngineSpec, PlaneType
from rtdeblur.dropout import Dropout
from rtdeblur.frames import Colour, Planes
from rtdeblur.model import INPUTS, Model
from rtdeblur.parity import LEAST_PSNR, worst_psnr

__all__ = ["Record", "parity", "refusal", "test_picture"]

Array = NDArray[Any]


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
    from rtdeblur.backends.openvino import exact_result

    luma, chroma, kind = layout
    picture = test_picture(luma, chroma, colour)
    restored = _planes_of(restore(_laid_out(picture.planes, kind)))
    exact = exact_result(picture, model, dropout, stopped)
    return worst_psnr(restored, exact.planes, colour.peak)


def refusal(spec: EngineSpec, layout: Layout, parity: float) -> str:
    """Return the message for a failed engine, with what to try instead."""
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
