"""A live session: capture, inference and display overlap, and none waits for another.

    source ──► [capture] ──newest──► [infer] ──newest──► displays (the caller's thread)
                                        └───bounded queues──► [output] …

Frames that a stage has no time for are dropped and counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rtdeblur.errors import RtdeblurError
from rtdeblur.live.capture import LiveCapture
from rtdeblur.live.displays import (
    Action,
    Command,
    Display,
    LivePicture,
    LiveStatus,
    SetStrength,
    UseModel,
)
from rtdeblur.live.inference import Inference
from rtdeblur.live.meters import Latency, Rate
from rtdeblur.live.outputs import LiveOutput
from rtdeblur.live.restorer import LiveRestorer
from rtdeblur.live.sinks.encoded import record_to
from rtdeblur.live.sinks.snapshot import save_snapshot, stamped
from rtdeblur.live.summary import LiveSummary, OutputSummary

_POLL_SECONDS = 0.05
_NOTICE_SECONDS = 3.0

Say = Callable[[str, str], None]
"""Logs one line for the user; the first argument is 'info' or 'warning'."""


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """Options of a session.

    Attributes:
        duration: seconds to run, counted from the first picture shown, or from the start until the source
            sends one; None runs until the source ends.
        deadline: seconds per picture for restoring; None for the source's frame interval.
        record: file to record to from the start; None for no recording.
        folder: folder of snapshots, and of recordings started during the session.
        overwrite: replace the file of `record` if it exists.
    """

    duration: float | None = None
    deadline: float | None = None
    record: Path | None = None
    folder: Path = Path()
    overwrite: bool = False


class LiveSession:
    """Restores the pictures of a source, and shows, records and sends them.

    Args:
        capture: reads the source; not yet started.
        restorer: runs the models; closed by `run`.
        displays: show the pictures; closed by `run`; may be empty.
        outputs: record or send the pictures; ended by `run`.
        say: logs one line for the user.
        settings: further options.
    """

    def __init__(
        self,
        capture: LiveCapture,
        restorer: LiveRestorer,
        displays: Sequence[Display],
        outputs: Sequence[LiveOutput],
        say: Say,
        settings: LiveSettings | None = None,
    ) -> None:
        self._settings, self._say = settings or LiveSettings(), say
        self._capture, self._restorer, self._displays = capture, restorer, displays
        self._inference = Inference(capture, restorer, self._deliver, self._warn, self._settings.deadline)
        self._outputs = tuple(outputs)
        self._recording: LiveOutput | None = None
        self._recording_path = Path()
        self._latency, self._rate, self._shown = Latency(), Rate(), 0
        self._began = self._first_at = 0.0
        self._last: LivePicture | None = None
        self._paused = False
        self._notice, self._notice_until = "", 0.0
        self._stop = threading.Event()
        self._saver = ThreadPoolExecutor(1, "rtdeblur-saver")
        self._saved: tuple[Path, ...] = ()

    def run(self) -> LiveSummary:
        """Run until the source ends, a display is closed, the time is up, or `stop` is called.

        Raises:
            RtdeblurError: the source, the model or an output cannot start, or every output has failed.
        """
        self._began = time.monotonic()
        try:
            if self._settings.record:
                self._record(self._settings.record, overwrite=self._settings.overwrite, required=True)
            self._inference.start()
            self._capture.start()
            while not self._stop.is_set() and not self._inference.slot.closed:
                self._step()
        finally:
            self._close()
        self._raise_errors()
        return self._summary()

    def stop(self) -> None:
        """End the session cleanly; may be called from any thread or a signal handler."""
        self._stop.set()

    def _step(self) -> None:
        picture = self._inference.slot.take(_POLL_SECONDS)
        shown = None if self._paused else picture
        status = self._status()
        for display in self._displays:
            for action in display.show(shown, status):
                self._obey(action)
        if shown is not None:
            self._count(shown)
        if self._is_over():
            self.stop()

    def _is_over(self) -> bool:
        if self._settings.duration is not None and self._seconds_counted() >= self._settings.duration:
            return True
        return any(o.is_stillborn for o in self._outputs) or self._is_useless()

    def _seconds_counted(self) -> float:
        """Time since the first picture was shown; since the start, if the source has not come."""
        if not self._first_at and self._capture.frames:
            return 0.0  # the model is opening
        return time.monotonic() - (self._first_at or self._began)

    def _is_useless(self) -> bool:
        """True if no display or output takes pictures any more."""
        return not self._displays and bool(self._outputs) and all(o.error for o in self._outputs)

    def _count(self, shown: LivePicture) -> None:
        now = time.monotonic()
        if not self._first_at:
            self._first_at = now
            self._say("info", f"model {self._restorer.label}; {self._restorer.description}")
            if self._settings.record:
                self._say("info", f"recording to {self._settings.record}, without sound")
        self._latency.add(now - shown.captured_at)
        self._rate.tick()
        self._shown += 1
        self._last = shown

    def _deliver(self, picture: LivePicture) -> None:
        """Queue a picture for every output; called in the inference thread."""
        interval = self._capture.interval.seconds
        for output in self._outputs:
            output.put(picture.restored, picture.captured_at, 1 / interval if interval else None)

    def _obey(self, command: Action) -> None:
        if isinstance(command, UseModel):
            self._restorer.choose(command.name)
            self._notify(f"model: {self._restorer.choice}")
        elif isinstance(command, SetStrength):
            self._restorer.set_strength(command.value)
            self._notify(f"strength: {self._restorer.strength:g}")
        elif command is Command.QUIT:
            self.stop()
        elif command is Command.PAUSE:
            self._paused = not self._paused
        elif command is Command.NEXT_MODEL:
            self._notify(f"model: {self._restorer.next_choice()}")
        elif command is Command.RECORD:
            self._toggle_recording()
        elif command is Command.SNAPSHOT and self._last is not None:
            self._saver.submit(self._save, self._last)

    def _save(self, picture: LivePicture) -> None:
        try:
            blurred, restored = save_snapshot(picture, self._settings.folder)
        except (RtdeblurError, OSError) as error:
            self._warn(str(error))
            self._notify(str(error))
        else:
            self._say("info", f"saved {blurred} and {restored}")
            self._notify(f"saved {restored.name}")
            self._saved = (*self._saved, blurred, restored)

    def _toggle_recording(self) -> None:
        if self._is_recording():
            assert self._recording is not None
            self._recording.end()
            self._saver.submit(self._offer, self._recording, self._recording_path)
            self._recording = None
        else:
            path = stamped(self._settings.folder, ".mkv")
            self._record(path)
            self._say("info", f"recording to {path}, without sound")
            self._notify(f"recording to {path.name}")

    def _record(self, path: Path, *, overwrite: bool = False, required: bool = False) -> None:
        sink = record_to(path, overwrite=overwrite)
        self._recording_path = path
        self._recording = LiveOutput(f"recording {path}", sink, self._warn, required=required)
        self._outputs = (*self._outputs, self._recording)

    def _offer(self, recording: LiveOutput, path: Path) -> None:
        """Wait until a recording is complete, and offer it to displays."""
        recording.join()
        if recording.error is None and recording.frames:
            self._notify(f"saved {path.name}")
            self._saved = (*self._saved, path)

    def _is_recording(self) -> bool:
        return self._recording is not None and self._recording.error is None

    def _warn(self, line: str) -> None:
        self._say("warning", line)

    def _notify(self, notice: str) -> None:
        """Show one line in the displays for a few seconds."""
        self._notice, self._notice_until = notice, time.monotonic() + _NOTICE_SECONDS

    def _status(self) -> LiveStatus:
        interval = self._capture.interval.seconds
        notice = self._notice if time.monotonic() < self._notice_until else ""
        failed = next((str(output.error) for output in self._outputs if output.error), "")
        return LiveStatus(
            model=self._restorer.label,
            working_size=self._restorer.working_size,
            source_fps=1 / interval if interval else 0.0,
            shown_fps=self._rate.per_second,
            latency_ms=self._latency.recent,
            dropped=self._capture.slot.dropped + self._inference.slot.dropped,
            recording=self._is_recording(),
            paused=self._paused,
            message=self._capture.message or self._inference.message or notice or failed,
            resolution=self._restorer.resolution,
            models=self._restorer.choices,
            choice=self._restorer.choice,
            strength=self._restorer.strength,
            saved=self._saved,
        )

    def _close(self) -> None:
        with ExitStack() as displays:  # all are closed, even if one fails
            for display in reversed(self._displays):
                displays.callback(display.close)
            self._inference.stop()
            self._capture.stop()
            for output in self._outputs:
                output.end()
            for output in self._outputs:
                output.join()
            self._saver.shutdown()

    def _raise_errors(self) -> None:
        broken = self._outputs if self._is_useless() else [o for o in self._outputs if o.is_stillborn]
        errors = [self._capture.error, self._inference.error, *(o.error for o in broken)]
        for error in errors:
            if error is not None:
                raise error

    def _summary(self) -> LiveSummary:
        status = self._status()
        return LiveSummary(
            seconds=time.monotonic() - self._began,
            captured=self._capture.frames,
            shown=self._shown,
            source_fps=status.source_fps,
            dropped=status.dropped,
            damaged=self._capture.damaged,
            unrestored=self._inference.unrestored,
            latency_ms=self._latency.overall,
            restore_ms=self._inference.times.overall,
            model=self._restorer.label,
            working_size=self._restorer.working_size,
            resolution=self._restorer.resolution,
            reconnects=self._capture.reconnects,
            outputs=tuple(
                OutputSummary(o.name, o.frames, o.dropped, str(o.error or "")) for o in self._outputs
            ),
        )
