"""Blur kernels of real pairs: estimation and measurement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.blur import MotionBlur, convolve
from train.data.pictures import find_pairs, read_picture, write_picture
from train.errors import DataError

Floats = NDArray[np.float64]

WINDOW = 200
"""Side of the windows for estimating a kernel, pixels."""
REACH = 28
"""Largest reach of a kernel from its centre, pixels."""
_SHIFTS = (0, 40)
"""Offsets of overlapping windows in both directions, whose evidence is summed."""
_REGULARISATION = 0.02
"""Regularisation of the least squares, relative to the mean power of the sharp picture."""
_FLOOR = 0.12
"""Values below this fraction of the largest one are noise."""
_SHORTEST = 3.0
"""Length below which a kernel is a point, pixels."""
_THICKEST = 1.5
"""Standard deviation across its arc beyond which a kernel is not a line, pixels; a line has about 0.6."""
_NOISE = 1 / 255
"""Standard deviation of the noise added to the training blur."""


def places(height: int, width: int) -> list[tuple[int, int]]:
    """Return the top left corners of six windows, spread evenly over a picture of at least 240 × 240."""
    room = (height - WINDOW - _SHIFTS[-1], width - WINDOW - _SHIFTS[-1])
    return [(int(room[0] * y), int(room[1] * x)) for y in (0.15, 0.85) for x in (0.1, 0.5, 0.9)]


def estimate_kernel(blurred: Floats, sharp: Floats, top: int, left: int) -> Floats:
    """Estimate the kernel that blurs a sharp window to match the blurred one.

    Least squares in the gradient domain, over tapered windows.

    Args:
        blurred: (H, W) grey in [0, 1].
        sharp: likewise.
        top: top of the windows.
        left: left of the windows.

    Returns:
        (57, 57), its largest value 1.
    """
    taper = np.outer(np.hanning(WINDOW), np.hanning(WINDOW))
    cross, power = np.zeros((WINDOW, WINDOW), np.complex128), np.zeros((WINDOW, WINDOW))
    for dy in _SHIFTS:
        for dx in _SHIFTS:
            place = slice(top + dy, top + dy + WINDOW), slice(left + dx, left + dx + WINDOW)
            for axis in (0, 1):
                b, s = (np.fft.fft2(np.gradient(p[place], axis=axis) * taper) for p in (blurred, sharp))
                cross, power = cross + s.conj() * b, power + np.abs(s) ** 2
    found = np.fft.fftshift(np.fft.ifft2(cross / (power + _REGULARISATION * power.mean())).real)
    middle = slice(WINDOW // 2 - REACH, WINDOW // 2 + REACH + 1)
    kernel: Floats = found[middle, middle].clip(0)
    return kernel / max(float(kernel.max()), 1e-12)


@dataclass(frozen=True)
class Shape:
    """Measurements of a kernel.

    Attributes:
        length: length of the straight, even line with the same spread, pixels.
        angle: direction, radians in [0, π).
        bend: rise of the best-fitting arc, relative to its length.
        unevenness: change of density from one end to the other, over the mean: 0 for constant speed.
        ripple: standard deviation of the density around its trend, over the mean: separate points ripple.
        offset: distance of the centre of mass from the kernel's centre, over the length.
    """

    length: float
    angle: float
    bend: float
    unevenness: float
    ripple: float
    offset: float


def shape_of(kernel: Floats) -> Shape | None:
    """Measure an estimated kernel, (k, k) with its largest value 1.

    Returns None if it has no shape: it is shorter than three pixels, or not a line, because its window
    contains several motions or no detail.
    """
    weights = np.where(kernel < _FLOOR, 0, kernel)
    weights = weights * _connected(weights > 0)
    weights /= weights.sum()
    radius = len(kernel) // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(float)
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
    dx, dy = x - mean_x, y - mean_y
    covariance = [[(weights * a * b).sum() for b in (dx, dy)] for a in (dx, dy)]
    values, vectors = np.linalg.eigh(np.array(covariance))
    axis = vectors[:, 1]
    along, across = dx * axis[0] + dy * axis[1], dy * axis[0] - dx * axis[1]
    length = float(np.sqrt(12 * values[1]))
    if length < _SHORTEST:
        return None
    # The arc: a parabola across the main axis, weighted least squares.
    arc = np.polyfit(along.ravel(), across.ravel(), 2, w=np.sqrt(weights.ravel()))
    residual = across - np.polyval(arc, along)
    if np.sqrt((weights * residual**2).sum()) > _THICKEST:
        return None
    density = _density(along, weights, length)
    t = np.linspace(-0.5, 0.5, len(density))
    slope, level = np.polyfit(t, density, 1)
    trend = np.polyval(np.polyfit(t, density, 3), t)
    return Shape(
        length=length,
        angle=float(np.arctan2(axis[1], axis[0]) % np.pi),
        bend=float(abs(arc[0]) * length / 4),
        unevenness=float(abs(slope) / max(level, 1e-9)),
        ripple=float((density - trend).std() / max(level, 1e-9)),
        offset=float(np.hypot(mean_x, mean_y) / length),
    )


def _density(along: Floats, weights: Floats, length: float) -> Floats:
    """Weight per pixel along the inner nine tenths of a kernel, in bins of a pixel."""
    count = max(5, round(0.9 * length))
    edges = np.linspace(-0.45 * length, 0.45 * length, count + 1)
    # Each pixel is spread over its width, so that bins and pixels do not beat.
    total = np.zeros(count)
    for shift in np.linspace(-0.5, 0.5, 9):
        total += np.histogram(along + shift, edges, weights=weights)[0]
    density: Floats = total / total.mean()
    return density


def _connected(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a mask, bridging gaps of four pixels, as in rows of points."""
    bridged = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    count, labels = cv2.connectedComponents(bridged)
    sizes = [np.count_nonzero(mask & (labels == label)) for label in range(1, count)]
    return np.asarray(labels == 1 + int(np.argmax(sizes)))


@dataclass(frozen=True)
class Measured:
    """Kernels of a set of pictures, six per picture.

    Attributes:
        kernels: estimated kernels.
        shapes: shape of each kernel, None if it has none.
    """

    kernels: list[Floats]
    shapes: list[Shape | None]

    @classmethod
    def of(cls, kernels: list[Floats]) -> Measured:
        """Measure estimated kernels."""
        return cls(kernels, [shape_of(kernel) for kernel in kernels])

    def rotation(self) -> tuple[list[float], list[float]]:
        """Change between neighbouring windows in a row: of direction, radians, and of length, as a factor."""
        angles, lengths = [], []
        for i in range(0, len(self.shapes), 3):
            row = self.shapes[i : i + 3]
            for one, other in pairwise(row):
                if one and other:
                    turn = abs(one.angle - other.angle)
                    angles.append(min(turn, np.pi - turn))
                    lengths.append(max(one.length, other.length) / min(one.length, other.length))
        return angles, lengths


def measure_pairs(folder: Path) -> Measured:
    """Estimate and measure the kernels of real pairs.

    Raises:
        DataError: there are none, or they are smaller than the windows.
    """
    kernels = []
    for path, twin in find_pairs(folder):
        blurred, sharp = _grey(path), _grey(twin)
        kernels += [estimate_kernel(blurred, sharp, *place) for place in places(*sharp.shape)]
    return Measured.of(kernels)


def measure_blur(folder: Path, options: MotionBlur, seed: int = 0) -> Measured:
    """Apply the training blur to the sharp pictures of pairs, and estimate and measure its kernels.

    Each picture gets one motion; its windows show alternately one side of a crop and the other.
    """
    rng, kernels = np.random.default_rng(seed), []
    plain = replace(options, sharp=0.0, layered=0.0, varying=1.0)
    for _, twin in find_pairs(folder):
        sharp = _grey(twin)
        first, second = plain.draw(rng).kernels
        blurred = [
            convolve(sharp.astype(np.float32), weights) + rng.normal(0, _NOISE, sharp.shape)
            for weights in (first, second)
        ]
        for i, place in enumerate(places(*sharp.shape)):
            kernels.append(estimate_kernel(blurred[i % 2], sharp, *place))
    return Measured.of(kernels)


def table(sets: dict[str, Measured]) -> str:
    """Make a Markdown table of the 10th, 50th and 90th percentile of each measure, by set."""
    lines = [["", *sets], ["---", *("---:" for _ in sets)]]
    for field, text in _MEASURES.items():
        cells = []
        for measured in sets.values():
            values = [getattr(shape, field) for shape in measured.shapes if shape]
            cells.append(_quantiles(values))
        lines.append([text, *cells])
    rotations = [measured.rotation() for measured in sets.values()]
    lines.append(
        ["turn to the next window; across a crop, radians", *(_quantiles(angles) for angles, _ in rotations)]
    )
    lines.append(["stretch likewise, a factor", *(_quantiles(lengths) for _, lengths in rotations)])
    read = [f"{sum(map(bool, m.shapes))} of {len(m.shapes)}" for m in sets.values()]
    lines.append(["kernels that are one line of 3 pixels or more", *read])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_MEASURES = {
    "length": "length, pixels",
    "bend": "bend: rise of the arc over its length",
    "unevenness": "unevenness: change of density, end to end",
    "ripple": "ripple of the density: separate points",
    "offset": "offset of the mass from the middle, over the length",
}


def _quantiles(values: list[float]) -> str:
    if not values:
        return "–"
    return " / ".join(f"{value:.3g}" for value in np.quantile(values, (0.1, 0.5, 0.9)))


def sheet_of(sets: dict[str, Measured], path: Path, count: int = 16) -> None:
    """Draw kernels, spread evenly over each set, one row per set, to a PNG file."""
    rows = []
    for measured in sets.values():
        known = [k for k, shape in zip(measured.kernels, measured.shapes, strict=True) if shape]
        some = known[:: max(1, len(known) // count)][:count]
        some += [np.zeros((2 * REACH + 1, 2 * REACH + 1))] * (count - len(some))
        rows.append(np.hstack([np.pad(kernel**0.7, 1) for kernel in some]))
    codes = (np.vstack(rows) * 255).astype(np.uint8)
    enlarged = cv2.resize(codes, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    write_picture(path, np.repeat(enlarged[..., None], 3, axis=2).astype(np.uint8))


def _grey(path: Path) -> Floats:
    picture = cv2.cvtColor(read_picture(path), cv2.COLOR_RGB2GRAY) / 255
    if min(picture.shape) < WINDOW + _SHIFTS[-1]:
        raise DataError(
            f"{path} is {picture.shape[0]}×{picture.shape[1]} (height×width), "
            f"expected at least {WINDOW + _SHIFTS[-1]} both ways"
        )
    return np.asarray(picture, np.float64)
