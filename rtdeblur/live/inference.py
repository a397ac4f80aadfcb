"""Restores the newest frame, in a thread of its own."""

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
    """Takes the newest frame of a capture, restores it and passes it on.

    A model that fails on a frame after others went well costs the restoration of that frame, not the session.

    Args:
        capture: where the frames come from.
        restorer: closed at the end.
        deliver: gets each picture; must not wait.
        say: called with one line when the model fails.
        deadline: seconds that restoring a frame may take; None for the source's frame interval.

    Attributes:
        slot: the newest picture; closed at the end.
        times: how long restoring took.
        restored: frames restored.
        unrestored: frames passed on as they came, because the model failed on them.
        message: why, '' while all is well.
        error: what ended the thread, if not the capture's end.
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
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the frame that is being restored."""
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
                self._deliver(picture)
                self.slot.put(picture)
        except InterruptedRunError as error:
            self.error = None if self._stop.is_set() else error
        except BaseException as error:  # a thread has nobody else to tell
            self.error = error
        finally:
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
            self._pass_on("the model returned no picture")
            return restored
        self.times.add(time.monotonic() - began)
        self.restored += 1
        self.message = ""
        return restored

    def _pass_on(self, reason: str) -> None:
        """Note that a frame goes on as it came, and say why if it is news."""
        if reason != self.message:
            self._say(f"{reason}; pictures pass unrestored")
        self.message = reason
        self.unrestored += 1
