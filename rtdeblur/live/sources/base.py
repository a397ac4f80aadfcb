"""Protocol and options of live sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from rtdeblur.frames import Frame


class LiveSource(Protocol):
    """Returns frames as they come; used by one thread."""

    finite: bool
    """True if the end is final, as of a file; False if it means that the source was lost."""

    @property
    def damaged(self) -> int:
        """Number of packets or pictures so far that could not be read or decoded."""

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end.

        Frames are upright, their planes stay valid after the next `read`, and their carrier is an
        `Appearance`. Times are the source's own and may jump.

        Raises:
            InputError: the source was lost.
        """

    def close(self) -> None:
        """Release everything; may be called twice."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Settings of a source; each kind of source uses those that apply to it.

    Attributes:
        size: (height, width) to request from a camera; None for its default.
        frame_rate: frames per second to request from a camera; None for its default.
        transport: protocol that carries the pictures of RTSP.
        timeout_seconds: silence after which a network stream counts as lost.
    """

    size: tuple[int, int] | None = None
    frame_rate: float | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    timeout_seconds: float = 5.0
