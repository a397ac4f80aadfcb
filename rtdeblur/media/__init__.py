"""Where frames come from and go to; the only home of `av`, and of `cv2` for cameras and windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from rtdeblur.device import DeviceBatch, DeviceFrame
from rtdeblur.frames import Frame, FrameBatch, Interlude, VideoInfo


class FrameSource(Protocol):
    """Yields decoded frames in presentation order."""

    @property
    def info(self) -> VideoInfo:
        """What is known before the first frame."""

    def __iter__(self) -> Iterator[Frame | DeviceFrame | Interlude]:
        """Yield each frame once, and what cannot wait for the next one; may be called once."""

    def close(self) -> None:
        """Release everything; may be called twice, and from another thread than the reader's."""


class FrameSink(Protocol):
    """Takes restored frames in presentation order; nothing is visible before `commit`."""

    def needs(self, index: int) -> bool:
        """False where the index-th frame may come as it was decoded, since an earlier run finished it.

        From any thread; the answer never changes.
        """

    def write(self, batch: FrameBatch | DeviceBatch | Interlude) -> None:
        """Take the frames of a batch, or an interlude; the carriers come from the matching source."""

    def commit(self) -> None:
        """Flush, and make the whole output appear under its name."""

    def close(self) -> None:
        """Release everything; what was not committed is discarded. May be called twice."""
