"""Flicker: change from frame to frame in the still regions of a clip."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.pictures import Picture

STILL_LEVELS = 2.0
"""A region is still if the input changes by at most this, in levels of 255, from frame to frame."""


class Flicker:
    """Accumulates the change from frame to frame over a clip, in order."""

    def __init__(self) -> None:
        self._last: tuple[Picture, ...] = ()
        self._totals, self._still, self._pixels = np.zeros(3), 0, 0

    def add(self, blurred: Picture, restored: Picture, sharp: Picture) -> None:
        """Add the next frame."""
        now = (blurred, restored, sharp)
        if self._last:
            changes = [_change(a, b) for a, b in zip(self._last, now, strict=True)]
            # A pixel is still if its surroundings are, because noise changes single pixels.
            still = cv2.blur(changes[0], (9, 9)) <= STILL_LEVELS
            self._totals += [change[still].sum() for change in changes]
            self._still, self._pixels = self._still + int(still.sum()), self._pixels + still.size
        self._last = now

    def scores(self) -> dict[str, float]:
        """Return the mean absolute change where the blurred clip is still.

        Returns:
            `flicker_in`, `flicker_out` and `flicker_sharp` of the blurred, the restored and the sharp clip in
            levels of 255, and `still`, the share of still pixels.
        """
        names = ("flicker_in", "flicker_out", "flicker_sharp")
        means = self._totals / max(self._still, 1)
        values = {name: float(mean) for name, mean in zip(names, means, strict=True)}
        return values | {"still": self._still / max(self._pixels, 1)}


def _change(a: Picture, b: Picture) -> NDArray[np.float32]:
    return np.asarray(np.abs(a.astype(np.float32) - b).mean(axis=2), np.float32)
