"""Thumbnails of frames: tiny pictures that show which frame of the source a frame of the output is."""

from __future__ import annotations

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

Thumbnail = NDArray[np.uint8]
"""Luma, (16, 16), full range."""

_SIDE = 16
# Restoring moves a thumbnail by less than this, in standard deviations of its samples (measured with the
# bundled models: 0.05 at most); a frame is taken for another one only when it is this far from its own.
_FAR = 0.02
# And when another frame of the source is so many times nearer.
_NEARER = 2.0
_MOST_CHECKED = 500  # frames that changed a lot: a film that was regraded changes them all


def thumbnail(frame: VideoFrame) -> Thumbnail:
    """The thumbnail of a decoded frame; black if FFmpeg cannot convert it."""
    try:
        small = frame.reformat(_SIDE, _SIDE, "gray", interpolation=Interpolation.AREA)
    except (FFmpegError, ValueError):
        return np.zeros((_SIDE, _SIDE), np.uint8)
    return np.asarray(small.to_ndarray(), np.uint8)


def misplaced(before: list[Thumbnail], after: list[Thumbnail]) -> list[tuple[int, int]]:
    """Frames that show what another frame of the source shows.

    Brightness and contrast are left out of the comparison, since a model may change both.

    Args:
        before: of the source, one per frame.
        after: of the output; frames beyond the shorter list are not compared.

    Returns:
        The number of each misplaced frame, and the number of the source's frame that it shows.
    """
    count = min(len(before), len(after))
    if not count:
        return []
    source, output = _normalised(before), _normalised(after[:count])
    own = np.abs(output - source[:count]).mean(1)
    found = []
    for index in np.flatnonzero(own > _FAR)[:_MOST_CHECKED]:
        distances = np.abs(source - output[index]).mean(1)
        nearest = int(distances.argmin())
        if distances[nearest] * _NEARER < own[index]:
            found.append((int(index), nearest))
    return found


def _normalised(thumbnails: list[Thumbnail]) -> NDArray[np.float32]:
    """(N, 256) float32 of mean 0 and standard deviation 1; a picture of one colour is 0."""
    samples = np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float32)
    samples -= samples.mean(1, keepdims=True)
    deviation = samples.std(1, keepdims=True)
    return np.asarray(samples / np.maximum(deviation, 1), np.float32)
