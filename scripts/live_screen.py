#!/usr/bin/env python3
"""Measure the glass-to-glass latency of `rtdeblur live`: the clock in the window against the time of reading.

    python scripts/live_screen.py [--seconds 40] [--shots 150] [--model auto] [--rate 30] [--size 640x360]

Sends the clock of `live_clock.py` over loopback (UDP), shows it under Xvfb and reads Xvfb's screen. Needs
Xvfb and xdotool. Prints two ages: of the picture on the screen at any moment (as in a screenshot; half a
frame interval more on average), and of each picture when it appears.
"""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import click
import numpy as np
from live_clock import age, milliseconds, read_clock
from numpy.typing import NDArray

_SCRIPT = Path(__file__).with_name("live_clock.py")
_SETTLE_SECONDS = 15


@contextmanager
def running(*command: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A program that is terminated when the block ends."""
    words = [str(word) for word in command]
    with subprocess.Popen(words, env=os.environ | environment, stdout=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.terminate()


class Screen:
    """The screen of an Xvfb server, memory-mapped from its file (XWD, 32 bits per pixel).

    Args:
        path: the file.
        display: the name of the server.
    """

    def __init__(self, path: Path, display: str) -> None:
        self._pixels = np.memmap(path, np.uint8, "r")
        header = self._pixels[:100].view(">u4")
        self._start = int(header[0] + 12 * header[19])
        self._shape = int(header[5]), int(header[12]) // 4, 4
        self._environment = os.environ | {"DISPLAY": display}

    def press(self, key: str) -> None:
        """Press a key in the window."""
        window = self._xdotool("search", "--name", "^rtdeblur$").split()[-1]
        self._xdotool("windowfocus", window, "key", key)

    def shot(self) -> NDArray[np.uint8]:
        """A live view of the window's picture: (720, 1280, 3), BGR."""
        rows, columns, _ = self._shape
        pixels = self._pixels[self._start : self._start + rows * columns * 4].reshape(self._shape)
        return pixels[:720, :1280, :3]

    def _xdotool(self, *words: str) -> str:
        done = subprocess.run(["xdotool", *words], env=self._environment, capture_output=True, text=True)
        return done.stdout


def clock_of(shot: NDArray[np.uint8]) -> int | None:
    """The clock in a screenshot; None if unreadable."""
    return read_clock(shot[..., 1])


def told(name: str, ages: list[int]) -> str:
    """Median and 95th percentile of some ages."""
    ordered = sorted(ages)
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    return (
        f"{name}: median {statistics.median(ordered):.0f} ms, 95th percentile {p95} ms, {len(ordered)} read"
    )


@click.command(help=__doc__)
@click.option("--seconds", default=40.0, show_default=True)
@click.option("--shots", default=150, show_default=True)
@click.option("--model", default="auto", show_default=True)
@click.option("--rate", default=30, show_default=True)
@click.option("--size", default="640x360", show_default=True)
@click.option("--save", type=click.Path(path_type=Path), help="Save the last screenshot as PNG.")
def main(seconds: float, shots: int, model: str, rate: int, size: str, save: Path | None) -> None:
    """Measure."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{free.getsockname()[1]}"
    display = f":{random.randrange(200, 900)}"
    with tempfile.TemporaryDirectory() as folder, running(
        "Xvfb", display, "-fbdir", folder, "-nolisten", "tcp", "-screen", "0", "1280x720x24"
    ), running(
        sys.executable, _SCRIPT, "send", url, "--seconds", seconds + 120, "--rate", rate, "--size", size
    ), running(
        sys.executable, "-m", "rtdeblur", "live", url, "--wait", "--json", "--model", model,
        "--duration", seconds + _SETTLE_SECONDS + 5, DISPLAY=display,
    ) as live:  # fmt: skip
        path = Path(folder) / "Xvfb_screen0"
        while not path.exists():
            time.sleep(0.1)
        screen = Screen(path, display)
        while clock_of(screen.shot()) is None:  # unreadable behind labels
            if live.poll() is not None:
                raise click.ClickException("rtdeblur live ended")
            time.sleep(1)
            if screen.shot().max() > 150:
                screen.press("s")
                time.sleep(1)
        time.sleep(_SETTLE_SECONDS)
        at_any_time, appeared = _watch(screen, seconds, shots)
        last = np.array(screen.shot())
        text, _ = live.communicate()
    summary = json.loads(text)
    restore = summary["restore_ms"]
    click.echo(told("on the screen at any time", at_any_time))
    click.echo(told("when a picture appears", appeared))
    beyond = (statistics.median(appeared) - restore[0]) * rate / 1000
    click.echo(
        f"model {summary['model']} at {summary['working_size']}: median {restore[0]:.0f} ms, 95th percentile "
        f"{restore[1]:.0f} ms; shown {summary['fps']:.1f} per second, dropped {summary['dropped']}; the "
        f"screen is {beyond:.1f} frame intervals behind it"
    )
    click.echo(f"the session's own capture to display: {summary['latency_ms']}")
    if save:
        with av.open(str(save), "w", format="image2", options={"update": "1"}) as container:
            stream = container.add_stream("png", width=1280, height=720, pix_fmt="rgb24")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(last, format="bgr24")))
            container.mux(stream.encode(None))


def _watch(screen: Screen, seconds: float, shots: int) -> tuple[list[int], list[int]]:
    """Ages of the picture on the screen: at random moments, and of each picture when it appears."""
    at_any_time: list[int] = []
    appeared: list[int] = []
    previous: int | None = None
    end = time.monotonic() + seconds
    chosen = sorted(random.uniform(0, seconds) for _ in range(shots))
    while (left := end - time.monotonic()) > 0:
        value, now = clock_of(screen.shot()), milliseconds()
        if value is not None:
            if previous is not None and value != previous:
                appeared.append(age(value, now))
            previous = value
            if chosen and seconds - left >= chosen[0]:
                at_any_time.append(age(value, now))
                del chosen[0]
        time.sleep(0.003)
    return at_any_time, appeared


if __name__ == "__main__":
    main()
