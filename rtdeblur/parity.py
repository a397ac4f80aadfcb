"""PSNR between results, and the limit for half precision against float32."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_PSNR = 50.0
"""Least PSNR of half precision against float32 for the worst plane, in dB: a mean square error of 0.65 levels
of 255, which is invisible."""


def psnr(samples: NDArray[Any], reference: NDArray[Any], peak: int) -> float:
    """Return the peak signal-to-noise ratio in dB; infinite if both are equal.

    Args:
        samples: code values, of any shape.
        reference: code values of the same shape.
        peak: the largest code value, 255 for 8 bits.
    """
    error = np.square(samples.astype(np.float64) - reference).mean()
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def worst_psnr(planes: Iterable[NDArray[Any]], reference: Iterable[NDArray[Any]], peak: int) -> float:
    """Return `psnr` of the plane that differs most from its reference."""
    return min(psnr(a, b, peak) for a, b in zip(planes, reference, strict=True))
