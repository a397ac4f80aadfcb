"""How near two results of one computation are, and how near half precision must come to float32."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_PSNR = 50.0
"""dB of half precision against float32, the worst plane: a mean square error of 0.65 levels of 255, which no
eye sees."""


def psnr(samples: NDArray[Any], reference: NDArray[Any], peak: int) -> float:
    """Peak signal-to-noise ratio in dB; infinite if both are the same.

    Args:
        samples: code values, of any shape.
        reference: of the same shape.
        peak: the largest code value, 255 for 8 bits.
    """
    error = np.square(samples.astype(np.float64) - reference).mean()
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def worst_psnr(planes: Iterable[NDArray[Any]], reference: Iterable[NDArray[Any]], peak: int) -> float:
    """`psnr` of the plane that is furthest from its reference."""
    return min(psnr(a, b, peak) for a, b in zip(planes, reference, strict=True))
