"""Trajectories of scene points while the shutter is open, and their blur kernels.

A trajectory is (steps, 2) float64, (x, y) in pixels. A kernel is the time spent at each pixel:
(k, k) float32, k odd, summing to 1, with the middle of the exposure at the centre pixel, so that the blurred
picture stays aligned with the sharp one of that moment (like GoPro's pairs, Nah et al., CVPR 2017).
"""

from __future__ import annotations

import cmath
import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Trajectory = NDArray[np.float64]


def shake_trajectory(rng: np.random.Generator, steps: int = 2000, max_length: float = 60.0) -> Trajectory:
    """Draw camera shake as a Markov process (Kupyn et al., DeblurGAN, CVPR 2018, algorithm 1).

    Args:
        rng: source of randomness.
        steps: points of the trajectory.
        max_length: length of the path in pixels.

    Returns:
        (steps, 2) float64, pixels.
    """
    step_length = max_length / (steps - 1)
    inertia, big_shake, gaussian = rng.uniform(0, 0.7), rng.uniform(0, 0.2), rng.uniform(0, 0.7)
    impulse = 0.001
    velocity = step_length * cmath.exp(2j * math.pi * rng.random())
    noise = (rng.standard_normal((steps, 2)) @ np.array([1, 1j])).tolist()
    shaken = (rng.random(steps) < big_shake * impulse).tolist()
    turns = rng.uniform(-0.5, 0.5, steps).tolist()
    path = [0j]
    for t in range(1, steps):
        change = impulse * (gaussian * noise[t] - inertia * path[-1] * step_length)
        if shaken[t]:
            change += 2 * velocity * cmath.exp(1j * (math.pi + turns[t]))
        velocity += change
        velocity *= step_length / abs(velocity)
        path.append(path[-1] + velocity)
    return np.array(path).view(np.float64).reshape(-1, 2)


def smooth_trajectory(
    rng: np.random.Generator,
    length: float,
    steps: int = 256,
    bend: float = 0.35,
    twist: float = 0.25,
    unevenness: float = 0.25,
) -> Trajectory:
    """Draw the motion of a short exposure: a low-order curve with changing speed.

    Args:
        rng: source of randomness.
        length: approximate length of the path, pixels.
        steps: points of the trajectory.
        bend: standard deviation of the curvature; an arc rises by about a third of it, times the length.
        twist: standard deviation of the S-shape.
        unevenness: standard deviation of the change of speed; the speeds at the two ends differ by about
            four times this fraction of the mean.

    Returns:
        (steps, 2) float64, pixels.
    """
    t = np.linspace(-0.5, 0.5, steps)
    angle = rng.uniform(0, 2 * np.pi)
    along = t + rng.normal(0, unevenness) * (t**2 - 1 / 12) * 2
    across = rng.normal(0, bend) * (t**2 - 1 / 12) * 2 + rng.normal(0, twist) * 4 * (t**3 - 0.15 * t)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    path: Trajectory = length * np.stack([along, across], axis=1) @ rotation
    return path


def kernel(trajectory: Trajectory, weights: Trajectory | None = None) -> Floats:
    """Splat a trajectory to a kernel, each point bilinearly over four pixels.

    Args:
        trajectory: (steps, 2) pixels.
        weights: (steps,) light per point; equal by default.

    Returns:
        (k, k) float32, k odd and just large enough, summing to 1.
    """
    points = trajectory - trajectory[len(trajectory) // 2]
    radius = int(np.ceil(np.abs(points).max())) + 1
    size = 2 * radius + 1
    base = np.floor(points).astype(np.int64)
    fraction = points - base
    light = np.ones(len(points)) if weights is None else weights
    out = np.zeros(size * size)
    for dx in (0, 1):
        for dy in (0, 1):
            share = np.abs(1 - dx - fraction[:, 0]) * np.abs(1 - dy - fraction[:, 1])
            index = (base[:, 1] + dy + radius) * size + base[:, 0] + dx + radius
            out += np.bincount(index, share * light, size * size)
    return np.asarray(out / out.sum(), np.float32).reshape(size, size)


def uniform_kernel(size: int) -> Floats:
    """Make a box kernel: (size, size) float32 of equal weights; `size` odd."""
    if size % 2 == 0:
        raise ValueError(f"kernel size is {size}, expected an odd number")
    return np.full((size, size), 1 / size**2, np.float32)
