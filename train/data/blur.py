"""Motion blur made from sharp pictures.

A blur takes a sharp picture (H, W, 3), float32 code values in [0, 1], and a random generator, and returns the
blurred and the sharp picture of an example. A layered one requests a second sharp picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

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
"""Blurred and sharp picture."""

_WILD_TURN = 0.25
"""`MotionBlur.turn` of wild motion."""


def to_linear(picture: Floats) -> Floats:
    """Convert sRGB code values in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def from_linear(light: Floats) -> Floats:
    """Convert linear light, clipped to [0, 1], to sRGB code values (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def convolve(picture: Floats, weights: Floats) -> Floats:
    """Convolve each channel of (H, W, C) or (H, W) with a kernel, mirrored at the borders.

    True convolution: light at p goes to p + trajectory, so the kernel is flipped for `cv2.filter2D`.
    """
    return cv2.filter2D(picture, -1, weights[::-1, ::-1], borderType=cv2.BORDER_REFLECT_101)  # type: ignore[return-value]


@dataclass(frozen=True)
class Motion:
    """Random parameters of one example, drawn before any picture is read.

    Attributes:
        linear: whether to blur in linear light, as a camera does; else in code values.
        kernels: camera kernels; two if the kernel changes across the picture, none if it stays sharp.
        objects: kernels of independently moving objects.
    """

    linear: bool = True
    kernels: tuple[Floats, ...] = ()
    objects: tuple[Floats, ...] = ()

    @property
    def reach(self) -> int:
        """Largest distance from which a pixel receives light, in pixels."""
        return max((len(weights) // 2 for weights in (*self.kernels, *self.objects)), default=0)

    def blur(self, sharp: Floats, rng: np.random.Generator, draw_object: DrawPicture) -> Example:
        """Blur a sharp picture (H, W, 3); the returned sharp one includes the objects."""
        if not self.kernels:
            return sharp, sharp
        expand, compress = (to_linear, from_linear) if self.linear else (_same, _clip)
        scene = expand(sharp)
        blurred = convolve(scene, self.kernels[0])
        for weights in self.kernels[1:]:
            ramp = _ramp(rng, sharp.shape[:2])
            blurred = ramp * blurred + (1 - ramp) * convolve(scene, weights)
        for weights in self.objects:
            # An object's edge moves with it: its mask is blurred by its own motion.
            other, mask = draw_object(), _silhouette(rng, sharp.shape[:2])
            covered = convolve(mask, weights)[..., None]
            blurred = convolve(mask * expand(other), weights) + (1 - covered) * blurred
            sharp = mask * other + (1 - mask) * sharp
        return compress(blurred), sharp


@dataclass(frozen=True)
class MotionBlur:
    """Motion of cameras and of objects, drawn to look like that of real videos.

    Most motions are like those measured on GoPro's pairs (`scripts/measure_kernels.py`, docs/training.md):
    gently bent lines of nearly constant speed, many of them rows of points. A share is wilder, for hands,
    phones and vehicles. `wild = 1`, `objects = 1` and `duty = [0.2, 1]` draw only wild ones.

    Attributes:
        kind: name in configurations.
        max_length: longest path, pixels.
        wild: share of motions that are strongly bent and uneven.
        shake: share of Markov camera shake among the wild ones.
        bend: curvature of the others (see `train.data.trajectory.smooth_trajectory`).
        twist: strength of their S-shape.
        unevenness: change of their speed.
        turn: standard deviation of the turn across a picture, radians, and of the stretch, its logarithm.
        linear_light: share blurred in linear light, as a camera does; the rest in code values, as in GoPro's
            blurred pictures.
        frames: share whose exposure is a sum of 7 to 13 frames with gaps, as GoPro's is.
        duty: least and greatest fraction of the frame time during which the shutter is open.
        varying: share whose kernel changes across the picture (rotation, depth).
        layered: share with independently moving objects in front of the background.
        objects: largest number of objects.
        sharp: share left sharp.
    """

    kind: Literal["motion"] = "motion"
    max_length: float = 48.0
    wild: float = 0.25
    shake: float = 0.25
    bend: float = 0.22
    twist: float = 0.05
    unevenness: float = 0.2
    turn: float = 0.1
    linear_light: float = 0.5
    frames: float = 0.8
    duty: tuple[float, float] = (0.05, 0.6)
    varying: float = 0.5
    layered: float = 0.3
    objects: int = 3
    sharp: float = 0.08

    def draw(self, rng: np.random.Generator) -> Motion:
        """Draw the motion of an example."""
        if rng.random() < self.sharp:
            return Motion()
        linear = bool(rng.random() < self.linear_light)
        drawn = draw_path(rng, self)
        kernels = [kernel(drawn.path, drawn.light)]
        if rng.random() < self.varying:
            kernels.append(kernel(_sibling(rng, drawn), drawn.light))
        count = int(rng.integers(1, self.objects + 1)) if rng.random() < self.layered else 0
        others = [draw_path(rng, self) for _ in range(count)]
        return Motion(linear, tuple(kernels), tuple(kernel(other.path, other.light) for other in others))

    def apply(self, sharp: Floats, rng: np.random.Generator, draw_object: DrawPicture) -> Example:
        """Blur a picture by a motion drawn for it."""
        return self.draw(rng).blur(sharp, rng, draw_object)


@dataclass(frozen=True)
class PaperBlur:
    """One camera-shake kernel a picture, in linear light (Kupyn et al., DeblurGAN, CVPR 2018, algorithm 1).

    Attributes:
        kind: name in configurations.
        steps: points of the trajectory.
        max_length: length of the path, pixels.
        exposures: fractions of the path to choose from; a kernel always sums to 1, whereas the authors' code
            leaves short exposures dark.
    """

    kind: Literal["paper"] = "paper"
    steps: int = 2000
    max_length: float = 60.0
    exposures: tuple[float, ...] = (0.1, 0.5, 1.0)

    def draw(self, rng: np.random.Generator) -> Motion:
        """See `MotionBlur`."""
        path = shake_trajectory(rng, self.steps, self.max_length)
        exposure = rng.choice(self.exposures)
        return Motion(kernels=(kernel(path[: max(2, round(exposure * self.steps))]),))

    def apply(self, sharp: Floats, rng: np.random.Generator, draw_object: DrawPicture) -> Example:
        """See `MotionBlur`."""
        return self.draw(rng).blur(sharp, rng, draw_object)


@dataclass(frozen=True)
class BoxBlur:
    """A plain square kernel of `size` × `size` equal weights, in code values."""

    kind: Literal["box"] = "box"
    size: int = 9

    def draw(self, rng: np.random.Generator) -> Motion:
        """See `MotionBlur`; not random."""
        return Motion(linear=False, kernels=(uniform_kernel(self.size),))

    def apply(self, sharp: Floats, rng: np.random.Generator, draw_object: DrawPicture) -> Example:
        """See `MotionBlur`."""
        return self.draw(rng).blur(sharp, rng, draw_object)


Blur = MotionBlur | PaperBlur | BoxBlur


def _same(picture: Floats) -> Floats:
    return picture


def _clip(picture: Floats) -> Floats:
    return np.clip(picture, 0, 1)


class Drawn(NamedTuple):
    """A random path.

    Attributes:
        path: the trajectory.
        light: weight of each of its points.
        turn: see `MotionBlur`, for the same motion elsewhere in the picture.
    """

    path: Trajectory
    light: Trajectory
    turn: float


def draw_path(rng: np.random.Generator, options: MotionBlur) -> Drawn:
    """Draw a path."""
    length = options.max_length * rng.uniform(0.02, 1) ** 1.3
    turn = _WILD_TURN
    if rng.random() >= options.wild:
        path = smooth_trajectory(
            rng, length, bend=options.bend, twist=options.twist, unevenness=options.unevenness
        )
        turn = options.turn
    elif rng.random() < options.shake:
        path = shake_trajectory(rng, 500, length * 1.5)
    else:
        path = smooth_trajectory(rng, length)
    light = np.ones(len(path))
    if rng.random() < options.frames:
        count, duty = rng.integers(7, 14), rng.uniform(*options.duty)
        phase = np.linspace(0, count, len(path), endpoint=False) % 1
        # Open in the middle of each frame's time, so that the exposure stays centred, and long enough to
        # include a point of the path.
        light = (np.abs(phase - 0.5) <= max(duty, count / len(path)) / 2).astype(np.float64)
    return Drawn(path, light, turn)


def _sibling(rng: np.random.Generator, drawn: Drawn) -> Trajectory:
    """Return the same motion elsewhere in the picture: slightly rotated and scaled."""
    angle, scale = rng.normal(0, drawn.turn), np.exp(rng.normal(0, drawn.turn))
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned: Trajectory = drawn.path @ turn
    return turned


def _ramp(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Make a ramp from about 0 to about 1 in a random direction: (H, W, 1) float32."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-0.5 : 0.5 : shape[0] * 1j, -0.5 : 0.5 : shape[1] * 1j]
    ramp = np.clip(0.5 + np.cos(angle) * x + np.sin(angle) * y, 0, 1)
    return np.asarray(ramp, np.float32)[..., None]


def _silhouette(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Make a random smooth blob of about half the picture: (H, W, 1) float32, 0 or 1 with a soft edge."""
    coarse = rng.standard_normal((5, 5)).astype(np.float32)
    field = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(field * min(shape) / 10 + rng.normal(0, 3), 0, 1).astype(np.float32)[..., None]
