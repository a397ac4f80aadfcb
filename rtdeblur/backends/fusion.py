"""Fusion of restored frames with their neighbours: the graph of `train/networks/temporal.py`, in OpenVINO.

It runs on the CPU, whatever runs the model.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from rtdeblur.backends.compiled import get_or_compile
from rtdeblur.backends.openvino import core, retype_planes
from rtdeblur.backends.openvino_queue import Requests
from rtdeblur.errors import BackendError, last_line
from rtdeblur.frames import Colour, Plane, Planes

_GRAPH = "temporal.onnx"
_REDUCED_LINES = 180
"""Lines, about, of the reduced frames between which motion is estimated."""
_UNIT = 4
"""Height and width of the graph's luma are multiples of it."""
_MOST_COMPILED = 2
_MOST_AT_ONCE = 4
"""Frames fused at the same time; each takes some 120 bytes of memory a pixel."""


class Fusion:
    """Runs the graph, compiled once per size.

    Attributes:
        sha256: checksum of the graph.
    """

    def __init__(self) -> None:
        self._onnx = resources.files("rtdeblur.models").joinpath(_GRAPH).read_bytes()
        self.sha256 = hashlib.sha256(self._onnx).hexdigest()
        self._compiled: dict[tuple[Any, ...], Requests] = {}

    def fuse(
        self,
        planes: Planes,
        blurred: Mapping[int, Plane],
        wanted: Mapping[int, tuple[int, int]],
        colour: Colour,
    ) -> dict[int, list[Plane]]:
        """Fuse restored frames with their neighbours.

        Args:
            planes: consecutive restored frames, (N, 1, H, W), (N, 1, Hc, Wc), (N, 1, Hc, Wc).
            blurred: luma of each frame to fuse before it was restored, (1, H, W), by its index.
            wanted: indices of the frames before and after each frame to fuse; its own if it has none.
            colour: meaning of the code values.

        Returns:
            Fused planes, (H, W), (Hc, Wc), (Hc, Wc), by index.

        Raises:
            BackendError: OpenVINO failed.
        """
        height, width = planes[0].shape[2:]
        luma, chroma = _padded(planes[0]), np.concatenate(planes[1:], axis=1)
        used = {place for index, pair in wanted.items() for place in (index, *pair)}
        reduced = {place: reduce_luma(planes[0][place, 0]) for place in used}
        constants = {
            "peak": np.array([colour.peak], np.float32),
            "is_rgb": np.array([colour.matrix == "rgb"], np.float32),
        }
        running = []
        results = {}
        try:
            requests = self._requests(luma, chroma, next(iter(reduced.values())).shape)
            taken = [requests.take() for _ in wanted]  # all before the first starts, see `InferQueue.start`
            for request, (index, pair) in zip(taken, wanted.items(), strict=True):
                three = [index, *pair]
                given = {
                    "luma": luma[three],
                    "chroma": chroma[three],
                    "blurred": _padded(blurred[index][None]),
                    "reduced": np.stack([reduced[place] for place in three])[:, None],
                    **constants,
                }
                request.start_async(given, share_inputs=True)
                running.append((index, request, given))  # which it reads until it is done
            for index, request, _ in running:
                request.wait()
                y, uv = (request.get_tensor(name).data[0] for name in ("fused_luma", "fused_chroma"))
                results[index] = [plane.copy() for plane in (y[0, :height, :width], uv[0], uv[1])]
                requests.give(request)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed: {last_line(error)}; try --temporal off") from error
        finally:
            for _, request, _ in running[len(results) :]:
                request.cancel()
                with suppress(RuntimeError):  # raised because it was cancelled
                    request.wait()
        return results

    def close(self) -> None:
        """Drop the compiled graphs."""
        self._compiled.clear()

    def _requests(self, luma: Plane, chroma: Plane, reduced: tuple[int, ...]) -> Requests:
        key = (luma.shape[2:], chroma.shape[2:], reduced, luma.dtype.name)
        if key not in self._compiled:
            if len(self._compiled) == _MOST_COMPILED:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[key] = Requests(self._compile(*key), {})
        return self._compiled[key]

    def _compile(
        self, luma: tuple[int, ...], chroma: tuple[int, ...], reduced: tuple[int, ...], dtype: str
    ) -> Any:
        hint = ov.properties.hint
        config = {
            hint.performance_mode: hint.PerformanceMode.THROUGHPUT,
            hint.num_requests: _MOST_AT_ONCE,
            hint.inference_precision: ov.Type.f32,
        }

        def compiled() -> Any:
            graph = core().read_model(self._onnx, b"")
            retype_planes(graph, ("luma", "chroma", "blurred"), ov.Type(np.dtype(dtype)))
            graph.reshape(
                {
                    "luma": [3, 1, *luma],
                    "chroma": [3, 2, *chroma],
                    "blurred": [1, 1, *luma],
                    "reduced": [3, 1, *reduced],
                }
            )
            return core().compile_model(graph, "CPU", config)

        return get_or_compile(core(), compiled, config, self.sha256, luma, chroma, reduced, dtype)


def _padded(planes: Plane) -> Plane:
    """Continue (N, 1, H, W) at the bottom and the right, up to a multiple of `_UNIT`."""
    height, width = planes.shape[2:]
    if not (height % _UNIT or width % _UNIT):
        return planes
    return np.pad(planes, ((0, 0), (0, 0), (0, -height % _UNIT), (0, -width % _UNIT)), mode="edge")


def reduce_luma(luma: NDArray[Any]) -> NDArray[np.float32]:
    """Average (H, W) over squares, to about `_REDUCED_LINES`, for estimating motion; its border continues."""
    height, width = luma.shape
    step = 1 << max(0, round(math.log2(min(height, width) / _REDUCED_LINES)))
    luma = np.pad(luma, ((0, -height % step), (0, -width % step)), mode="edge")
    total = np.zeros((luma.shape[0] // step, luma.shape[1] // step), np.float32)
    for y in range(step):
        for x in range(step):
            total += luma[y::step, x::step]
    return (total / (step * step)).astype(np.float32)
