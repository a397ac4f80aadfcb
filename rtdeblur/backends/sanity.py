"""Notices frames that a model returned as no pictures: constant, saturated, or once not a number.

Every backend looks at some samples of each frame, before and after. A broken frame is replaced by its input,
and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtdeblur.frames import Plane, Planes

_STEP = 5
"""Every fifth sample of every fifth row is looked at; odd, since networks fail in even patterns too."""
_BROKEN_SHARE = 0.01
"""Chroma samples that jumped to an end of their range, of all that were looked at."""
_FLAT, _NOT_FLAT = 1 / 64, 1 / 8
"""Ranges of luma, of the peak."""
_MOST_CHANGE = 1 / 5
"""Mean change of luma, of the peak: sharp and blurred frames differ by a tenth of that."""


def put_back_broken(before: Planes, after: Planes, peak: int) -> int:
    """Replace frames that came back broken by those that went in.

    Args:
        before: planes of the batch, each (N, 1, H, W), as they went in.
        after: as they came out; changed in place.
        peak: the largest code value.

    Returns:
        How many were replaced.
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
    """Whether a restored frame is no picture.

    A NaN leaves the graph as the lowest or the highest code, in all planes. Luma may be there; chroma, which
    lies around the middle, never jumps there in a picture.

    Args:
        before: the frame's planes, each (1, H, W), as they went in.
        after: as they came out.
        peak: the largest code value.
    """
    old, new = ([plane[..., ::_STEP, ::_STEP].copy() for plane in planes] for planes in (before, after))
    return _look_broken(old, new, peak)


def rows_look_broken(before: Sequence[Plane], after: Sequence[Plane]) -> bool:
    """The same of some rows of an NV12 picture: y (n, W), and interleaved u and v (m, W)."""
    old, new = ([y[:, ::_STEP], uv[:, :: 2 * _STEP], uv[:, 1 :: 2 * _STEP]] for y, uv in (before, after))
    return _look_broken(old, new, peak=255)


def _look_broken(before: Sequence[Plane], after: Sequence[Plane], peak: int) -> bool:
    was, is_now = _range(before[0]), _range(after[0])
    if (is_now == 0 and was > 0) or (is_now <= peak * _FLAT and was >= peak * _NOT_FLAT):
        return True
    if np.abs(after[0].astype(np.int32) - before[0]).mean() > peak * _MOST_CHANGE:
        return True
    for old, new in zip(before[1:], after[1:], strict=True):
        at_an_end = (new == 0) | (new == peak)
        if at_an_end.mean() >= _BROKEN_SHARE:
            jumped = np.abs(new.astype(np.int32) - old) > peak // 4
            if (at_an_end & jumped).mean() >= _BROKEN_SHARE:
                return True
    return False


def _range(plane: Plane) -> int:
    return int(plane.max()) - int(plane.min())
