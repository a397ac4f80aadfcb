"""Restores the newest frame, in its own thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from rtdeblur.errors import InterruptedRunError, RtdeblurError
from rtdeblur.frames import Frame
from rtdeblur.live.capture import LiveCapture
from rtdeblur.live.displays import LivePicture
from rtdeblur.live.latest import Latest
from rtdeblur.live.meters import Latency
from rtdeblur.live.restorer import LiveRestorer

_USUAL_INTERVAL = 1 / 30
_CLOSE_SECONDS = 10.0


class Inference:
    """Restores the newest frame of a capture and passes it on.

    If the model fails on a frame after it has restored others, that frame passes unrestored and the session
    continues.

    Args:
        capture: source of the frames.
        restorer: runs the model; closed at the end.
        deliver: called with each picture; must not block.
        say: called with one line when the model fails.
        deadline: seconds per frame; None for the source's frame interval.

    Attributes:
        slot: the newest picture; closed at the end.
        times: time per restored frame.
        restored: number of frames restored.
        unrestored: number of frames that passed unrestored because the model failed.
        message: why the model fails, '' while it works.
        error: reason for an early end; None while running and after the end of the capture.
    """

    def __init__(
        self,
        capture: LiveCapture,
        restorer: LiveRestorer,
        deliver: Callable[[LivePicture], None],
        say: Callable[[str], None],
        deadline: float | None = None,
    ) -> None:
        self._capture, self._restorer, self._deliver = capture, restorer, deliver
        self._say, self._deadline = say, deadline
        self.slot: Latest[LivePicture] = Latest()
        self.times = Latency()
        self.restored = self.unrestored = 0
        self.message = ""
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rtdeblur-infer", daemon=True)

    def start(self) -> None:
        """Start restoring; a finite source waits for its first frame to be restored."""
        self._capture.hold()
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current frame."""
        self._stop.set()
        self._restorer.stop()
        self._capture.slot.close()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            self._restorer.start()
            while not self._stop.is_set() and (captured := self._capture.slot.take()) is not None:
                picture = LivePicture(captured.frame, self._restore(captured.frame), captured.at)
                self._capture.release()
                self._deliver(picture)
                self.slot.put(picture)
        except InterruptedRunError as error:
            self.error = None if self._stop.is_set() else error
        except BaseException as error:  # raised again by the session
            self.error = error
        finally:
            self._capture.release()
            self._restorer.close()
            self.slot.close()

    def _restore(self, frame: Frame) -> Frame:
        budget = self._deadline or self._capture.interval.seconds or _USUAL_INTERVAL
        began, broken = time.monotonic(), self._restorer.unrestored
        try:
            restored = self._restorer.restore(frame, budget)
        except InterruptedRunError:
            raise
        except RtdeblurError as error:
            if not self.restored:
                raise
            self._pass_on(str(error))
            return replace(frame)
        if self._restorer.unrestored > broken:
            self._pass_on("the model's output is broken")
            return restored
        self.times.add(time.monotonic() - began)
        self.restored += 1
        self.message = ""
        return restored

    def _pass_on(self, reason: str) -> None:
        """Count a frame that passes unrestored, and report the reason if it is new."""
        if reason != self.message:
            self._say(f"{reason}; pictures pass unrestored")
        self.message = reason
        self.unrestored += 1
