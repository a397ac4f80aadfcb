"""Protocol between a live session and its displays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
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
class UseModel:
    """Request to use a model.

    Attributes:
        name: one of `LiveStatus.models`.
    """

    name: str


@dataclass(frozen=True, slots=True)
class SetStrength:
    """Request to scale the change that the model makes.

    Attributes:
        value: 0 (no change) to 2 (twice the change).
    """

    value: float


Action = Command | UseModel | SetStrength
"""Anything that a user may request."""


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
        resolution: working height divided by the height of the picture; 1 is full resolution.
        models: names that may be chosen, in the order of `Command.NEXT_MODEL`.
        choice: the one chosen.
        strength: scale of the model's change, 0 to 2.
        saved: files saved during the session, the oldest first: snapshots and finished recordings.
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
    resolution: float = 1.0
    models: tuple[str, ...] = ()
    choice: str = ""
    strength: float = 1.0
    saved: tuple[Path, ...] = ()

    @property
    def quality(self) -> str:
        """What the working resolution means, in words; '' before the first picture."""
        if not self.working_size[0]:
            return ""
        if self.resolution >= 1:
            return "full resolution"
        return f"preview quality, {100 * self.resolution:.0f}% of full resolution"


class Display(Protocol):
    """Shows live pictures and takes commands: a window, a web page."""

    def show(self, picture: LivePicture | None, status: LiveStatus) -> Sequence[Action]:
        """Show a picture and a status; return the user's requests since the last call, in order.

        Called from the main thread only: with each new picture, and about 20 times per second without one,
        so that keys work while the source is lost. Returns as soon as the picture is drawn. A window that the
        user closed returns `Command.QUIT`. An exception ends the session.

        Args:
            picture: the new picture; None to keep the last one.
            status: the state of the session.
        """

    def close(self) -> None:
        """Release everything; may be called twice."""
