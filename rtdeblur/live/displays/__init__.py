"""Protocol between a live session and its displays."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from rtdeblur.frames import Frame


class Command(Enum):
    """Request from the user to the session.

    Divider, side by side, full screen and help belong to the display and are not commands.
    """

    QUIT = "quit"
    PAUSE = "pause"
    SNAPSHOT = "snapshot"
    RECORD = "record"
    NEXT_MODEL = "next model"


@dataclass(frozen=True, slots=True)
class LivePicture:
    """One captured frame, before and after.

    Attributes:
        blurred: the frame as captured.
        restored: the restored frame, of the same layout.
        captured_at: `time.monotonic()` when the frame left the source.
    """

    blurred: Frame
    restored: Frame
    captured_at: float


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """State of the session, for displays.

    Attributes:
        model: name of the model.
        working_size: (height, width) at which the model works.
        source_fps: frames per second of the source.
        shown_fps: frames per second shown.
        latency_ms: median and 95th percentile from capture to display, over the last few seconds; None at
            first.
        dropped: frames since the start that were never shown.
        recording: True while a recording is being written.
        paused: True while the user has paused the picture.
        message: one line, such as 'source lost; trying again in 2 s', or ''.
    """

    model: str
    working_size: tuple[int, int]
    source_fps: float
    shown_fps: float
    latency_ms: tuple[float, float] | None
    dropped: int
    recording: bool
    paused: bool
    message: str


class Display(Protocol):
    """Shows live pictures and takes commands: a window, a web page."""

    def show(self, picture: LivePicture | None, status: LiveStatus) -> list[Command]:
        """Show a picture and a status; return the commands since the last call, in order.

        Called from the main thread only: with each new picture, and about 20 times per second without one,
        so that keys work while the source is lost. Returns as soon as the picture is drawn. A window that the
        user closed returns `Command.QUIT`. An exception ends the session.

        Args:
            picture: the new picture; None to keep the last one.
            status: the state of the session.
        """

    def close(self) -> None:
        """Release everything; may be called twice."""
