"""Sources and sinks of frames: reading, writing, resuming and verifying files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from rtdeblur.device import DeviceBatch, DeviceFrame
from rtdeblur.frames import Frame, FrameBatch, Interlude, VideoInfo


class FrameSource(Protocol):
    """Yields decoded frames in presentation order."""

    @property
    def info(self) -> VideoInfo:
        """Facts known before the first frame."""

    def __iter__(self) -> Iterator[Frame | DeviceFrame | Interlude]:
        """Yield each frame once, with interludes for packets that cannot wait for it; call only once."""

    def close(self) -> None:
        """Release everything; may be called twice, and from another thread."""


class FrameSink(Protocol):
    """Writes restored frames in presentation order; nothing is visible before `commit`."""

    def needs(self, index: int) -> bool:
        """Whether the index-th frame must be restored; False if an earlier run finished it.

        Thread-safe; the answer never changes.
        """

    def write(self, batch: FrameBatch | DeviceBatch | Interlude) -> None:
        """Write the frames of a batch, or an interlude; the carriers come from the matching source."""

    def commit(self) -> None:
        """Flush, and make the complete output appear under its name."""

    def close(self) -> None:
        """Release everything and discard uncommitted output; may be called twice."""
