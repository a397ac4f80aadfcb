"""Thumbnails of frames, to tell which frame of the source an output frame shows."""

from __future__ import annotations

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

Thumbnail = NDArray[np.uint8]
"""Luma, (16, 16), full range."""

_SIDE = 16
# Least distance from its own frame for a frame to count as misplaced, in standard deviations of the samples;
# restoration moves a thumbnail by less (measured with the bundled models: 0.05 at most).
_FAR = 0.02
# Also, another frame of the source must be this many times closer.
_NEARER = 2.0
_MOST_CHECKED = 500  # frames that changed a lot: a regraded film changes all of them


def thumbnail(frame: VideoFrame) -> Thumbnail:
    """Make the thumbnail of a decoded frame; black if FFmpeg cannot convert it."""
    try:
        small = frame.reformat(_SIDE, _SIDE, "gray", interpolation=Interpolation.AREA)
    except (FFmpegError, ValueError):
        return np.zeros((_SIDE, _SIDE), np.uint8)
    return np.asarray(small.to_ndarray(), np.uint8)


def misplaced(before: list[Thumbnail], after: list[Thumbnail]) -> list[tuple[int, int]]:
    """Find frames that show a different frame of the source.

    The comparison ignores brightness and contrast, since a model may change both.

    Args:
        before: thumbnails of the source, one per frame.
        after: thumbnails of the output; frames beyond the shorter list are not compared.

    Returns:
        Pairs of the number of a misplaced frame and the number of the source's frame that it shows.
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
    """Normalise to (N, 256) float32 of mean 0 and standard deviation 1; flat pictures become 0."""
    samples = np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float32)
    samples -= samples.mean(1, keepdims=True)
    deviation = samples.std(1, keepdims=True)
    return np.asarray(samples / np.maximum(deviation, 1), np.float32)
