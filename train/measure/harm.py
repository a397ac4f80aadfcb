"""Pictures that a generator must not change, and a measure of checkerboard artifacts.

They are generated deterministically, and are in no data set.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from train.data.pictures import Picture

Floats = NDArray[np.float64]

LEAST_PSNR = 38.0
"""Least PSNR of the output against a sharp or noisy input, dB: about the loss of a good lossy codec."""
MOST_GRID = 0.15
"""Largest grid, root mean square in levels of 255: half the error of rounding to 8 bits."""


def page(height: int, width: int) -> Picture:
    """Render a page of black text on white, from 24 pixels down to 8."""
    canvas = Image.new("RGB", (width, height), "white")
    draw, y, size = ImageDraw.Draw(canvas), 4, 24
    while y < height:
        line = "The quick brown fox jumps over the lazy dog. 0123456789 " * 3
        draw.text((6, y), line, "black", ImageFont.load_default(size))
        y, size = y + size + 4, max(8, size - 2)
    return np.asarray(canvas)


def leaves(height: int, width: int) -> Picture:
    """Draw overlapping discs of all sizes and colours, each with its own grain.

    The dead leaves model: edges and sizes are distributed as in photographs (Lee et al., IJCV 2001).
    """
    rng = np.random.default_rng(0)
    picture = np.full((height, width, 3), 128.0)
    for _ in range(height * width // 60):
        radius = 2.5 / np.sqrt(rng.uniform(0.002, 1))  # density of radii: 1 / r³
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        top, left = max(0, int(y - radius)), max(0, int(x - radius))
        around = picture[top : int(y + radius) + 1, left : int(x + radius) + 1]
        rows, columns = np.ogrid[: around.shape[0], : around.shape[1]]
        inside = (rows + top - y) ** 2 + (columns + left - x) ** 2 <= radius**2
        grain = rng.normal(0, rng.uniform(0, 12), (int(inside.sum()), 1))
        around[inside] = rng.uniform(20, 235) + rng.normal(0, 25, 3) + grain
    return _code(picture)


def gaussian_noise(height: int, width: int) -> Picture:
    """Generate grey with Gaussian noise of σ 10."""
    return _code(np.random.default_rng(0).normal(128, 10, (height, width, 3)))


def uniform_noise(height: int, width: int) -> Picture:
    """Generate uniform noise in every pixel and channel."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


UNHARMED: dict[str, Callable[[int, int], Picture]] = {
    "rendered page": page,
    "dead leaves": leaves,
    "Gaussian noise": gaussian_noise,
    "uniform noise": uniform_noise,
}
"""Pictures that must come back unchanged, by name."""


def smooth(height: int, width: int) -> Floats:
    """Generate soft grey shapes about 60 pixels wide: (H, W) in [0.2, 0.8]."""
    spectrum = np.fft.rfft2(np.random.default_rng(0).normal(size=(height, width)))
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    values = np.fft.irfft2(spectrum * np.exp(-(rows**2 + columns**2) / 0.008**2), (height, width))
    return np.asarray(0.2 + 0.6 * (values - values.min()) / np.ptp(values))


def grid(change: Floats, period: int) -> float:
    """Measure the strength of a pattern repeating every `period` pixels, or every half, quarter, ... of it.

    Strided and transposed convolutions and pixel shuffles with unbalanced phases cause such a pattern, the
    checkerboard (Odena et al., Distill 2016). It is at multiples of 1 / period in the spectrum, where a
    smooth picture has no more energy than around them.

    Args:
        change: (H, W), a generator's change to a smooth picture; sides of at least 16 periods.
        period: the generator's stride, pixels.

    Returns:
        its root mean square, in the units of `change`.
    """
    height, width = (side - side % (2 * period) for side in change.shape)
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.abs(np.fft.fft2(change[:height, :width] * window)) ** 2 / (window**2).sum() / window.size
    # Cells of rows × columns bins, a multiple of 1 / period in the middle of each.
    rows, columns = height // period, width // period
    power = np.roll(power, (rows // 2, columns // 2), (0, 1))
    cells = power.reshape(period, rows, period, columns).swapaxes(1, 2)
    distance = np.hypot(np.arange(rows)[:, None] - rows // 2, np.arange(columns) - columns // 2)
    near, beside = distance <= 3, distance > 5  # slow changes of the picture spread a line over several bins
    excess = cells[..., near].sum(-1) - np.median(cells[..., beside], -1) * near.sum()
    excess[0, 0] = 0  # the mean and the low frequencies of the change
    return float(np.sqrt(excess.clip(0).sum()))


def _code(values: Floats) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
