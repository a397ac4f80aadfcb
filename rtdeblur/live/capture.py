"""Takes the frames of a source in a thread of its own, and opens it again when it is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from rtdeblur.errors import InputError
from rtdeblur.frames import Frame
from rtdeblur.live.latest import Latest
from rtdeblur.live.meters import FrameInterval
from rtdeblur.live.sources.base import LiveSource

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
"""Seconds between attempts to open a lost source; each waits twice as long as the one before."""
_CLOSE_SECONDS = 1.0
_SILENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame, and the `time.monotonic()` at which it left the source."""

    frame: Frame
    at: float


class LiveCapture:
    """Fills a slot with the newest frame of a source.

    One that cannot be opened the first time is an error, unless `patient`; one that was there is waited for.

    Args:
        open_source: opens it; called in the capture's thread.
        say: called with one line when the source is lost and when it is back.
        patient: wait for a source that is not there yet.

    Attributes:
        slot: where the frames go; closed at the end of a finite source and after an error.
        interval: between frames, by the source's own clock.
        frames: how many came.
        reconnects: how many times a lost source came back.
        damaged: packets or pictures that could not be read or decoded.
        error: what ended the capture, if not the source's end.
    """

    def __init__(
        self, open_source: Callable[[], LiveSource], say: Callable[[str], None], *, patient: bool = False
    ) -> None:
        self._open_source, self._say, self._patient = open_source, say, patient
        self.slot: Latest[Captured] = Latest()
        self.interval = FrameInterval()
        self.frames = self.reconnects = self.damaged = 0
        self.error: BaseException | None = None
        self._delay = FIRST_DELAY
        self._problem = "opening the source"
        self._said = False  # that the source is away
        self._last_at = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rtdeblur-capture", daemon=True)

    @property
    def message(self) -> str:
        """'' while frames come, else what is wrong and what is done about it."""
        silent = time.monotonic() - self._last_at
        return self._problem or (f"no picture for {silent:.0f} s" if silent >= _SILENCE_SECONDS else "")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a source that is silent is left to its time-out."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self._read_until_lost():
                pass
        except BaseException as error:  # a thread has nobody else to tell
            self.error = error
        finally:
            self.slot.close()

    def _read_until_lost(self) -> bool:
        """Open the source and read it; False at its end."""
        try:
            source = self._open_source()
            try:
                while not self._stop.is_set():
                    frame = source.read()
                    if frame is None:
                        if source.finite:
                            return False
                        raise InputError("the sender ended the stream")
                    self._take(frame)
            finally:
                self.damaged += source.damaged
                source.close()
        except InputError as error:
            if not self.frames and not self._patient:
                raise
            self._wait(error)
        return not self._stop.is_set()

    def _take(self, frame: Frame) -> None:
        self._last_at = time.monotonic()
        if self._said:
            self._said = False
            self.reconnects += self.frames > 0
            self._say("the source is back" if self.frames else "the source is there")
        self._problem, self._delay = "", FIRST_DELAY
        self.frames += 1
        self.interval.add(float(frame.pts * frame.time_base))
        self.slot.put(Captured(frame, self._last_at))

    def _wait(self, error: InputError) -> None:
        what = "source lost" if self.frames else "waiting for the source"
        if not self._said:
            self._said = True
            self._say(f"{error}; trying again until it is {'back' if self.frames else 'there'}")
        self._problem = f"{what}; trying again in {self._delay:g} s"
        self._stop.wait(self._delay)
        self._delay = min(2 * self._delay, LONGEST_DELAY)
        self._problem = f"{what}; opening it again"
