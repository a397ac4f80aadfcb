"""Detect broken model output: constant or saturated frames, or NaN.

Every backend compares a few samples of each frame before and after inference. A broken frame is replaced by
its input and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtdeblur.frames import Plane, Planes

_STEP = 5
"""Check every fifth sample of every fifth row; odd, because networks also fail in even patterns."""
_BROKEN_SHARE = 0.01
"""Share of the checked samples of a plane that jumped to an end of their range."""
_CHROMA_JUMP, _LUMA_JUMP = 1 / 4, 5 / 8
"""Length of such a jump, relative to the peak; sharpening a gray edge moves luma by up to a half."""
_COLOURED = 1 / 32
"""Range of chroma above that of noise in a gray picture, relative to the peak; no model makes it constant."""
_FLAT, _NOT_FLAT = 1 / 64, 1 / 8
"""Range of luma in a flat and in a textured picture, relative to the peak."""
_MOST_CHANGE = 1 / 5
"""Mean change of a plane relative to the peak; sharp and blurred frames differ by a tenth of that."""


def put_back_broken(before: Planes, after: Planes, peak: int) -> int:
    """Replace broken output frames with their inputs.

    Args:
        before: input planes of the batch, each (N, 1, H, W).
        after: output planes; changed in place.
        peak: the largest code value.

    Returns:
        Number of frames replaced.
    """
    count = 0
    for i in range(len(before[0])):
        old, new = (tuple(plane[i] for plane in planes) for planes in (before, after))
        if looks_broken(old, new, peak):
            count += 1
            for was, became in zip(old, new, strict=True):
                became[...] = was
    return count


def looks_broken(before: Planes, after: Planes, peak: int) -> bool:
    """Whether a restored frame is broken.

    A NaN leaves the graph as the lowest or highest code value, or as whatever the graph clamps it to, in some
    or all planes. Luma may legitimately have that value, but does not jump there from the other end; chroma,
    which lies around the middle of its range, never jumps there in a real picture. Not detected: dark luma
    that became black, bright luma that became white, and gray that became another gray nearby.

    Args:
        before: input planes of the frame, each (1, H, W).
        after: output planes.
        peak: the largest code value.
    """
    old, new = ([plane[..., ::_STEP, ::_STEP].copy() for plane in planes] for planes in (before, after))
    return _look_broken(old, new, peak)


def rows_look_broken(before: Sequence[Plane], after: Sequence[Plane]) -> bool:
    """Same check on some rows of an NV12 picture: y (n, W), and interleaved u and v (m, W)."""
    old, new = ([y[:, ::_STEP], uv[:, :: 2 * _STEP], uv[:, 1 :: 2 * _STEP]] for y, uv in (before, after))
    return _look_broken(old, new, peak=255)


def _look_broken(before: Sequence[Plane], after: Sequence[Plane], peak: int) -> bool:
    was, is_now = _range(before[0]), _range(after[0])
    if (is_now == 0 and was > 0) or (is_now <= peak * _FLAT and was >= peak * _NOT_FLAT):
        return True
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        change = np.abs(new.astype(np.int32) - old)
        if change.mean() > peak * _MOST_CHANGE:
            return True
        if index and _range(new) == 0 and _range(old) > peak * _COLOURED:
            return True
        jumped = change > peak * (_CHROMA_JUMP if index else _LUMA_JUMP)
        if (jumped & ((new == 0) | (new == peak))).mean() >= _BROKEN_SHARE:
            return True
    return False


def _range(plane: Plane) -> int:
    return int(plane.max()) - int(plane.min())
