"""Deblur a camera, stream or file live, with a display of your own.

    python examples/live_statistics.py SOURCE SECONDS

SOURCE is what `rtdeblur live` takes, for example rtsp://camera/stream. The display prints a line per second.
"""

import sys
import time

from rtdeblur import (
    AUTO,
    Command,
    LiveCapture,
    LivePicture,
    LiveRestorer,
    LiveSession,
    LiveSettings,
    LiveStatus,
    Model,
    bundled_candidates,
    open_backend,
    open_source,
)


class Lines:
    """A `Display`: it gets each picture with the session's status, and returns its user's commands."""

    def __init__(self) -> None:
        self._next = 0.0

    def show(self, picture: LivePicture | None, status: LiveStatus) -> list[Command]:
        if picture and time.monotonic() >= self._next:
            self._next = time.monotonic() + 1
            height, width = status.working_size
            print(
                f"{status.model} at {width}x{height}: {status.shown_fps:.1f} of {status.source_fps:.1f} fps"
            )
        return []

    def close(self) -> None:
        pass


def main(source: str, seconds: float) -> None:
    session = LiveSession(
        LiveCapture(lambda: open_source(source), print),
        LiveRestorer(
            [AUTO], bundled_candidates(), lambda name: open_backend("auto", Model.load(name), mode="latency")
        ),
        displays=[Lines()],
        outputs=[],
        say=lambda kind, line: print(f"{kind}: {line}"),
        settings=LiveSettings(duration=seconds),
    )
    print(session.run())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/live_statistics.py SOURCE SECONDS")
    main(sys.argv[1], float(sys.argv[2]))
