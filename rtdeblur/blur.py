"""No-reference estimate of blur."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtdeblur.frames import Plane

_TAPS = 9
"""Length of the low-pass filter in pixels (Crete et al., section 3)."""
_LINES = 540
"""Lines sampled in each direction; more would only take longer."""


def blur_of(luma: Plane) -> float:
    """Estimate blur from 0 (sharp) to 1, by blurring the picture again and measuring how little it changes.

    Crete, Dolmiere, Ladret, Nicolas: "The blur effect: perception and estimation with a new no-reference
    perceptual blur metric", SPIE 6492 (2007), equations 1 to 8. The larger of the estimates along rows and
    columns counts, so that blur in one direction is detected.

    Args:
        luma: (H, W), any unsigned integers.

    Returns:
        The estimate; 0 for a picture without any detail, whose sharpness is unknown.
    """
    return max(_along_rows(luma), _along_rows(luma.T))


def _along_rows(lines: Plane) -> float:
    step = max(1, lines.shape[0] // _LINES)
    picture = lines[::step].astype(np.float32)
    if picture.shape[1] <= _TAPS:
        return 0.0
    variation = np.abs(np.diff(picture, axis=1))
    left = np.abs(np.diff(_average(picture), axis=1))
    total = float(variation.sum(dtype=np.float64))
    lost = float(np.maximum(0, variation - left).sum(dtype=np.float64))
    return (total - lost) / total if total else 0.0


def _average(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average `_TAPS` neighbours along a row, repeating the ends."""
    half = _TAPS // 2
    padded = np.pad(picture, ((0, 0), (half + 1, half)), mode="edge")
    sums = padded.cumsum(axis=1, dtype=np.float64)
    means: NDArray[np.float64] = (sums[:, _TAPS:] - sums[:, :-_TAPS]) / _TAPS
    return means.astype(np.float32)
