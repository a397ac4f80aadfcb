"""Where frames come from and go to; the only home of `av`, and of `cv2` for cameras and windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from rtdeblur.frames import Frame, FrameBatch, VideoInfo


class FrameSource(Protocol):
    """Yields decoded frames in presentation order."""

    @property
    def info(self) -> VideoInfo:
        """What is known before the first frame."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield each frame once; may be called once."""

    def close(self) -> None:
        """Release everything; may be called twice, and from another thread than the reader's."""


class FrameSink(Protocol):
    """Takes restored frames in presentation order; nothing is visible before `commit`."""

    def write(self, batch: FrameBatch) -> None:
        """Take the frames of a batch, whose carriers come from the matching source."""

    def commit(self) -> None:
        """Flush, and make the whole output appear under its name."""

    def close(self) -> None:
        """Release everything; what was not committed is discarded. May be called twice."""
