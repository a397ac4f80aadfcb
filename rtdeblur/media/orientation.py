"""Turns pictures upright that a stream only notes as turned or mirrored, as phones do."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from rtdeblur.frames import Frame, Plane
from rtdeblur.media.hdr import side_data


def upright(frame: Frame, decoded: VideoFrame) -> Frame:
    """The frame as a player shows it; other angles than quarter turns go to the nearest.

    Args:
        frame: with the planes as they were coded.
        decoded: with the display matrix, where the stream has one.
    """
    matrix = side_data(decoded, Type.DISPLAYMATRIX)
    if matrix is None:
        return frame
    # A pixel (x, y) goes to (a x + c y, b x + d y), and the whole back to the corner (libavutil/display.h).
    a, b, _, c, d, *_ = struct.unpack("9i", matrix)
    swapped = abs(b) > abs(a)
    across, down = (c, b) if swapped else (a, d)
    if not swapped and across >= 0 and down >= 0:
        return frame
    y, u, v = frame.planes
    if swapped:
        u, v = _evenly(u, y.shape), _evenly(v, y.shape)
    y, u, v = (_turn(plane, swapped, across < 0, down < 0) for plane in (y, u, v))
    return replace(frame, planes=(y, u, v))


def _evenly(chroma: Plane, luma: tuple[int, ...]) -> Plane:
    """Chroma that lies in turn as it lies now: 4:2:2 and 4:1:1, which have no name then, become 4:4:4."""
    down, across = (-(-side // samples) for side, samples in zip(luma, chroma.shape, strict=True))
    if down == across or chroma.size == 1:  # the one sample of gray
        return chroma
    return chroma.repeat(down, 0).repeat(across, 1)[: luma[0], : luma[1]]


def _turn(plane: Plane, swapped: bool, mirrored: bool, upturned: bool) -> Plane:
    turned = plane.T if swapped else plane
    return np.ascontiguousarray(turned[:: -1 if upturned else 1, :: -1 if mirrored else 1])
