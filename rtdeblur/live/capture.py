"""Reads a live source in its own thread, and reopens it when it is lost."""

from __future__ import annotations

import gc
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
"""Seconds between attempts to open a lost source; the delay doubles each time."""
_CLOSE_SECONDS = 1.0
_SILENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame, and when it left the source (`time.monotonic()`)."""

    frame: Frame
    at: float


class LiveCapture:
    """Fills a slot with the newest frame of a source.

    A source that cannot be opened the first time is an error, unless `patient` is set. A source that is lost
    later is reopened until it is back.

    Args:
        open_source: opens the source; called in the capture's thread.
        say: called with one line when the source is lost and when it is back.
        patient: wait for a source that does not exist yet.

    Attributes:
        slot: the newest frame; closed at the end of a finite source and after an error.
        interval: time between frames, by the source's own clock.
        frames: number of frames read.
        reconnects: number of times that a lost source came back.
        damaged: packets or pictures that could not be read or decoded.
        error: reason for an early end; None while running and after the end of a finite source.
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
        self._said = False  # whether the user knows that the source is lost
        self._last_at = time.monotonic()
        self._stop, self._go = threading.Event(), threading.Event()
        self._go.set()
        self._thread = threading.Thread(target=self._run, name="rtdeblur-capture", daemon=True)

    @property
    def message(self) -> str:
        """Current problem and next step; '' while frames arrive."""
        silent = time.monotonic() - self._last_at
        return self._problem or (f"no picture for {silent:.0f} s" if silent >= _SILENCE_SECONDS else "")

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def hold(self) -> None:
        """Keep a finite source at its first frame until `release`; else it plays while the model opens."""
        self._go.clear()

    def release(self) -> None:
        """Let a finite source play."""
        self._go.set()

    def stop(self) -> None:
        """Stop reading; a silent source is left to its timeout."""
        self._stop.set()
        self._go.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self._read_until_lost():
                # PyAV's containers and streams refer to each other; without this, the decoder of every lost
                # source (10 MB and more) stays in memory until the collector comes by itself.
                gc.collect()
        except BaseException as error:  # raised again by the session
            self.error = error
        finally:
            self.slot.close()

    def _read_until_lost(self) -> bool:
        """Open the source and read it; return False at its end."""
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
                    if source.finite:
                        self._go.wait()
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
            self._say("the source is back" if self.frames else "the source is available")
        self._problem, self._delay = "", FIRST_DELAY
        self.frames += 1
        self.interval.add(float(frame.pts * frame.time_base))
        self.slot.put(Captured(frame, self._last_at))

    def _wait(self, error: InputError) -> None:
        what = "source lost" if self.frames else "waiting for the source"
        if not self._said:
            self._said = True
            self._say(f"{error}; trying again until it is {'back' if self.frames else 'available'}")
        self._problem = f"{what}; trying again in {self._delay:g} s"
        self._stop.wait(self._delay)
        self._delay = min(2 * self._delay, LONGEST_DELAY)
        self._problem = f"{what}; opening it again"
