"""Motion blur made from sharp pictures.

A blur takes a sharp picture (H, W, 3), float32 code values in [0, 1], and a source of randomness, and gives
the blurred and the sharp picture of one example. A layered one asks for a second sharp picture like it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from train.data.trajectory import (
    Floats,
    Trajectory,
    kernel,
    shake_trajectory,
    smooth_trajectory,
    uniform_kernel,
)

DrawPicture = Callable[[], Floats]
Example = tuple[Floats, Floats]
"""Blurred and sharp."""


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
class MotionBlur:
    """Motion of cameras and of objects, drawn to look like that of real videos.

    Attributes:
        kind: what a configuration calls it.
        max_length: longest path, pixels.
        shake: share of Markov camera shake; the rest is smooth motion.
        linear_light: share blurred in linear light, as a camera does; the rest in code values, as the
            blurred pictures of GoPro measure.
        frames: share whose exposure is a sum of 7 to 13 frames with gaps, as GoPro's is.
        varying: share whose kernel changes across the picture (rotation, depth).
        layered: share with an object that moves on its own before the background.
        sharp: share left sharp.
    """

    kind: Literal["motion"] = "motion"
    max_length: float = 48.0
    shake: float = 0.25
    linear_light: float = 0.5
    frames: float = 0.4
    varying: float = 0.5
    layered: float = 0.3
    sharp: float = 0.06

    @property
    def reach(self) -> int:
        """How far from a pixel its light may come, pixels."""
        return int(self.max_length // 2) + 4

    def apply(self, sharp: Floats, rng: np.random.Generator, draw_object: DrawPicture) -> Example:
        """Blur a picture; where layered, the sharp one that comes back holds the object too."""
        if rng.random() < self.sharp:
            return sharp, sharp
        linear = rng.random() < self.linear_light
        expand, compress = (to_linear, from_linear) if linear else (_same, _clip)
        path, light = _draw(rng, self)
        scene = expand(sharp)
        blurred = convolve(scene, kernel(path, light))
        if rng.random() < self.varying:
            ramp = _ramp(rng, sharp.shape[:2])
            blurred = ramp * blurred + (1 - ramp) * convolve(scene, kernel(_sibling(rng, path), light))
        if rng.random() < self.layered:
            # An object carries its own edge with it: its mask is blurred by its own motion.
            other, mask = draw_object(), _silhouette(rng, sharp.shape[:2])
            motion = kernel(*_draw(rng, self))
            covered = convolve(mask, motion)[..., None]
            blurred = convolve(mask * expand(other), motion) + (1 - covered) * blurred
            sharp = mask * other + (1 - mask) * sharp
        return compress(blurred), sharp


@dataclass(frozen=True)
class PaperBlur:
    """One camera-shake kernel a picture, in linear light (Kupyn et al., DeblurGAN, CVPR 2018, algorithm 1).

    Attributes:
        kind: what a configuration calls it.
        steps: points of the trajectory.
        max_length: length of the path, pixels.
        exposures: shares of the path of which one is drawn; a kernel always sums to 1, where the authors'
            code leaves a short exposure dark.
    """

    kind: Literal["paper"] = "paper"
    steps: int = 2000
    max_length: float = 60.0
    exposures: tuple[float, ...] = (0.1, 0.5, 1.0)

    @property
    def reach(self) -> int:
        """As in `MotionBlur`."""
        return int(self.max_length // 2) + 4

    def apply(self, sharp: Floats, rng: np.random.Generator, draw_object: DrawPicture) -> Example:
        """Blur a picture."""
        path = shake_trajectory(rng, self.steps, self.max_length)
        exposure = rng.choice(self.exposures)
        open_path = path[: max(2, round(exposure * self.steps))]
        return from_linear(convolve(to_linear(sharp), kernel(open_path))), sharp


@dataclass(frozen=True)
class BoxBlur:
    """A plain square kernel of `size` × `size` equal weights, in code values."""

    kind: Literal["box"] = "box"
    size: int = 9

    @property
    def reach(self) -> int:
        """As in `MotionBlur`."""
        return self.size // 2

    def apply(self, sharp: Floats, rng: np.random.Generator, draw_object: DrawPicture) -> Example:
        """Blur a picture."""
        return _clip(convolve(sharp, uniform_kernel(self.size))), sharp


Blur = MotionBlur | PaperBlur | BoxBlur


def _same(picture: Floats) -> Floats:
    return picture


def _clip(picture: Floats) -> Floats:
    return np.clip(picture, 0, 1)


def _draw(rng: np.random.Generator, options: MotionBlur) -> tuple[Trajectory, Trajectory]:
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


def _sibling(rng: np.random.Generator, path: Trajectory) -> Trajectory:
    """The same motion seen elsewhere in the picture: turned and scaled a little."""
    angle, scale = rng.normal(0, 0.25), np.exp(rng.normal(0, 0.25))
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned: Trajectory = path @ turn
    return turned


def _ramp(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """A plane from about 0 to about 1 in a random direction: (H, W, 1) float32."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-0.5 : 0.5 : shape[0] * 1j, -0.5 : 0.5 : shape[1] * 1j]
    ramp = np.clip(0.5 + np.cos(angle) * x + np.sin(angle) * y, 0, 1)
    return np.asarray(ramp, np.float32)[..., None]


def _silhouette(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """A random smooth blob of about half the picture: (H, W, 1) float32, 0 or 1 but for its soft edge."""
    coarse = rng.standard_normal((5, 5)).astype(np.float32)
    field = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(field * min(shape) / 10 + rng.normal(0, 3), 0, 1).astype(np.float32)[..., None]
