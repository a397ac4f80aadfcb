"""Estimate of how much each tile of a frame needs restoration, in under a millisecond per 720p frame.

Differences between samples 1, 2, 4 and 8 apart show how steep the edges of a tile are and how much detail it
has: if they grow in proportion to the distance, all edges are soft. A soft tile may be blurred, or show
something soft; the rest of the frame tells, since a camera that shakes blurs all of it. A logistic regression
on all that, calibrated for each model by `python -m train gate`, turns it into a probability.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur.frames import Colour, Plane
from rtdeblur.model import GateFit

TILE = 128
"""Side of a tile in pixels."""
_LEAST_TILE = 64
"""A shorter rest at the bottom or the right belongs to the tile before it."""
_STEP = 8
"""Differences along a row are taken in every eighth row, and likewise in columns."""
_DISTANCES = (1, 2, 4, 8)
_FINE = (1, 2)
_PEAK_DISTANCES = (1, 4)
LARGEST_STEP = len(_DISTANCES) + 3
"""Index of the feature that is the largest difference at the last of these distances."""
_FLAT = 2.0
"""Largest difference in a tile that has nothing to restore, such as one of a black frame, in code values."""
_FLOOR = 0.25
"""Added to mean squares before the logarithm, code values squared: rounding has a twelfth."""
_STEEPNESSES = 3
"""Number of steepness features, the last ones of a tile."""
_CONTEXT_FEATURES = 10
"""Features of the whole frame, the same for all of its tiles."""
Floats = NDArray[np.float32]


@lru_cache(maxsize=64)
def tile_edges(length: int) -> NDArray[np.intp]:
    """Return where the tiles along a side begin."""
    edges = np.arange(0, max(1, length - _LEAST_TILE + 1), TILE)
    edges.flags.writeable = False
    return edges


def features_of(luma: Plane, colour: Colour) -> Floats:
    """Measure the tiles of a frame.

    Args:
        luma: (H, W), at least 16 × 16.
        colour: meaning of its code values.

    Returns:
        (rows, columns, GATE_FEATURES) of tiles.
    """
    scale = np.float32(219 / _span(colour))
    rows, columns = luma[_STEP // 2 :: _STEP], luma[:, _STEP // 2 :: _STEP]
    across = _differences(rows, luma.shape[0], scale)
    down = _differences(np.ascontiguousarray(columns.T), luma.shape[1], scale)
    squares, largest = (np.stack([a, d.swapaxes(1, 2)]) for a, d in zip(across, down, strict=True))
    detail, peaks = np.log(squares + np.float32(_FLOOR)), np.log(largest + 1)
    steep = detail[:, 0] - detail[:, 2]
    tiles = [
        *detail.mean(axis=0),
        *np.abs(detail[0] - detail[1])[[0, 2]],
        *peaks.max(axis=0),
        (peaks[:, 0] - peaks[:, 1]).min(axis=0),
        steep.min(axis=0),
        steep.max(axis=0),
    ]
    own = np.stack(tiles, axis=-1)
    context = np.broadcast_to(_context(own), (*own.shape[:2], _CONTEXT_FEATURES))
    return np.concatenate([own, context], axis=-1)


def _context(own: Floats) -> Floats:
    """Summarise a frame: the mean of its tiles, by their detail, and the softest quarter.

    Args:
        own: features of its tiles alone, (rows, columns, features).
    """
    tiles = own.reshape(-1, own.shape[-1])
    detail = np.exp(tiles[:, len(_DISTANCES) - 1] / 2)
    mean = detail @ tiles[:, len(_DISTANCES) :] / detail.sum()
    return np.concatenate([mean, np.percentile(tiles[:, -_STEEPNESSES:], 25, axis=0)]).astype(np.float32)


def need_of(features: Floats, fit: GateFit) -> NDArray[np.float64]:
    """Estimate the probability that restoring a tile helps visibly: 0 to 1, (rows, columns).

    Args:
        features: result of `features_of`.
        fit: the model's calibration.
    """
    terms = quadratic((features - np.array(fit.mean)) / np.array(fit.scale))
    logit: NDArray[np.float64] = terms @ np.array(fit.weights)
    need: NDArray[np.float64] = 1 / (1 + np.exp(-logit.clip(-50, 50)))
    need[features[..., LARGEST_STEP] <= np.log(_FLAT + 1)] = 0
    return need


def quadratic(x: NDArray[Any]) -> NDArray[Any]:
    """Return 1, the features, and the products of any two of them, along the last axis."""
    first, second = np.triu_indices(x.shape[-1])
    return np.concatenate([np.ones_like(x[..., :1]), x, x[..., first] * x[..., second]], axis=-1)


def _differences(lines: Plane, length: int, scale: np.float32) -> tuple[Floats, Floats]:
    """Measure differences along lines.

    Args:
        lines: every _STEP-th row or column, as a row.
        length: number of rows or columns of the frame.
        scale: factor to 8-bit limited range.

    Returns:
        Mean squares at each of _DISTANCES, and largest values at each of _PEAK_DISTANCES: (distances, tiles
        down, tiles across).
    """
    samples = lines.astype(np.float32)
    samples *= scale
    tops, edges = tile_edges(length), tile_edges(samples.shape[1])
    squares, largest = [], []
    for distance in _DISTANCES:
        every = 1 if distance in _FINE else 2  # coarse differences vary less from line to line
        used = samples[::every]
        steps = used[:, distance:] - used[:, :-distance]
        np.square(steps, out=steps)
        down = np.minimum(tops // (_STEP * every), len(steps) - 1)
        starts = np.minimum(edges, steps.shape[1] - 1)
        counts = np.outer(np.diff(down, append=len(steps)), np.diff(starts, append=steps.shape[1]))
        squares.append(_over_tiles(np.add, steps, down, starts) / counts.astype(np.float32))
        if distance in _PEAK_DISTANCES:
            largest.append(np.sqrt(_over_tiles(np.maximum, steps, down, starts)))
    return np.stack(squares), np.stack(largest)


def _over_tiles(
    operation: np.ufunc, values: Floats, down: NDArray[np.intp], across: NDArray[np.intp]
) -> Floats:
    by_line = operation.reduceat(values, across, axis=1)
    reduced: Floats = operation.reduceat(by_line, down, axis=0)
    return reduced


def _span(colour: Colour) -> float:
    """Code values between black and white."""
    if colour.full_range or colour.matrix == "rgb":
        return colour.peak
    return 219 << (colour.bit_depth - 8)
