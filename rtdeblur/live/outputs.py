"""Outputs that may be slow: each has its own thread and a queue that drops the oldest frames."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from rtdeblur.errors import OutputError
from rtdeblur.frames import Frame
from rtdeblur.live.capture import FIRST_DELAY, LONGEST_DELAY
from rtdeblur.live.sinks import LiveSink, OpenSink

_CLOSE_SECONDS = 5.0
_USUAL_RATE = 30.0


class LiveOutput:
    """Writes frames to a sink; the live picture never waits for it.

    Args:
        name: name in messages, such as 'recording out.mkv'.
        open_sink: opens the sink for the first frame.
        say: called with one line when the sink fails and when it is back.
        depth: number of frames that may wait.
        persistent: reopen the sink when it fails, such as a receiver that may come back; otherwise give up.
        required: the session ends if the sink fails before its first frame; its error is then raised by the
            session and not logged here.

    Attributes:
        frames: number of frames written.
        dropped: number of frames dropped because the sink was too slow.
        error: why the output gave up; None while it works.
    """

    def __init__(
        self,
        name: str,
        open_sink: OpenSink,
        say: Callable[[str], None],
        *,
        depth: int = 8,
        persistent: bool = False,
        required: bool = False,
    ) -> None:
        self.name, self._open_sink, self._say = name, open_sink, say
        self._persistent, self._required = persistent, required
        self.frames = self.dropped = 0
        self.error: OutputError | None = None
        self._depth = depth
        self._waiting: deque[tuple[Frame, float, float]] = deque()
        self._changed = threading.Condition()
        self._ended = self._away = False
        self._thread = threading.Thread(target=self._run, name="rtdeblur-output", daemon=True)
        self._thread.start()

    def put(self, frame: Frame, captured_at: float, rate: float | None) -> None:
        """Queue a frame; never blocks.

        Args:
            frame: the frame to write.
            captured_at: `time.monotonic()` when it was captured.
            rate: frames per second; None if unknown.
        """
        with self._changed:
            if self._ended:
                return
            if len(self._waiting) == self._depth:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append((frame, captured_at, rate or _USUAL_RATE))
            self._changed.notify()

    def end(self) -> None:
        """Accept no more frames; queued ones are still written, then the sink is closed."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def join(self) -> None:
        """Wait until everything is written, at most 5 seconds."""
        self._thread.join(_CLOSE_SECONDS)

    @property
    def is_stillborn(self) -> bool:
        """True if the output is required and failed before its first frame."""
        return self._required and self.error is not None and not self.frames

    def _run(self) -> None:
        sink: LiveSink | None = None
        zero, delay = 0.0, FIRST_DELAY
        while (item := self._take()) is not None:
            frame, captured_at, rate = item
            try:
                if sink is None:
                    sink, zero = self._open_sink(frame, rate), captured_at
                sink.write(frame, captured_at - zero)
            except OutputError as error:
                _close(sink)
                sink = None
                self._fail(error, delay)
                delay = min(2 * delay, LONGEST_DELAY)
            else:
                self._succeed()
                delay = FIRST_DELAY
        _close(sink)

    def _take(self) -> tuple[Frame, float, float] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            return self._waiting.popleft() if self._waiting else None

    def _succeed(self) -> None:
        self.frames += 1
        if self._away:
            self._away = False
            self._say(f"{self.name} is back")

    def _fail(self, error: OutputError, delay: float) -> None:
        if not (self._persistent and self.frames):
            self.error = error
            if not self.is_stillborn:
                self._say(str(error))
            with self._changed:
                self._ended = True
                self._waiting.clear()
            return
        if not self._away:
            self._away = True
            self._say(f"{error}; trying again until it is back")
        with self._changed:
            self._changed.wait_for(lambda: self._ended, delay)


def _close(sink: LiveSink | None) -> None:
    if sink is not None:
        sink.close()
