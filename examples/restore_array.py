#!/usr/bin/env python3
"""Restore pictures that are NumPy arrays: no file is read or written.

python examples/restore_array.py
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from rtdeblur import Backend, Colour, Frame, FrameBatch, Model, open_backend

RGB = Colour("rgb", full_range=True)


def restore(backend: Backend, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Restore one picture, (H, W, 3) uint8 RGB."""
    red, green, blue = (np.ascontiguousarray(picture[..., channel]) for channel in range(3))
    frame = Frame((green, blue, red), pts=0, time_base=Fraction(1, 25), colour=RGB)  # the order of RGB planes
    batch = backend.infer(FrameBatch.stack([frame]))
    green, blue, red = (plane[0, 0] for plane in batch.planes)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def main() -> None:
    stripes = np.zeros((180, 320, 3), np.uint8)
    stripes[:, ::16] = 255
    blurred = np.mean([np.roll(stripes, shift, axis=1) for shift in range(7)], axis=0).astype(np.uint8)
    with open_backend("auto", Model.load("fast"), mode="latency") as backend:
        restored = restore(backend, blurred)
    print(f"contrast {np.ptp(blurred)} before, {np.ptp(restored)} after; {backend.description}")


if __name__ == "__main__":
    main()
