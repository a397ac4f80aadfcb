"""Summary of a live session, for people and programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rtdeblur.plurals import counted


@dataclass(frozen=True)
class OutputSummary:
    """Summary of one output.

    Attributes:
        name: name of the output, such as 'recording out.mkv'.
        frames: number of frames written.
        dropped: number of frames dropped because the output was too slow.
        error: why it gave up, '' if it did not.
    """

    name: str
    frames: int
    dropped: int
    error: str


@dataclass(frozen=True)
class LiveSummary:
    """Summary of a session.

    Attributes:
        seconds: length of the session.
        captured: number of frames read from the source.
        shown: number of pictures shown; without a display, pictures restored.
        source_fps: frames per second by the source's own clock; 0 if unknown.
        dropped: frames never shown because a newer one came first.
        damaged: packets or frames that could not be read or decoded.
        unrestored: frames shown unrestored because the model failed.
        latency_ms: median and 95th percentile from capture to display; None if nothing was shown.
        restore_ms: median and 95th percentile of the model's time; None if nothing was restored.
        model: name of the last model used.
        working_size: (height, width) at which it worked last.
        resolution: working height divided by the height of the picture, at the end.
        reconnects: number of times that the source was lost and came back.
        outputs: one summary per recording and receiver.
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
    resolution: float
    reconnects: int
    outputs: tuple[OutputSummary, ...]

    @property
    def fps(self) -> float:
        """Pictures shown per second."""
        return self.shown / self.seconds if self.seconds else 0.0

    def lines(self) -> Iterator[str]:
        """Yield the summary as lines for a person."""
        if not self.shown:
            yield f"no picture in {self.seconds:.1f} s"
            return
        height, width = self.working_size
        share = f"{100 * self.resolution:.0f}% of full resolution"
        preview = "" if self.resolution >= 1 else f" (preview quality, {share})"
        yield (
            f"{counted(self.shown, 'picture')} in {self.seconds:.1f} s, {self.fps:.1f} fps "
            f"(source {self.source_fps:.1f}), {self.dropped} dropped; "
            f"model {self.model} at {width}x{height}{preview}"
        )
        if self.latency_ms and self.restore_ms:
            (median, p95), (model_median, model_p95) = self.latency_ms, self.restore_ms
            yield (
                f"latency from capture to display: median {median:.0f} ms, 95th percentile {p95:.0f} ms; "
                f"the model's share: {model_median:.0f} ms, {model_p95:.0f} ms"
            )
        if self.reconnects:
            yield f"reconnected to the source {_times(self.reconnects)}"
        if self.damaged:
            yield f"damaged packets or pictures in the source: {self.damaged}"
        if self.unrestored:
            yield f"pictures shown unrestored: {self.unrestored}"
        for output in self.outputs:
            yield f"{output.name}: {counted(output.frames, 'picture')}, {output.dropped} dropped"


def _times(count: int) -> str:
    return "once" if count == 1 else counted(count, "time")
