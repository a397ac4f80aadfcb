"""Conversion between RGB arrays and frames of planes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur.frames import Colour, Frame, Planes

_CHANNELS = (1, 2, 0)
"""Channels in the order of the planes of Colour("rgb"): green, blue, red."""
_FLOAT_PEAK = 65535
"""Peak code value for floating-point input: it is restored as 16-bit codes, and the change is added to it."""


def check(pictures: NDArray[Any], shapes: str, dimensions: tuple[int, ...]) -> None:
    """Raise TypeError or ValueError for an array that is not a picture."""
    if pictures.ndim not in dimensions or pictures.shape[-1] != 3:
        hint = ""
        if pictures.ndim == 0:
            hint = "; open a file with restore_file, or read it into an array"
        elif pictures.ndim in (3, 4) and pictures.shape[-3] == 3:
            hint = "; put the channels last with np.moveaxis(array, -3, -1)"
        elif pictures.ndim == 2 and pictures.shape[-1] == 3 and dimensions == (3,):
            hint = "; put a single picture in a list"
        elif pictures.ndim > 2 and pictures.shape[-1] == 1:
            hint = "; make grey RGB with np.repeat(array, 3, axis=-1)"
        elif pictures.ndim in (2, 3) and pictures.shape[-1] != 4:
            hint = "; make grey RGB with np.repeat(array[..., None], 3, axis=-1)"
        elif pictures.shape[-1:] == (4,):
            hint = "; restore array[..., :3] and keep the alpha channel"
        raise ValueError(f"the array has shape {pictures.shape}, expected {shapes}{hint}")
    if 0 in pictures.shape[-3:]:
        raise ValueError(f"the array has shape {pictures.shape}, expected pictures of 1 pixel or more")
    if pictures.dtype.kind != "f" and pictures.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise TypeError(f"the array is {pictures.dtype}, expected uint8, uint16, or floating from 0 to 1")
    if pictures.dtype.kind == "f" and pictures.size:
        low, high = pictures.min(), pictures.max()
        if not (low >= 0 and high <= 1):
            hint = "; divide 8-bit values by 255" if 1 < high <= 255 and low >= 0 else ""
            raise ValueError(f"the array has values from {low:g} to {high:g}, expected 0 to 1{hint}")


def frame_of(picture: NDArray[Any]) -> Frame:
    """Make a frame of planes that carries the picture."""
    picture = np.asarray(picture)
    check(picture, "(H, W, 3)", (3,))
    codes = _codes(picture)
    green, blue, red = (np.ascontiguousarray(codes[..., channel]) for channel in _CHANNELS)
    depth = 8 if codes.dtype == np.uint8 else 16
    return Frame((green, blue, red), 0, Fraction(1), Colour("rgb", True, depth), picture)


def _codes(picture: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
    if picture.dtype.kind != "f":
        return picture.astype(picture.dtype.newbyteorder("="), copy=False)
    return np.rint(picture.astype(np.float64) * _FLOAT_PEAK).astype(np.uint16)


def picture_of(planes: Planes, index: int, given: NDArray[Any]) -> NDArray[Any]:
    """Convert the planes of a frame to an array like `given`."""
    restored = np.empty(given.shape, planes[0].dtype)
    for channel, plane in zip(_CHANNELS, planes, strict=True):
        restored[..., channel] = plane[index, 0]
    if given.dtype.kind != "f":
        return restored.astype(given.dtype, copy=False)
    # Add the change to the original values, so that unchanged ones stay exact.
    change = (restored.astype(np.float64) - _codes(given)) / _FLOAT_PEAK
    changed: NDArray[Any] = np.where(change == 0, given, np.clip(given + change, 0, 1))
    return changed.astype(given.dtype)
