"""An X server without a screen, and a user in front of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class Screen:
    """What an Xvfb shows, read from the file that it draws on (XWD), and its keyboard and mouse.

    Args:
        display: name of the server.
        path: the file.
    """

    def __init__(self, display: str, path: Path) -> None:
        self.display, self._path = display, path
        self._environment = os.environ | {"DISPLAY": display}

    def xdotool(self, *words: object) -> str:
        """Send input as a user would."""
        done = subprocess.run(
            ["xdotool", *map(str, words)], env=self._environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    def window(self, name: str = "^rtdeblur$") -> str:
        """The window with a title, once it is there, in front and with the keyboard."""
        window = self.xdotool("search", "--sync", "--name", name).split()[-1]
        # Without a window manager, Qt at times takes a new window for hidden and never draws it.
        self.xdotool("windowunmap", "--sync", window, "windowmap", "--sync", window, "windowfocus", window)
        return window

    def shot(self, window: str) -> NDArray[np.uint8]:
        """The part of the screen that a window covers: (H, W, 3), BGR."""
        where = dict(line.split("=") for line in self.xdotool("getwindowgeometry", "--shell", window).split())
        dump = self._path.read_bytes()
        header = np.frombuffer(dump[:100], ">u4")
        size, width, height, line, colours = (int(header[i]) for i in (0, 4, 5, 12, 19))
        rows = np.frombuffer(dump[size + 12 * colours :], np.uint8).reshape(height, line)
        pixels = rows[:, : 4 * width].reshape(height, width, 4)
        x, y = int(where["X"]), int(where["Y"])
        return pixels[y : y + int(where["HEIGHT"]), x : x + int(where["WIDTH"]), :3]


@contextlib.contextmanager
def xvfb(folder: Path) -> Iterator[Screen]:
    """Run an Xvfb that draws on a file in a folder."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-fbdir", str(folder), "-nolisten", "tcp", "-noreset"]
    command += ["-screen", "0", "1400x900x24"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        try:
            with os.fdopen(read) as lines:
                number = lines.readline().strip()
            yield Screen(f":{number}", folder / "Xvfb_screen0")
        finally:
            server.terminate()
