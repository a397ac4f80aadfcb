"""Detection before and after deblurring: boxes of each picture compared with those of the sharp one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from train.data.pictures import Picture
from train.errors import DataError

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""
Detector = Callable[[Picture], list[Box]]


@dataclass
class Detections:
    """Counts of boxes, summed over pictures (Kupyn et al., DeblurGAN, CVPR 2018, table 3 for the form)."""

    hits: int = 0
    found: int = 0
    wanted: int = 0

    def add(self, boxes: Sequence[Box], reference: Sequence[Box]) -> None:
        """Count the boxes of a picture against those of its sharp counterpart."""
        self.hits += matches(boxes, reference)
        self.found += len(boxes)
        self.wanted += len(reference)

    def scores(self) -> dict[str, float]:
        """Return precision, recall and their harmonic mean F1; 1 if nothing was found or to be found."""
        precision = self.hits / self.found if self.found else 1.0
        recall = self.hits / self.wanted if self.wanted else 1.0
        both = precision + recall
        f1 = 2 * precision * recall / both if both else 0.0
        return {"precision": precision, "recall": recall, "f1": f1, "boxes": float(self.found)}


class People:
    """Detection scores of blurred and restored pictures, against the sharp ones."""

    def __init__(self, detect: Detector) -> None:
        self._detect = detect
        self._before, self._after = Detections(), Detections()

    def add(self, blurred: Picture, restored: Picture, sharp: Picture) -> None:
        """Add a picture."""
        reference = self._detect(sharp)
        self._before.add(self._detect(blurred), reference)
        self._after.add(self._detect(restored), reference)

    def scores(self) -> dict[str, dict[str, float]]:
        """Return `detection_in` and `detection_out`: scores of the blurred and of the restored pictures."""
        return {"detection_in": self._before.scores(), "detection_out": self._after.scores()}


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (areas - width * height)


def matches(boxes: Sequence[Box], reference: Sequence[Box], least: float = 0.5) -> int:
    """Count matching boxes: greedily by overlap, each box once, with an overlap of at least `least`."""
    pairs = [(overlap(a, b), i, j) for i, a in enumerate(boxes) for j, b in enumerate(reference)]
    used: set[tuple[str, int]] = set()
    count = 0
    for value, i, j in sorted(pairs, reverse=True):
        if value >= least and ("a", i) not in used and ("b", j) not in used:
            used |= {("a", i), ("b", j)}
            count += 1
    return count


def hog_people() -> Detector:
    """Return OpenCV's people detector (Dalal & Triggs, CVPR 2005), with overlapping boxes merged.

    Raises:
        DataError: this OpenCV has no detector; version 5 dropped it.
    """
    if not hasattr(cv2, "HOGDescriptor"):
        raise DataError(
            f"OpenCV {cv2.__version__} has no HOG people detector; "
            "try: pip install 'opencv-python-headless<5'"
        )
    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())  # type: ignore[attr-defined]

    width, height = hog.winSize

    def detect(picture: Picture) -> list[Box]:
        if picture.shape[0] < height or picture.shape[1] < width:
            return []  # else OpenCV would crash
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        found, weights = hog.detectMultiScale(grey, winStride=(8, 8), scale=1.05)
        boxes = np.reshape(np.asarray(found, float), (-1, 4))
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), np.ravel(weights).tolist(), 0.0, 0.4)
        return [(x, y, x + w, y + h) for x, y, w, h in boxes[np.ravel(kept).astype(int)].tolist()]

    return detect
