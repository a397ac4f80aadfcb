"""Protocol of live sinks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rtdeblur.frames import Frame


class LiveSink(Protocol):
    """Takes restored frames as they come; used by one thread."""

    def write(self, frame: Frame, seconds: float) -> None:
        """Write a frame.

        Args:
            frame: its size, depth and chroma may differ from those of the frame before.
            seconds: capture time, counted from the first frame.

        Raises:
            OutputError: the sink was lost.
        """

    def close(self) -> None:
        """Finish as far as possible, without raising; may be called twice."""


OpenSink = Callable[[Frame, float], LiveSink]
"""Opens a sink, given the first frame and the frame rate; raises OutputError."""
