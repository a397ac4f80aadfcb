"""Restore live pictures one by one, newest first.

    python examples/webcam.py [SECONDS]

A camera thread replaces the newest picture 30 times per second; the loop restores whichever is there, so
pictures that come too fast are skipped instead of piling up. The camera is a generated moving bar; with
OpenCV, `read` would be `cv2.VideoCapture(0).read()[1][..., ::-1]`.
"""

import sys
import threading
import time

import numpy as np
from numpy.typing import NDArray

from rtdeblur import Deblurrer

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0


def read(index: int) -> NDArray[np.uint8]:
    """Picture (180, 320, 3) of a bar that moves 6 pixels per frame, smeared by its motion."""
    columns = (np.arange(320) - 6 * index) % 320
    bar = np.clip(30 - np.abs(columns - 160), 0, 12) / 12
    return np.broadcast_to((40 + 180 * bar[None, :, None]).astype(np.uint8), (180, 320, 3)).copy()


class Camera(threading.Thread):
    """Keeps the newest picture."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.taken, self.newest, self.running = 0, read(0), True

    def run(self) -> None:
        """Take a picture every 1/30 s."""
        while self.running:
            self.newest = read(self.taken)
            self.taken += 1
            time.sleep(1 / 30)


with Deblurrer(strength=1.0) as deblurrer:
    deblurrer.restore(read(0))  # the first picture of a size compiles the model for it
    camera = Camera()
    camera.start()
    shown, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        picture = deblurrer.restore(camera.newest)  # show it here
        shown += 1
    camera.running = False
    camera.join()
print(f"{camera.taken} pictures taken, {shown} restored, {shown / seconds:.1f} per second")
