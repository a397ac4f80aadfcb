"""Window of a live session (a `Display`), drawn by OpenCV; needs the extra `live`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rtdeblur.errors import DependencyError, OutputError
from rtdeblur.live.displays import Action, Command, LivePicture, LiveStatus, SetStrength

try:  # before anything that loads PyAV, see `_display`
    import cv2
except ImportError as error:
    raise DependencyError("opencv-python", "live", "the window") from error

from rtdeblur.live.displays.overlay import (
    Box,
    Canvas,
    View,
    blank,
    draw_divider,
    draw_help,
    draw_label,
    draw_message,
    draw_models,
    draw_recording,
    draw_status,
    fit,
    rows_around,
    strip,
    strip_height,
)
from rtdeblur.live.image import to_bgr

TITLE = "rtdeblur"
_FIRST_SIZE = (720, 1280)
# Larger windows are drawn at this size and enlarged by the window system, since drawing 4K takes too long.
_LARGEST = (1080, 1920)
_SMALLEST = (180, 320)
_KEY_STEP = 0.02
_STRENGTH_STEP = 0.1
_STRONGEST = 2.0
_MODELS_SECONDS = 3.0
_KEYS_PER_CALL = 8
_ESCAPE = 27
_PROBE = "import cv2, sys; cv2.namedWindow('rtdeblur'); print('ok', flush=True); sys.stdin.read()"
_COMMANDS = {
    ord("q"): Command.QUIT,
    _ESCAPE: Command.QUIT,
    ord(" "): Command.PAUSE,
    ord("p"): Command.SNAPSHOT,
    ord("r"): Command.RECORD,
    ord("m"): Command.NEXT_MODEL,
}


class Window:
    """Shows the restored picture on its own, next to the blurred one, or split by a movable divider.

    Args:
        title: title of the window.

    Raises:
        DependencyError: OpenCV is missing.
        OutputError: this OpenCV has no windows, or there is no screen to open one on.
    """

    def __init__(self, title: str = TITLE) -> None:
        self._title = title
        self._open = self._sized = False
        self._view, self._split = View.SPLIT, 0.5
        self._full_screen = self._help = self._dragging = False
        self._overlay = True
        self._models_until = 0.0
        self._box: Box | None = None  # the split picture, which can be dragged
        self._picture: LivePicture | None = None
        self._pixels: tuple[object, Canvas, Canvas | None] | None = None
        self._drawn: object = None
        with _display():
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        self._open = True
        cv2.setMouseCallback(title, self._on_mouse)
        self._resize((9, 16))

    def show(self, picture: LivePicture | None, status: LiveStatus) -> list[Action]:
        """Draw the picture and return the requests of keys (see `Display.show`)."""
        if not self._is_visible():
            return [Command.QUIT]
        if picture is not None:
            self._picture = picture
            if not self._sized:
                self._resize(_shape(picture))
                self._sized = True
        self._draw(status)
        return self._keys(status.strength)

    def close(self) -> None:
        """Destroy the window; may be called twice."""
        if self._is_visible():
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)  # the window disappears when events are handled
        self._open = False

    def _is_visible(self) -> bool:
        try:
            return self._open and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt ends with its last window
            return False

    def _resize(self, shape: tuple[int, int]) -> None:
        box = fit(shape, Box(0, 0, _FIRST_SIZE[1], _FIRST_SIZE[0]))
        cv2.resizeWindow(self._title, box.width, rows_around(box.height) if self._overlay else box.height)

    def _draw(self, status: LiveStatus) -> None:
        height, width = self._canvas_size()
        state = (
            id(self._picture), status, height, width, self._view, self._split,
            self._overlay, self._help, self._lists_models(),
        )  # fmt: skip
        if state == self._drawn:
            return
        self._drawn = state
        canvas = blank(height, width)
        self._box = None
        if self._picture is not None:
            self._draw_pictures(canvas, self._picture)
        if self._overlay:
            draw_status(canvas, status)
        divider = None if self._box is None else self._box.x + round(self._box.width * self._split)
        if status.recording:
            draw_recording(canvas, divider)
        waiting = "" if self._picture else "Waiting for a picture"
        message = status.message or ("Paused - Space to resume" if status.paused else waiting)
        if message and not self._help:
            draw_message(canvas, message, divider)
        if status.models and self._lists_models() and not self._help:
            draw_models(canvas, status.models, status.choice, divider)
        if self._help:
            draw_help(canvas)
        cv2.imshow(self._title, canvas)

    def _draw_pictures(self, canvas: Canvas, picture: LivePicture) -> None:
        height, width = canvas.shape[:2]
        if self._overlay:
            height -= strip(canvas).height
        if self._view is View.SIDE_BY_SIDE:
            half = width // 2
            left, right = (fit(_shape(picture), Box(x, 0, half - 1, height)) for x in (0, half + 1))
            restored, blurred = self._scaled(picture, right)
            assert blurred is not None
            left.of(canvas)[:], right.of(canvas)[:] = blurred, restored
            draw_label(canvas, left, "blurred")
            draw_label(canvas, right, "restored", right=True)
            return
        box = fit(_shape(picture), Box(0, 0, width, height))
        restored, blurred = self._scaled(picture, box)
        box.of(canvas)[:] = restored
        if blurred is None:
            return
        at = round(box.width * self._split)
        box.of(canvas)[:, :at] = blurred[:, :at]
        if not self._help:
            draw_divider(canvas, box, self._split)
        draw_label(canvas, Box(box.x, box.y, at, box.height), "blurred")
        draw_label(canvas, Box(box.x + at, box.y, box.width - at, box.height), "restored", right=True)
        self._box = box

    def _scaled(self, picture: LivePicture, box: Box) -> tuple[Canvas, Canvas | None]:
        """The restored picture and, if it is visible, the blurred one, in the size of a box."""
        both = self._view is not View.RESTORED
        key = (id(picture), box.height, box.width, both)
        if self._pixels is None or self._pixels[0] != key:
            size = box.height, box.width
            blurred = to_bgr(picture.blurred, size) if both else None
            self._pixels = key, to_bgr(picture.restored, size), blurred
        return self._pixels[1], self._pixels[2]

    def _canvas_size(self) -> tuple[int, int]:
        _, _, width, height = cv2.getWindowImageRect(self._title)
        if width <= 0 or height <= 0:  # not shown yet
            height, width = _FIRST_SIZE
        scale = min(1.0, _LARGEST[0] / height, _LARGEST[1] / width)
        return max(_SMALLEST[0], round(height * scale)), max(_SMALLEST[1], round(width * scale))

    def _lists_models(self) -> bool:
        return time.monotonic() < self._models_until

    def _keys(self, strength: float) -> list[Action]:
        actions: list[Action] = []
        for _ in range(_KEYS_PER_CALL):
            key = cv2.waitKey(1)
            if key < 0:
                break
            key &= 0xFF
            if key == ord("m"):
                self._models_until = time.monotonic() + _MODELS_SECONDS
            if key in _COMMANDS:
                actions.append(_COMMANDS[key])
            elif chr(key) in "-+=":
                step = -_STRENGTH_STEP if chr(key) == "-" else _STRENGTH_STEP
                strength = min(_STRONGEST, max(0.0, round(strength + step, 1)))
                actions.append(SetStrength(strength))
            else:
                self._own_key(chr(key))
        return actions

    def _own_key(self, key: str) -> None:
        """Handle a key that only concerns the window."""
        if key == "s":
            self._view = View.RESTORED if self._view is View.SPLIT else View.SPLIT
        elif key == "b":
            self._view = View.SPLIT if self._view is View.SIDE_BY_SIDE else View.SIDE_BY_SIDE
        elif key == "f":
            self._full_screen = not self._full_screen
            state = cv2.WINDOW_FULLSCREEN if self._full_screen else cv2.WINDOW_NORMAL
            cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, state)
        elif key == "i":
            self._toggle_overlay()
        elif key == "h":
            self._help = not self._help
        elif key in "[]":
            self._split = min(1.0, max(0.0, self._split + (_KEY_STEP if key == "]" else -_KEY_STEP)))

    def _toggle_overlay(self) -> None:
        """Show or hide the status line; the window grows or shrinks, so that the picture keeps its size."""
        _, _, width, height = cv2.getWindowImageRect(self._title)
        self._overlay = not self._overlay
        if not self._full_screen and width > 0 < height:
            rows = rows_around(height) if self._overlay else height - strip_height(height)
            cv2.resizeWindow(self._title, width, rows)

    def _on_mouse(self, event: int, x: int, y: int, flags: int, data: Any) -> None:
        if event == cv2.EVENT_LBUTTONDOWN:
            self._dragging = True
        elif event == cv2.EVENT_LBUTTONUP:
            self._dragging = False
        if self._dragging and self._box is not None:
            self._split = float(np.clip((x - self._box.x) / self._box.width, 0.0, 1.0))


def _shape(picture: LivePicture) -> tuple[int, int]:
    rows, columns = picture.restored.planes[0].shape
    return rows, columns


@contextmanager
def _display() -> Iterator[None]:
    """Check that a window can be opened; without a screen, Qt would abort the process.

    Another process opens one first and keeps it meanwhile, since an X server may reset when its last client
    goes.
    """
    if not cv2.currentUIFramework():
        raise OutputError(
            "this OpenCV has no windows (opencv-python-headless); try --web 8765, or: pip uninstall -y "
            "opencv-python-headless && pip install --force-reinstall opencv-python"
        )
    if not sys.platform.startswith("linux"):
        yield
        return
    loaded = list(sys.modules)  # in the order of loading
    if loaded.index("av") < loaded.index("cv2"):
        # Both bring a libxcb; Qt's first window hangs on PyAV's (github.com/PyAV-Org/PyAV/issues/1050).
        raise OutputError("OpenCV must be loaded before PyAV: import rtdeblur.live.displays.window first")
    name = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not name:
        raise OutputError("there is no screen to open a window on (DISPLAY is not set); try --web 8765")
    quiet = subprocess.DEVNULL
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")  # about missing fonts
    command = [sys.executable, "-c", _PROBE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet) as probe:
        assert probe.stdout is not None
        if not probe.stdout.readline():
            raise OutputError(f"cannot open a window on display {name!r}; try --web 8765")
        yield
