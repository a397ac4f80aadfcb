#!/usr/bin/env python3
"""Measure the glass-to-glass latency of `rtdeblur live` with a clock drawn into the pictures of a stream.

    python scripts/live_clock.py send udp://127.0.0.1:5700 [--size 640x360] [--rate 30] [--seconds 60]
    python scripts/live_clock.py watch udp://127.0.0.1:5700 [--seconds 20] [--model auto]
    python scripts/live_clock.py read SCREENSHOT.png [--crop X,Y,WIDTH,HEIGHT]

The clock is `time.monotonic()` in milliseconds, which all programs on a machine share (on Linux it counts
from boot), as 24 bits along the top edge: a row of black and white blocks, and below it the same row
inverted. A bit is one if the upper block is lighter than the lower, so that brightness, compression and the
model's changes do not matter; if two blocks hardly differ, the clock is unreadable.

`watch` runs a session with a display that reads the clock in each restored picture: the latency from
drawing a picture to handing it over restored. The latency that a window adds is read from screenshots: the
clock in the picture against the clock when the screenshot was taken.
"""

from __future__ import annotations

import itertools
import statistics
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
from numpy.typing import NDArray

from rtdeblur.backends import open_backend
from rtdeblur.backends.base import Backend
from rtdeblur.frames import Colour, Frame
from rtdeblur.live.capture import LiveCapture
from rtdeblur.live.displays import Command, LivePicture, LiveStatus
from rtdeblur.live.ladder import Candidate
from rtdeblur.live.restorer import AUTO, LiveRestorer
from rtdeblur.live.session import LiveSession, LiveSettings
from rtdeblur.live.sinks.encoded import send_to
from rtdeblur.live.sources import open_source
from rtdeblur.model import DEFAULT_MODEL, Model

BITS = 24
_ROWS = 16
"""Height of a row of blocks: the picture's height divided by this."""
_CONTRAST = 40
"""Least difference between the two blocks of a bit, in code values."""


def milliseconds() -> int:
    """The clock: milliseconds of `time.monotonic()`, reduced to the `BITS` bits that are drawn."""
    return round(time.monotonic() * 1000) % (1 << BITS)


def draw_clock(luma: NDArray[np.uint8], value: int) -> None:
    """Draw a clock on (H, W) luma, in place."""
    height, width = luma.shape
    row = height // _ROWS
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        left, right = edges[bit], edges[bit + 1]
        lit = value >> (BITS - 1 - bit) & 1
        luma[:row, left:right] = 235 if lit else 16
        luma[row : 2 * row, left:right] = 16 if lit else 235


def read_clock(grey: NDArray[Any]) -> int | None:
    """Read the clock of (H, W) brightness of any size; None if it is unreadable."""
    height, width = grey.shape
    row = height / _ROWS
    edges = np.linspace(0, width, BITS + 1)
    value = 0
    for left, right in itertools.pairwise(edges):
        inner = slice(round(left + (right - left) / 4), max(round(right - (right - left) / 4), 1))
        upper = float(grey[round(row / 4) : round(row * 3 / 4), inner].mean())
        lower = float(grey[round(row * 5 / 4) : round(row * 7 / 4), inner].mean())
        if abs(upper - lower) < _CONTRAST:
            return None
        value = value << 1 | (upper > lower)
    return value


def age(value: int, now: int) -> int:
    """Milliseconds between two readings of the clock."""
    return (now - value) % (1 << BITS)


def scene(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """A moving picture: a scrolling pattern of bars and rings."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x += 4 * index
    rings = np.sin(np.hypot(x % 320 - 160, y - height / 2) / 6)
    grey: NDArray[np.float32] = 126 + 60 * rings + 40 * np.sign(np.sin(x / 20))
    return grey.clip(16, 235).astype(np.uint8)


@click.group(help=__doc__)
def main() -> None:
    """Send, watch or read."""


@main.command()
@click.argument("url")
@click.option("--size", default="640x360", show_default=True)
@click.option("--rate", default=30, show_default=True)
@click.option("--seconds", default=60.0, show_default=True)
def send(url: str, size: str, rate: int, seconds: float) -> None:
    """Send the clock."""
    width, height = (int(side) for side in size.split("x"))
    scenes = [scene(i, height, width) for i in range(80)]  # frames until the pattern repeats
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    began = time.monotonic()
    sink = None
    for i in range(round(seconds * rate)):
        time.sleep(max(0.0, began + i / rate - time.monotonic()))
        luma = scenes[i % len(scenes)].copy()
        draw_clock(luma, milliseconds())
        frame = Frame((luma, chroma, chroma), i, Fraction(1, rate), Colour())
        sink = sink or send_to(url)(frame, rate)
        sink.write(frame, i / rate)
    if sink:
        sink.close()


class Watch:
    """A display that reads the clock in each picture."""

    def __init__(self) -> None:
        self.ages: list[int] = []
        self.unreadable = 0

    def show(self, picture: LivePicture | None, status: LiveStatus) -> list[Command]:
        """Read the clock."""
        if picture is not None:
            value = read_clock(picture.restored.planes[0])
            if value is None:
                self.unreadable += 1
            else:
                self.ages.append(age(value, milliseconds()))
        return []

    def close(self) -> None:
        """Nothing to release."""


@main.command()
@click.argument("url")
@click.option("--seconds", default=20.0, show_default=True)
@click.option("--model", "name", default=AUTO, show_default=True)
@click.option(
    "--rate", default=30, show_default=True, help="Frame rate of the sender, for latency in frame intervals."
)
def watch(url: str, seconds: float, name: str, rate: int) -> None:
    """Run a session and print its latency."""

    def open_model(name: str) -> Backend:
        return open_backend("auto", Model.load(name), mode="latency")

    display = Watch()
    session = LiveSession(
        LiveCapture(lambda: open_source(url), click.echo, patient=True),
        LiveRestorer([name, AUTO], [Candidate(DEFAULT_MODEL, 1.0, 0.0)], open_model),
        [display],
        [],
        lambda kind, line: click.echo(line),
        LiveSettings(duration=seconds),
    )
    summary = session.run()
    for line in summary.lines():
        click.echo(line)
    settled = sorted(display.ages[len(display.ages) // 4 :])  # once the ladder has settled
    if not settled or summary.restore_ms is None:
        raise click.ClickException(f"no clock could be read in {summary.shown} pictures")
    median, p95 = statistics.median(settled), settled[int(0.95 * (len(settled) - 1))]
    beyond = (median - summary.restore_ms[0]) * rate / 1000
    click.echo(
        f"drawn to restored: median {median:.0f} ms, 95th percentile {p95} ms, {len(settled)} pictures, "
        f"{display.unreadable} unreadable; {beyond:.1f} frame intervals beyond the model's time"
    )


@main.command()
@click.argument("picture", type=click.Path(exists=True, path_type=Path))
@click.option("--crop", help="X,Y,WIDTH,HEIGHT of the video in the screenshot.")
def read(picture: Path, crop: str | None) -> None:
    """Read the clock in a screenshot."""
    with av.open(str(picture)) as container:
        grey = next(container.decode(video=0)).to_ndarray(format="gray")
    if crop:
        x, y, width, height = (int(part) for part in crop.split(","))
        grey = grey[y : y + height, x : x + width]
    value = read_clock(grey)
    click.echo("not readable" if value is None else value)


if __name__ == "__main__":
    main()
