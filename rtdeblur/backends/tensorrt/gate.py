"""Guards half precision: tests each new engine once per GPU, by `rtdeblur.backends.gate`."""

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
    from rtdeblur.backends.openvino import exact_result

    luma, chroma, kind = layout
    picture = test_picture(luma, chroma, colour)
    restored = _planes_of(restore(_laid_out(picture.planes, kind)))
    exact = exact_result(picture, model, dropout, stopped)
    return worst_psnr(restored, exact.planes, colour.peak)


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
