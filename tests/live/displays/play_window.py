"""Run by test_window.py in a process of its own: drives a window as a user does, and looks at the screen."""

# ruff: noqa: T201

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rtdeblur.live.displays.window import Window  # isort: skip - OpenCV before PyAV

import cv2
import numpy as np
from fake_live import flat
from numpy.typing import NDArray
from xvfb import Screen

from rtdeblur.live.displays import Command, LivePicture, LiveStatus

DARK, LIGHT = 60, 180
NAMES = {"space": Command.PAUSE, "p": Command.SNAPSHOT, "r": Command.RECORD, "m": Command.NEXT_MODEL}
NAMES |= {"q": Command.QUIT, "Escape": Command.QUIT}


def picture(height: int = 360, width: int = 640) -> LivePicture:
    """Dark where blurred, light where restored."""
    return LivePicture(flat(DARK, (height, width)), flat(LIGHT, (height, width)), time.monotonic())


def status(**changes: Any) -> LiveStatus:
    known = {"recording": False, "paused": False, "message": "", "latency_ms": (40.0, 50.0), **changes}
    return LiveStatus("fast", (360, 640), source_fps=30.0, shown_fps=30.0, dropped=0, **known)


SCREEN = Screen(os.environ["DISPLAY"], Path(sys.argv[1]))
xdotool = SCREEN.xdotool


def screen() -> NDArray[np.uint8]:
    """What the screen shows of the window, gray."""
    name = xdotool("search", "--name", "^rtdeblur$").split()[-1]
    return cv2.cvtColor(np.ascontiguousarray(SCREEN.shot(name)), cv2.COLOR_BGR2GRAY)


def until(
    window: Window, holds: Callable[[NDArray[np.uint8]], Any], shown: LivePicture, **state: Any
) -> None:
    """Show a picture until the screen has what it should; slow machines take their time."""
    deadline = time.monotonic() + 30
    while True:
        for _ in range(3):
            assert window.show(shown, status(**state)) == []
        seen = screen()
        if holds(seen):
            return
        assert time.monotonic() < deadline, f"the screen shows {seen[seen.shape[0] // 4, ::80]}"


def border(seen: NDArray[np.uint8]) -> float:
    """Where dark becomes light along a line free of text, as a part of the width."""
    return float((seen[seen.shape[0] // 3] < 120).mean())


def received(window: Window, key: str) -> Command:
    xdotool("key", key)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        commands = window.show(None, status())
        if commands:
            assert len(commands) == 1
            return commands[0]
    raise AssertionError(f"{key} gave nothing")


def play() -> None:
    window = Window()
    for _ in range(3):
        window.show(None, status())
    name = SCREEN.window()
    print("waits")
    shown = picture()
    until(window, lambda s: abs(border(s) - 0.5) < 0.02, shown)
    print("split")
    xdotool("mousemove", "--window", name, 640, 300, "mousedown", 1)
    window.show(None, status())
    xdotool("mousemove", "--window", name, 320, 320)
    until(window, lambda s: abs(border(s) - 0.25) < 0.02, shown)
    xdotool("mouseup", 1)
    for _ in range(3):
        window.show(None, status())
    xdotool("mousemove", "--window", name, 900, 320)
    until(window, lambda s: abs(border(s) - 0.25) < 0.02, shown)
    print("dragged")
    xdotool("key", "s")
    until(window, lambda s: border(s) == 0, shown)
    print("whole")
    xdotool("key", "b")
    until(window, lambda s: abs(border(s) - 0.5) < 0.02 and s[10].max() < 60, shown)
    print("beside")
    xdotool("key", "b")
    until(window, lambda s: abs(border(s) - 0.25) < 0.02, shown)
    plain = screen()[:60, 560:720].astype(int)
    until(window, lambda s: np.abs(s[:60, 560:720] - plain).max() > 50, shown, recording=True)
    print("recording")
    xdotool("key", "h")
    until(window, lambda s: s[30, 600] < LIGHT // 2, shown)
    xdotool("key", "h")
    until(window, lambda s: s[30, 600] > LIGHT - 10, shown)
    print("helped")
    xdotool("key", "i")
    until(window, lambda s: s[-5, 10] == DARK, shown)
    xdotool("key", "s")
    until(window, lambda s: 0.2 < (s[-5] > 150).mean() < 0.4, picture(640, 360))
    print("portrait")
    for key, command in NAMES.items():
        assert received(window, key) is command
    print("commands")
    cv2.destroyWindow("rtdeblur")  # as the window's own button does
    assert Command.QUIT in window.show(None, status())
    window.close()
    window.close()
    print("closed")


if __name__ == "__main__":
    play()
