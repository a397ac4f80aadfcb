"""The protocol of a live sink."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rtdeblur.frames import Frame


class LiveSink(Protocol):
    """Takes restored frames as they come; used by one thread."""

    def write(self, frame: Frame, seconds: float) -> None:
        """Take a frame.

        Args:
            frame: the size may change from frame to frame.
            seconds: when it was captured, since the sink was opened.

        Raises:
            OutputError: the sink was lost.
        """

    def close(self) -> None:
        """Finish what can be finished; may be called twice."""


OpenSink = Callable[[Frame, float], LiveSink]
"""Opens a sink for a first frame and a frame rate."""
