#!/usr/bin/env python3
"""Take the docs' screenshots of `rtdeblur live`: the window, its help, the page on a wide screen and a phone.

    python scripts/live_images.py [FOLDER]

Shows a generated street moving past a camera with a slow shutter. Needs opencv-python (with windows),
selenium, chromium, chromedriver, Xvfb and xdotool. FOLDER defaults to docs/images.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import click
import cv2
import numpy as np
from live_screen import running
from numpy.typing import NDArray

_SIZE = (360, 640)
_STEP = 1
"""Columns that the street moves while the shutter is open, in `_EXPOSURES` steps per picture."""
_EXPOSURES = 10
_PORT = 18765
_SETTLE_SECONDS = 12


def street(width: int) -> NDArray[np.uint8]:
    """A street of houses with windows, doors and signs: (H, width, 3), BGR."""
    dice, height = np.random.default_rng(7), _SIZE[0]
    picture = np.full((height, width, 3), (205, 180, 150), np.uint8)
    picture[300:] = (92, 92, 96)
    x = 0
    while x < width:
        across, top = int(dice.integers(110, 190)), int(dice.integers(40, 130))
        wall = tuple(int(c) for c in dice.integers(70, 210, 3))
        cv2.rectangle(picture, (x, top), (x + across, 300), wall, -1)
        for left in range(x + 14, x + across - 30, 40):
            for upper in range(top + 16, 220, 48):
                cv2.rectangle(picture, (left, upper), (left + 24, upper + 30), (60, 50, 40), -1)
                cv2.rectangle(picture, (left, upper), (left + 24, upper + 30), (235, 235, 235), 2)
        word = str(dice.choice(["BAKERY", "HOTEL", "BOOKS", "CAFE", "TAILOR", "MUSIC"]))
        cv2.rectangle(picture, (x + 10, 232), (x + across - 10, 262), (30, 30, 110), -1)
        cv2.putText(
            picture, word, (x + 16, 255), cv2.FONT_HERSHEY_SIMPLEX, 0.75, (240, 240, 240), 2, cv2.LINE_AA
        )
        x += across + int(dice.integers(0, 24))
    return picture


def write_clip(path: Path, seconds: float = 90, rate: int = 30) -> None:
    """Film the street: each picture is the mean of several exposures in linear light."""
    height, width = _SIZE
    shift = _STEP * _EXPOSURES
    picture = (street(3000 + width) / 255.0) ** 2.2
    blurred = np.mean(
        [picture[:, i * _STEP : picture.shape[1] - shift + i * _STEP] for i in range(_EXPOSURES)], 0
    )
    code = np.round(255 * blurred ** (1 / 2.2)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate, {"crf": "16"}, width=width, height=height)
        stream.pix_fmt = "yuv420p"
        turns = code.shape[1] - width
        for i in range(round(seconds * rate)):
            at = i * 8 % (2 * turns)
            at = min(at, 2 * turns - at)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(code[:, at : at + width]), "bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def save(path: Path, picture: NDArray[Any] | None) -> None:
    """Write a JPEG."""
    assert picture is not None
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 82])
    click.echo(str(path))


def shoot_window(clip: Path, folder: Path) -> None:
    """The window with its divider dragged, and its help."""
    display = f":{random.randrange(200, 900)}"
    with (
        tempfile.TemporaryDirectory() as drawn,
        running(
            "Xvfb", display, "-fbdir", drawn, "-nolisten", "tcp", "-noreset", "-screen", "0", "1280x754x24"
        ),
    ):
        time.sleep(1)
        environment = os.environ | {"DISPLAY": display}

        def xdotool(*words: object) -> str:
            done = subprocess.run(
                ["xdotool", *map(str, words)], env=environment, check=True, capture_output=True, text=True
            )
            return done.stdout

        def shot() -> NDArray[np.uint8]:
            header = np.frombuffer((data := (Path(drawn) / "Xvfb_screen0").read_bytes())[:100], ">u4")
            rows, line = int(header[5]), int(header[12])
            pixels = np.frombuffer(data, np.uint8, rows * line, int(header[0] + 12 * header[19]))
            return np.array(pixels.reshape(rows, line // 4, 4)[:, :1280, :3])

        with running(sys.executable, "-m", "rtdeblur", "live", clip, DISPLAY=display):
            window = xdotool("search", "--sync", "--name", "^rtdeblur$").split()[-1]
            xdotool("windowunmap", "--sync", window, "windowmap", "--sync", window, "windowfocus", window)
            time.sleep(_SETTLE_SECONDS)
            xdotool("mousemove", 640, 300, "mousedown", 1, "mousemove", 560, 300, "sleep", 0.3, "mouseup", 1)
            xdotool("mousemove", 1279, 753, "sleep", 1)
            save(folder / "live-window.jpg", shot())
            xdotool("key", "h", "sleep", 1)
            save(folder / "live-help.jpg", cv2.resize(shot(), (960, 566), interpolation=cv2.INTER_AREA))


def shoot_page(clip: Path, folder: Path) -> None:
    """The page on a wide screen and on a phone, after a snapshot."""
    from selenium import webdriver

    def open_browser(width: int, height: int, ratio: int) -> Any:
        options = webdriver.ChromeOptions()
        for flag in ("--headless", "--no-sandbox", "--disable-gpu"):
            options.add_argument(flag)
        metrics = {"width": width, "height": height, "pixelRatio": ratio}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        return webdriver.Chrome(
            options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))
        )

    with (
        tempfile.TemporaryDirectory() as saved,
        running(
            sys.executable,
            "-m",
            "rtdeblur",
            "live",
            clip,
            "--no-window",
            "--web",
            _PORT,
            "--record-dir",
            saved,
        ),
    ):
        time.sleep(_SETTLE_SECONDS)
        for name, size in {"live-web": (1200, 760, 1), "live-phone": (390, 844, 2)}.items():
            browser = open_browser(*size)
            try:
                browser.get(f"http://127.0.0.1:{_PORT}/")
                time.sleep(3)
                browser.find_element("id", "snapshot").click()
                time.sleep(6)
                png = np.frombuffer(browser.get_screenshot_as_png(), np.uint8)
                save(folder / f"{name}.jpg", cv2.imdecode(png, cv2.IMREAD_COLOR))
            finally:
                browser.quit()


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="docs/images")
def main(folder: Path) -> None:
    """Take the screenshots."""
    with tempfile.TemporaryDirectory() as scratch:
        clip = Path(scratch) / "street.mkv"
        write_clip(clip)
        shoot_page(clip, folder)
        shoot_window(clip, folder)


if __name__ == "__main__":
    main()
