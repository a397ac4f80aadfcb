"""A file as a live source: its frames come at its own speed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rtdeblur.frames import Frame
from rtdeblur.media.orientation import upright
from rtdeblur.media.pace import Pace
from rtdeblur.media.reader import FileReader


class FilePlayer:
    """Plays a video file (a `LiveSource`).

    Args:
        path: the file.

    Raises:
        InputError: it is missing, or holds no video that can be decoded.
    """

    finite = True

    def __init__(self, path: Path) -> None:
        self._reader = FileReader(path)
        self._frames = iter(self._reader)
        self._pace = Pace()

    @property
    def damaged(self) -> int:
        """Packets or frames that could not be read or decoded so far."""
        return self._reader.damage.count

    def read(self) -> Frame | None:
        """Give the next frame when its time has come; None at the end."""
        frame = next((item for item in self._frames if isinstance(item, Frame)), None)
        if frame is None:
            return None
        self._pace.wait(float(frame.pts * frame.time_base))
        return upright(replace(frame, carrier=None), frame.carrier.frame)

    def close(self) -> None:
        """Release the file; a `read` that waits returns at once."""
        self._pace.stop()
        self._reader.close()
