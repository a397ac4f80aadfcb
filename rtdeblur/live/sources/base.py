"""The protocol of a live source, and what may be asked of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from rtdeblur.frames import Frame


class LiveSource(Protocol):
    """Gives frames as they come; used by one thread."""

    finite: bool
    """True where the end is the end, as of a file; False where it means that the source was lost."""

    @property
    def damaged(self) -> int:
        """Packets or pictures that could not be read or decoded so far."""

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end.

        Times are the source's own and may jump; a frame is upright, and has no carrier.

        Raises:
            InputError: the source was lost.
        """

    def close(self) -> None:
        """Release everything; may be called twice."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What may be asked of a source; each kind takes what concerns it.

    Attributes:
        size: (height, width) that a camera should give.
        frame_rate: frames a second that a camera should give.
        transport: how RTSP carries pictures.
        timeout_seconds: how long an address may be silent before it counts as lost.
    """

    size: tuple[int, int] | None = None
    frame_rate: float | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    timeout_seconds: float = 5.0
