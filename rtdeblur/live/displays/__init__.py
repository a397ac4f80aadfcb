"""What a live session and its displays say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from rtdeblur.frames import Frame


class Command(Enum):
    """What a user asks of the session.

    The split's position, side by side, full screen and help are a display's own and never leave it.
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
        blurred: as captured.
        restored: of the same layout.
        captured_at: seconds of `time.monotonic()` when it left the source.
    """

    blurred: Frame
    restored: Frame
    captured_at: float


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """What a display tells besides the picture.

    Attributes:
        model: its name.
        working_size: (height, width) that the model works at.
        source_fps: frames a second that the source gives.
        shown_fps: frames a second that were shown.
        latency_ms: median and 95th percentile, capture to display, of the last seconds; None before.
        dropped: frames of the source that were never shown, since the start.
        recording: True while a file is being written.
        paused: True while the picture stands still on request.
        message: '' or one line, as 'source lost; trying again in 2 s'.
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
        """Show a picture and a status; give what the user has asked since the last call.

        Called from one thread, the main one: with each new picture, and about 20 times a second without
        one, so that keys work while the source is lost. Returns as soon as it has drawn. A window that
        was closed answers with `Command.QUIT`; so counts an exception.
        """

    def close(self) -> None:
        """Release everything; may be called twice."""
