"""Video files as live sources, played at their own speed."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

from rtdeblur.frames import Frame
from rtdeblur.live.image import appearance_of, upright
from rtdeblur.media.reader import FileReader

_LATE_SECONDS = 1.0
"""After a longer stall the clock restarts, instead of rushing through the missed frames."""


class FilePlayer:
    """Plays a video file (a `LiveSource`).

    Args:
        path: the file.

    Raises:
        InputError: the file is missing or has no video that can be decoded.
    """

    finite = True

    def __init__(self, path: Path) -> None:
        self._reader = FileReader(path)
        self._frames = iter(self._reader)
        self._pace = Pace()

    @property
    def damaged(self) -> int:
        """Number of packets or frames so far that could not be read or decoded."""
        return self._reader.damage.count

    def read(self) -> Frame | None:
        """Wait until the next frame is due and return it; None at the end."""
        frame = next((item for item in self._frames if isinstance(item, Frame)), None)
        if frame is None:
            return None
        self._pace.wait(float(frame.pts * frame.time_base))
        decoded = frame.carrier.frame
        appearance = appearance_of(decoded, self._reader.source.video.sample_aspect_ratio)
        return upright(replace(frame, carrier=appearance), decoded)

    def close(self) -> None:
        """Release the file and wake a waiting `read`; may be called twice."""
        self._pace.stop()
        self._reader.close()


class Pace:
    """Waits until a picture is due; the first is due at once."""

    def __init__(self) -> None:
        self._zero: float | None = None
        self._stopped = threading.Event()

    def wait(self, seconds: float) -> None:
        """Wait until a picture is due.

        Args:
            seconds: time of the picture by the source's own clock, which may jump.
        """
        now = time.monotonic()
        early = None if self._zero is None else self._zero + seconds - now
        if early is None or not -_LATE_SECONDS < early < 60:
            self._zero, early = now - seconds, 0.0
        self._stopped.wait(max(0.0, early))

    def stop(self) -> None:
        """Wake the waiting thread at once."""
        self._stopped.set()
