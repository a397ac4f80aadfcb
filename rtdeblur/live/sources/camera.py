"""Cameras, through OpenCV (extra `live`)."""

from __future__ import annotations

import importlib
import time
from fractions import Fraction
from typing import Any

import numpy as np

from rtdeblur.errors import DependencyError, InputError
from rtdeblur.frames import Colour, Frame
from rtdeblur.live.image import Appearance
from rtdeblur.live.sources.base import SourceOptions

# A camera drops a picture now and then; after so many in a row it was unplugged.
_FAILED_READS = 5
_MICROSECOND = Fraction(1, 1_000_000)
# The result of COLOR_BGR2YUV_I420; untagged, players would take large pictures for BT.709.
_COLOUR = Colour("bt601", full_range=False)
_APPEARANCE = Appearance(matrix=6)  # BT.601 with 525 lines; the same coefficients as 625 lines


class Camera:
    """Pictures of a camera (a `LiveSource`), in 8-bit 4:2:0.

    Args:
        device: number of the camera, or the path of its device.
        options: `size` and `frame_rate` to request; the camera chooses the nearest that it supports.

    Attributes:
        damaged: number of pictures that the camera failed to deliver.

    Raises:
        DependencyError: OpenCV is not installed.
        InputError: the camera does not exist, or another program uses it.
    """

    finite = False

    def __init__(self, device: int | str, options: SourceOptions) -> None:
        self._cv2 = _import_cv2()
        self._device, self.damaged = device, 0
        self._capture = self._cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self.close()
            raise InputError(
                f"cannot open camera {device}: not connected, used by another program, or not allowed; "
                "try another number, or use a file or an address as SOURCE"
            )
        self._ask(options)

    def read(self) -> Frame | None:
        """Wait for the next picture.

        Raises:
            InputError: the camera delivers no more pictures.
        """
        for _ in range(_FAILED_READS):
            good, bgr = self._capture.read()
            if good:
                return self._frame(bgr)
            self.damaged += 1
        raise InputError(f"camera {self._device} delivers no more pictures")

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()

    def _ask(self, options: SourceOptions) -> None:
        cv2, capture = self._cv2, self._capture
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not the oldest
        if options.size:
            # USB 2 is too slow for uncompressed pictures beyond VGA size.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size[0])
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.size[1])
        if options.frame_rate:
            capture.set(cv2.CAP_PROP_FPS, options.frame_rate)

    def _frame(self, bgr: Any) -> Frame:
        height, width = (side // 2 * 2 for side in bgr.shape[:2])
        packed = self._cv2.cvtColor(np.ascontiguousarray(bgr[:height, :width]), self._cv2.COLOR_BGR2YUV_I420)
        y, chroma = packed[:height], packed[height:].reshape(2, height // 2, width // 2)
        pts = round(time.monotonic() * 1_000_000)
        return Frame((y, chroma[0], chroma[1]), pts, _MICROSECOND, _COLOUR, _APPEARANCE)


def _import_cv2() -> Any:
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError:
        raise DependencyError("opencv-python", "live", "a camera") from None
    # Our error messages say more than its log lines on stderr.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
