"""Whether a model's int8 graph is faster on this processor: measured once, and kept in the user's cache.

The two graphs restore small pictures alternately, on one thread, and the medians of the processor time are
compared: unlike wall time, it hardly depends on what else the machine is doing. Only the measuring thread's
time counts, since a live session restores meanwhile. A ratio per thread holds for all of them, since the
streams of throughput mode run independently.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
import openvino as ov

from rtdeblur import cache, system
from rtdeblur.backends.base import colour_inputs
from rtdeblur.backends.gate import test_picture
from rtdeblur.dropout import Dropout
from rtdeblur.errors import InterruptedRunError
from rtdeblur.frames import Colour, FrameBatch, Planes
from rtdeblur.model import INPUTS, OUTPUTS, Model
from rtdeblur.parity import worst_psnr

LEAST_RATIO = 1.15
"""int8 must be this many times as fast as the float graph: less is not worth its loss of quality."""
LEAST_PSNR = 40.0
"""Least PSNR of the test picture against the float graph, in dB; wrong arithmetic is far below.

The bundled graphs have 44 and 46 dB: an error of 1.5 levels of 255, where they change the picture by 9 to 12
levels. What int8 costs on real pictures is checked when a graph is quantised.
"""
FILE = "int8.json"
"""File in the cache."""
_SIDE = 192
_ROUNDS = 9
# Windows counts processor time in ticks of 16 ms.
_clock = time.perf_counter if sys.platform == "win32" else time.thread_time


@dataclass(frozen=True)
class Measurement:
    """Comparison of a model's int8 graph with its float graph on this machine.

    Attributes:
        ratio: processor time of the float graph divided by that of the int8 graph.
        psnr: PSNR of the int8 graph's test picture against the float graph's, for the worst plane, in dB.
        day: date of the measurement, such as 2026-01-31.
    """

    ratio: float
    psnr: float
    day: str

    @property
    def is_better(self) -> bool:
        """Whether int8 is clearly faster and restores the test picture alike."""
        return self.ratio >= LEAST_RATIO and self.psnr >= LEAST_PSNR

    def compared_with(self, other: str) -> str:
        """Describe the result for people.

        Args:
            other: precision of the float graph.
        """
        if not self.ratio:
            return "int8 does not run here"
        if self.psnr < LEAST_PSNR:
            return f"int8 restores a test picture at only {self.psnr:.0f} dB of {other}"
        return f"int8 is {self.ratio:.2f} times as fast as {other} here"


def of(
    core: ov.Core, model: Model, *, bf16: bool, stopped: Callable[[], bool] = lambda: False
) -> Measurement | None:
    """Return the measurement of a model; measure first, in a second or two, if the cache has none.

    Args:
        core: the process's core.
        model: the float32 bundle.
        bf16: whether float arithmetic is bfloat16.
        stopped: polled while measuring; True raises InterruptedRunError.

    Returns:
        None if the bundle has no int8 graph of these weights.

    Raises:
        ModelError: the int8 graph is damaged.
        InterruptedRunError: `stopped` returned True.
    """
    quantised = model.quantised
    if quantised is None:
        return None
    key = key_of(quantised.sha256, bf16=bf16)
    if found := cache.read(FILE, Measurement).get(key):
        return found
    ratio, likeness = measure(core, model, model.variant("int8"), bf16, stopped)
    measured = Measurement(round(ratio, 2), min(round(likeness, 1), 99.0), date.today().isoformat())
    if found := cache.read(FILE, Measurement).get(key):  # by another process: both must choose alike
        return found
    if ratio:  # a failure may be passing, such as a lack of memory
        cache.add(FILE, key, measured)
    return measured


def measure(
    core: ov.Core, model: Model, quantised: Model, bf16: bool, stopped: Callable[[], bool]
) -> tuple[float, float]:
    """Compare two graphs of a model; see `Measurement` for the ratio and the PSNR.

    A graph that OpenVINO cannot run on this processor has the ratio 0.
    """
    picture = test_picture((_SIDE, _SIDE), (_SIDE // 2, _SIDE // 2), Colour())
    try:
        graphs = [_Graph(core, each, picture, bf16) for each in (model, quantised)]
        exact, coarse = (graph.restore() for graph in graphs)  # also warms up
        seconds: list[list[float]] = [[], []]
        for _ in range(_ROUNDS):
            for graph, times in zip(graphs, seconds, strict=True):
                if stopped():
                    raise InterruptedRunError
                began = _clock()
                graph.restore()
                times.append(_clock() - began)
    except RuntimeError:  # from OpenVINO
        return 0.0, float("inf")
    slow, fast = np.median(seconds, axis=1)
    return float(slow / max(fast, 1e-9)), worst_psnr(coarse, exact, 255)


class _Graph:
    """A graph on one thread, and a picture."""

    def __init__(self, core: ov.Core, model: Model, picture: FrameBatch, bf16: bool) -> None:
        hint = ov.properties.hint
        config = {
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            hint.inference_precision: ov.Type.bf16 if bf16 else ov.Type.f32,
            ov.properties.inference_num_threads: 1,
        }
        sites = model.manifest.sites
        tables = Dropout(sites, None).inputs(_SIDE, _SIDE) if sites else {}
        planes = dict(zip(INPUTS, picture.planes, strict=False))
        graph = core.read_model(model.onnx, b"")
        graph.reshape({name: list(table.shape) for name, table in (planes | tables).items()})
        self._request = core.compile_model(graph, "CPU", config).create_infer_request()
        self._feed = {**planes, **colour_inputs(picture.colour), **tables}

    def restore(self) -> Planes:
        self._request.infer(self._feed, share_inputs=True)
        y, u, v = (self._request.get_tensor(name).data.copy() for name in OUTPUTS)
        return y, u, v


def key_of(sha256: str, *, bf16: bool) -> str:
    """Return everything that a measurement depends on, as one text.

    Args:
        sha256: checksum of the int8 graph.
        bf16: whether float arithmetic is bfloat16.
    """
    return f"{system.cpu_key()}, OpenVINO {ov.__version__}, {'bf16' if bf16 else 'fp32'}, {sha256}"
