"""Deterministic synthetic motion blur for measurements.

It shares no code with the training blur (`train.data.blur`), so that a bug there cannot look like progress
here.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.pictures import Picture

Floats = NDArray[np.float64]
_POINTS = 256


def motion_blurred(picture: Picture, length: float, seed: int, bend: float, sigma: float = 1.0) -> Picture:
    """Blur a picture along a smooth path, in code values, and add Gaussian noise.

    Args:
        picture: (H, W, 3) uint8 RGB, sharp.
        length: approximate movement of a point, pixels.
        seed: seed of path and noise.
        bend: standard deviation of the path's curvature; 0.35 bends visibly, 0.02 is nearly straight.
        sigma: standard deviation of the noise, code values.

    Returns:
        the blurred picture, aligned with the sharp one at the middle of the exposure.
    """
    rng = np.random.default_rng([seed, int(length)])
    weights = path_kernel(smooth_path(rng, length, bend))
    blurred = cv2.filter2D(
        picture.astype(np.float32), -1, np.flip(weights), borderType=cv2.BORDER_REFLECT_101
    )
    noisy = blurred + rng.standard_normal(blurred.shape) * sigma
    codes: Picture = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return codes


def smooth_path(rng: np.random.Generator, length: float, bend: float) -> Floats:
    """Draw a low-order path with changing speed: (256, 2) pixels, x and y."""
    t = np.linspace(-0.5, 0.5, _POINTS)
    angle = rng.uniform(0, 2 * np.pi)
    quadratic, cubic = 2 * (t**2 - 1 / 12), 4 * (t**3 - 0.15 * t)
    along = t + rng.normal(0, 0.25) * quadratic
    across = rng.normal(0, bend) * quadratic + rng.normal(0, bend / 1.4) * cubic
    cos, sin = np.cos(angle), np.sin(angle)
    path: Floats = length * np.stack([cos * along - sin * across, sin * along + cos * across], axis=1)
    return path


def path_kernel(path: Floats) -> Floats:
    """Return the time that a path spends at each pixel: (k, k), k odd, sum 1, its midpoint at the centre."""
    points = path - path[_POINTS // 2]
    radius = int(np.ceil(np.abs(points).max())) + 1
    size = 2 * radius + 1
    corners = np.floor(points).astype(int)
    right, down = (points - corners).T
    weights = np.zeros((size, size))
    for dx, across in ((0, 1 - right), (1, right)):
        for dy, below in ((0, 1 - down), (1, down)):
            np.add.at(weights, (corners[:, 1] + dy + radius, corners[:, 0] + dx + radius), across * below)
    weights /= weights.sum()
    return weights
