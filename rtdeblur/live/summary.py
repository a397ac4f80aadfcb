"""What a live session did, for people and programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class OutputSummary:
    """What an output got.

    Attributes:
        name: of the output.
        frames: frames written.
        dropped: frames that were too many for it.
        error: why it gave up, '' where it did not.
    """

    name: str
    frames: int
    dropped: int
    error: str


@dataclass(frozen=True)
class LiveSummary:
    """What a session did.

    Attributes:
        seconds: how long it ran.
        captured: frames that the source gave.
        shown: pictures shown; without a display, pictures that left inference.
        source_fps: frames a second by the source's own clock, 0 where unknown.
        dropped: frames never shown, because a newer one was there first.
        damaged: packets or frames that could not be read or decoded.
        unrestored: frames that the model failed on, shown as they came.
        latency_ms: median and 95th percentile, capture to display; None where nothing was shown.
        restore_ms: median and 95th percentile of the time that the model took.
        model: the last one used.
        working_size: (height, width) at which it worked last.
        reconnects: how many times the source was lost and came back.
        outputs: one for each recording and receiver.
    """

    seconds: float
    captured: int
    shown: int
    source_fps: float
    dropped: int
    damaged: int
    unrestored: int
    latency_ms: tuple[float, float] | None
    restore_ms: tuple[float, float] | None
    model: str
    working_size: tuple[int, int]
    reconnects: int
    outputs: tuple[OutputSummary, ...]

    @property
    def fps(self) -> float:
        """Pictures shown a second."""
        return self.shown / self.seconds if self.seconds else 0.0

    def lines(self) -> Iterator[str]:
        """Say it to a person."""
        if not self.shown:
            yield f"no picture came in {self.seconds:.1f} s"
            return
        height, width = self.working_size
        yield (
            f"{self.shown} pictures in {self.seconds:.1f} s, {self.fps:.1f} fps "
            f"(source {self.source_fps:.1f}), {self.dropped} dropped; model {self.model} at {width}x{height}"
        )
        if self.latency_ms and self.restore_ms:
            (median, p95), (model_median, model_p95) = self.latency_ms, self.restore_ms
            yield (
                f"capture to display {median:.0f} ms (median), {p95:.0f} ms (95th percentile); "
                f"of it the model {model_median:.0f} ms, {model_p95:.0f} ms"
            )
        if self.reconnects:
            yield f"the source was lost and came back {self.reconnects} times"
        if self.damaged:
            yield f"{self.damaged} packets or pictures of the source were damaged"
        if self.unrestored:
            yield f"{self.unrestored} pictures passed unrestored"
        for output in self.outputs:
            yield f"{output.name}: {output.frames} pictures, {output.dropped} dropped"
