"""Fusion of restored frames with their neighbours: graphs of `train/networks/temporal.py`, in OpenVINO.

It runs on the CPU, whatever runs the model.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur.backends.bundled import BundledGraph, Feed
from rtdeblur.frames import Colour, Plane, Planes
from rtdeblur.windows import SIDE, Mask, Size, are_divisible, cheapest_windows, tile_slices, window_slices

_REDUCED_LINES = 180
"""Lines, about, of the reduced frames between which motion is estimated."""
_UNIT = 4
"""Height and width of the graph's luma are multiples of it."""
Three = tuple[int, int, int]
"""Indices of a frame and of those before and after it; its own instead of one that is missing."""


class Fusion:
    """Fuses restored frames with their neighbours.

    Attributes:
        sha256: checksum of the graphs.
    """

    def __init__(self) -> None:
        self._motion, self._fusion = (
            BundledGraph(f"temporal-{name}.onnx", "--temporal off") for name in ("motion", "fusion")
        )
        self.sha256 = hashlib.sha256((self._motion.sha256 + self._fusion.sha256).encode()).hexdigest()

    def fuse(
        self,
        planes: Planes,
        blurred: Sequence[Plane],
        wanted: Sequence[Three],
        tiles: Sequence[Mask],
        colour: Colour,
    ) -> list[list[Plane]]:
        """Fuse restored frames with their neighbours, all of a frame or only in windows around some tiles.

        Args:
            planes: consecutive restored frames, (N, 1, H, W), (N, 1, Hc, Wc), (N, 1, Hc, Wc).
            blurred: of each frame to fuse, luma before it was restored, (1, H, W).
            wanted: the frames to fuse, and their neighbours.
            tiles: of each frame to fuse, the tiles that are wanted.
            colour: meaning of the code values.

        Returns:
            Planes (H, W), (Hc, Wc), (Hc, Wc) of each frame, of which at least the tiles wanted are fused.

        Raises:
            BackendError: OpenVINO failed.
        """
        size = planes[0].shape[2], planes[0].shape[3]
        side = (min(SIDE, size[0]), min(SIDE, size[1]))
        luma, chroma = planes[0], np.concatenate(planes[1:], axis=1)
        constants = {
            "peak": np.array([colour.peak], np.float32),
            "is_rgb": np.array([colour.matrix == "rgb"], np.float32),
        }
        whole, parts = dict[int, Feed](), list[tuple[int, Size, Mask, Feed]]()
        motions = self._motions(luma, wanted, colour)
        for index, (three, given, motion) in enumerate(zip(wanted, blurred, motions, strict=True)):
            frames = [luma[[*three]], chroma[[*three]], given[None]]
            shape, windows = size, None
            if are_divisible(planes):
                shape, windows = cheapest_windows(tiles[index], size, [side])
            if windows is None:
                whole[index] = {**_feed(frames, motion), **constants}
            for corner, inside in windows or []:
                feed = _feed(_window(frames, corner, shape), _window_motion(motion, corner, shape, size))
                parts.append((index, corner, inside, {**feed, **constants}))
        shapes = [plane.shape[2:] for plane in planes]
        results = {}
        for index, (y, uv) in zip(whole, self._fusion.run(whole.values()), strict=True):
            fused = zip((y[0, 0], *uv[0]), shapes, strict=True)
            results[index] = [plane[:height, :width] for plane, (height, width) in fused]
        for index in {index for index, *_ in parts}:
            results[index] = [plane[wanted[index][0], 0].copy() for plane in planes]
        outputs = self._fusion.run(feed for *_, feed in parts)
        for (index, corner, inside, _), (y, uv) in zip(parts, outputs, strict=True):
            for row, column in np.argwhere(inside):
                for plane, part in zip(results[index], (y[0, 0], *uv[0]), strict=True):
                    place, within = tile_slices((row, column), size, plane.shape, corner)
                    plane[place] = part[within]
        return [results[index] for index in range(len(wanted))]

    def close(self) -> None:
        """Drop the compiled graphs."""
        self._motion.close()
        self._fusion.close()

    def _motions(self, luma: Plane, wanted: Sequence[Three], colour: Colour) -> Iterator[NDArray[np.float32]]:
        """Estimate the motion from each frame to its neighbours: (2, 2, h, w), in widths and heights."""
        scale = np.float32(255 / colour.peak)
        places = {place for three in wanted for place in three}
        reduced = {place: reduce_luma(luma[place, 0]) * scale for place in places}
        feeds = ({"reduced": np.stack([reduced[place] for place in three])[:, None]} for three in wanted)
        return (motion for (motion,) in self._motion.run(feeds))


def _feed(frames: list[Plane], motion: NDArray[np.float32]) -> Feed:
    """Continue planes, of which the first is luma, at the bottom and the right up to whole units of luma."""
    size = frames[0].shape[2:]
    padded = []
    for plane in frames:
        own = plane.shape[2:]
        ratios = [round(side / length) for side, length in zip(size, own, strict=True)]
        wanted = [-(-side // _UNIT) * _UNIT // ratio for side, ratio in zip(size, ratios, strict=True)]
        more = [(0, max(0, length - had)) for length, had in zip(wanted, own, strict=True)]
        padded.append(np.pad(plane, ((0, 0), (0, 0), *more), mode="edge") if np.any(more) else plane)
    return dict(zip(("luma", "chroma", "blurred", "motion"), (*padded, motion), strict=True))


def _window(frames: list[Plane], corner: Size, shape: Size) -> list[Plane]:
    """Cut a window out of planes, (N, C, h, w) each, of which the first is luma."""
    size = frames[0].shape[2:]
    slices = [window_slices(corner, shape, size, plane.shape[2:]) for plane in frames]
    return [np.ascontiguousarray(plane[:, :, *where]) for plane, where in zip(frames, slices, strict=True)]


def _window_motion(motion: NDArray[np.float32], corner: Size, shape: Size, size: Size) -> NDArray[np.float32]:
    """Cut a window out of motion, which becomes motion in widths and heights of the window."""
    step = _step(size)
    (top, left), (height, width) = (first // step for first in corner), (-(-side // step) for side in shape)
    scale = np.array([motion.shape[3] / width, motion.shape[2] / height], np.float32)[:, None, None]
    return motion[..., top : top + height, left : left + width] * scale


def reduce_luma(luma: NDArray[Any]) -> NDArray[np.float32]:
    """Average (H, W) over squares, to about `_REDUCED_LINES`, for estimating motion; its border continues."""
    height, width = luma.shape
    step = _step(luma.shape)
    luma = np.pad(luma, ((0, -height % step), (0, -width % step)), mode="edge")
    total = np.zeros((luma.shape[0] // step, luma.shape[1] // step), np.float32)
    for y in range(step):
        for x in range(step):
            total += luma[y::step, x::step]
    return (total / (step * step)).astype(np.float32)


def _step(size: tuple[int, ...]) -> int:
    """Return the side of the squares over which a frame's luma is averaged."""
    return 1 << max(0, round(math.log2(min(size) / _REDUCED_LINES)))
