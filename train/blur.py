"""Motion blur made from sharp pictures: trajectories, kernels, layers.

A trajectory is where a point of the scene goes while the shutter is open: (steps, 2) float64, (x, y) in
pixels. A kernel is the time a trajectory spends at each pixel: (k, k) float32, k odd, summing to 1, with the
middle of the exposure at the centre pixel, so that the blurred picture stays aligned to the sharp one taken
at that moment (as the pairs of GoPro are, Nah et al., CVPR 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def shake_trajectory(
    rng: np.random.Generator, steps: int = 2000, max_length: float = 60.0
) -> NDArray[np.float64]:
    """Camera shake as a Markov process (Kupyn et al., DeblurGAN, CVPR 2018, algorithm 1).

    Args:
        rng: source of randomness.
        steps: points of the trajectory.
        max_length: length of the path in pixels.

    Returns:
        (steps, 2) float64, pixels.
    """
    step_length = max_length / (steps - 1)
    inertia, big_shake, gaussian = rng.uniform(0, 0.7), rng.uniform(0, 0.2), rng.uniform(0, 0.7)
    impulse_variance = 0.001
    velocity = step_length * np.exp(1j * rng.uniform(0, 2 * np.pi))
    position = 0j
    path = np.zeros(steps, np.complex128)
    noise = rng.standard_normal((steps, 2)) @ np.array([1, 1j])
    shaken = rng.random(steps) < big_shake * impulse_variance
    turns = rng.uniform(-0.5, 0.5, steps)
    for t in range(1, steps):
        change = impulse_variance * (gaussian * noise[t] - inertia * position * step_length)
        if shaken[t]:
            change += 2 * velocity * np.exp(1j * (np.pi + turns[t]))
        velocity += change
        velocity *= step_length / abs(velocity)
        position += velocity
        path[t] = position
    return np.stack([path.real, path.imag], axis=1)


def smooth_trajectory(rng: np.random.Generator, length: float, steps: int = 256) -> NDArray[np.float64]:
    """A short exposure of a moving camera or object: a curve of low order with changing speed.

    Args:
        rng: source of randomness.
        length: about how far the point goes, pixels.
        steps: points of the trajectory.

    Returns:
        (steps, 2) float64, pixels.
    """
    t = np.linspace(-0.5, 0.5, steps)
    angle = rng.uniform(0, 2 * np.pi)
    along = t + rng.normal(0, 0.25) * (t**2 - 1 / 12) * 2
    across = rng.normal(0, 0.35) * (t**2 - 1 / 12) * 2 + rng.normal(0, 0.25) * 4 * (t**3 - 0.15 * t)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return length * np.stack([along, across], axis=1) @ rotation


def kernel(trajectory: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> Floats:
    """Splat a trajectory to a kernel, each point bilinearly over four pixels.

    Args:
        trajectory: (steps, 2) pixels.
        weights: (steps,) how much light each point gets; all alike by default.

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
    return (out / out.sum()).reshape(size, size).astype(np.float32)


def uniform_kernel(size: int) -> Floats:
    """A plain box: (size, size) float32 of equal weights; `size` odd."""
    if size % 2 == 0:
        raise ValueError(f"kernel size is {size}, expected an odd number")
    return np.full((size, size), 1 / size**2, np.float32)


def to_linear(picture: Floats) -> Floats:
    """SRGB code values in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def from_linear(light: Floats) -> Floats:
    """Linear light, clipped to [0, 1], to sRGB code values (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def convolve(picture: Floats, weights: Floats) -> Floats:
    """Convolve each channel of (H, W, C) or (H, W) with a kernel, mirrored at the borders.

    True convolution: light at p goes to p + trajectory, so the kernel is flipped for `cv2.filter2D`.
    """
    return cv2.filter2D(picture, -1, weights[::-1, ::-1], borderType=cv2.BORDER_REFLECT_101)  # type: ignore[return-value]


@dataclass(frozen=True)
class BlurOptions:
    """What blur is drawn.

    Attributes:
        max_length: longest path, pixels.
        shake: share of Markov camera shake; the rest is smooth motion.
        linear_light: share blurred in linear light, as a camera does; the rest in code values, as the
            blurred pictures of GoPro measure.
        frames: share whose exposure is a sum of 7 to 13 frames with gaps, as GoPro's is.
        varying: share whose kernel changes across the picture (rotation, depth).
        layered: share with an object that moves on its own before the background.
        sharp: share left sharp.
    """

    max_length: float = 48.0
    shake: float = 0.25
    linear_light: float = 0.5
    frames: float = 0.4
    varying: float = 0.5
    layered: float = 0.3
    sharp: float = 0.06


def _draw(rng: np.random.Generator, options: BlurOptions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A trajectory, and the light that each of its points gets."""
    length = options.max_length * rng.uniform(0.02, 1) ** 1.3
    if rng.random() < options.shake:
        path = shake_trajectory(rng, 500, length * 1.5)
    else:
        path = smooth_trajectory(rng, length)
    light = np.ones(len(path))
    if rng.random() < options.frames:
        count, duty = rng.integers(7, 14), rng.uniform(0.2, 1)
        light = ((np.linspace(0, count, len(path), endpoint=False) % 1) < duty).astype(np.float64)
    return path, light


def _sibling(rng: np.random.Generator, path: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same motion seen elsewhere in the picture: turned and scaled a little."""
    angle, scale = rng.normal(0, 0.25), np.exp(rng.normal(0, 0.25))
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return path @ turn


def _ramp(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """A plane from about 0 to about 1 in a random direction: (H, W, 1) float32."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-0.5 : 0.5 : shape[0] * 1j, -0.5 : 0.5 : shape[1] * 1j]
    return np.clip(0.5 + np.cos(angle) * x + np.sin(angle) * y, 0, 1).astype(np.float32)[..., None]


def _silhouette(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """A random smooth blob of about half the picture: (H, W, 1) float32, 0 or 1 but for its soft edge."""
    coarse = rng.standard_normal((5, 5)).astype(np.float32)
    field = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(field * min(shape) / 10 + rng.normal(0, 3), 0, 1).astype(np.float32)[..., None]


def blur(
    sharp: Floats,
    rng: np.random.Generator,
    options: BlurOptions,
    draw_object: Callable[[], Floats] | None = None,
) -> tuple[Floats, Floats]:
    """Blur a sharp picture with a random motion.

    Args:
        sharp: (H, W, 3) float32 code values in [0, 1].
        rng: source of randomness.
        options: what is drawn.
        draw_object: gives a second sharp picture of the same shape, the moving object of a layered scene.

    Returns:
        blurred and sharp, both (H, W, 3) float32 in [0, 1]; the sharp one holds the object too.
    """
    if rng.random() < options.sharp:
        return sharp, sharp
    linear = rng.random() < options.linear_light
    expand, compress = (to_linear, from_linear) if linear else (lambda p: p, lambda p: np.clip(p, 0, 1))
    path, light = _draw(rng, options)
    scene = expand(sharp)
    blurred = convolve(scene, kernel(path, light))
    if rng.random() < options.varying:
        ramp = _ramp(rng, sharp.shape[:2])
        blurred = ramp * blurred + (1 - ramp) * convolve(scene, kernel(_sibling(rng, path), light))
    if draw_object is not None and rng.random() < options.layered:
        # An object carries its own edge with it: its mask is blurred by its own motion.
        other, mask = draw_object(), _silhouette(rng, sharp.shape[:2])
        motion = kernel(*_draw(rng, options))
        covered = convolve(mask, motion)[..., None]
        blurred = convolve(mask * expand(other), motion) + (1 - covered) * blurred
        sharp = mask * other + (1 - mask) * sharp
    return compress(blurred), sharp
