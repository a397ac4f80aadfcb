"""Drawing for the window: pictures, divider, and text on a dark background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rtdeblur.live.displays import LiveStatus

Canvas = NDArray[np.uint8]
"""(H, W, 3) uint8, blue, green, red."""

_BACKGROUND = 24
_CLEARANCE = 12
"""Columns between the divider and text."""
_WHITE, _SOFT, _RED = (245, 245, 245), (190, 190, 190), (60, 60, 235)
_FONT: Any = cv2.FONT_HERSHEY_SIMPLEX
HELP = (
    ("drag, [ and ]", "move the divider"),
    ("s", "split view on or off"),
    ("b", "side by side on or off"),
    ("space", "pause or resume"),
    ("p", "snapshot (two PNG files)"),
    ("r", "start or stop recording"),
    ("m", "next model, and the list"),
    ("- and +", "weaker or stronger"),
    ("f", "full screen on or off"),
    ("i", "status line on or off"),
    ("h", "this help on or off"),
    ("q, Esc", "quit"),
)


class View(Enum):
    """Arrangement of the two pictures in the window."""

    RESTORED = "restored"
    SPLIT = "split"
    SIDE_BY_SIDE = "side by side"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the canvas, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def of(self, canvas: Canvas) -> Canvas:
        """View of that part of the canvas."""
        return canvas[self.y : self.y + self.height, self.x : self.x + self.width]


def strip(canvas: Canvas) -> Box:
    """Room for the status line, below the picture, so that text and divider never meet."""
    height = strip_height(canvas.shape[0])
    return Box(0, canvas.shape[0] - height, canvas.shape[1], height)


def strip_height(rows: int) -> int:
    """Height of the status line on a canvas of so many rows."""
    return round(_size("Hg", _text_scale(rows))[1] * 2.4)


def rows_around(picture_rows: int) -> int:
    """Rows of the canvas that leaves a picture its full height above the status line."""
    rows = picture_rows
    while rows - strip_height(rows) < picture_rows:
        rows += 1
    return rows


def beside(box: Box, width: int, divider: int | None) -> tuple[int, int]:
    """Place for something in the middle of a box, but not across the divider.

    Args:
        box: the room.
        width: width of what is to be placed.
        divider: column of the divider; None if there is none.

    Returns:
        The middle, and the width of the room: the whole box, or the wider side of the divider.
    """
    middle = box.x + box.width // 2
    if divider is None or abs(divider - middle) > width // 2 + _CLEARANCE:
        return middle, box.width
    left, right = divider - box.x, box.x + box.width - divider
    if right >= left:
        return divider + right // 2, right - 2 * _CLEARANCE
    return box.x + left // 2, left - 2 * _CLEARANCE


def blank(height: int, width: int) -> Canvas:
    """Make an empty, dark canvas."""
    return np.full((height, width, 3), _BACKGROUND, np.uint8)


def fit(picture: tuple[int, int], room: Box) -> Box:
    """Largest box with the shape of a picture, (height, width), centred in a room."""
    height, width = picture
    scale = min(room.width / width, room.height / height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    return Box(room.x + (room.width - across) // 2, room.y + (room.height - down) // 2, across, down)


def draw_divider(canvas: Canvas, box: Box, position: float) -> None:
    """Draw a thin line with a grip.

    Args:
        canvas: canvas to draw on.
        box: the picture.
        position: fraction of its width, 0 to 1.
    """
    x, y = box.x + round((box.width - 1) * position), box.y + box.height // 2
    unit = max(1, round(text_scale(canvas) * 2))
    cv2.line(canvas, (x, box.y), (x, box.y + box.height - 1), (30, 30, 30), 3 * unit)
    cv2.line(canvas, (x, box.y), (x, box.y + box.height - 1), _WHITE, unit)
    cv2.circle(canvas, (x, y), 9 * unit, (30, 30, 30), -1, cv2.LINE_AA)
    cv2.circle(canvas, (x, y), 8 * unit, _WHITE, -1, cv2.LINE_AA)
    for side in (-1, 1):
        arrow = [
            (x + side * 6 * unit, y),
            (x + side * 2 * unit, y - 3 * unit),
            (x + side * 2 * unit, y + 3 * unit),
        ]
        cv2.fillConvexPoly(canvas, np.array(arrow), (60, 60, 60), cv2.LINE_AA)


def draw_label(canvas: Canvas, box: Box, text: str, *, right: bool = False) -> None:
    """Draw a name in an upper corner of a box, if there is room."""
    scale = text_scale(canvas)
    width, height = _size(text, scale)
    pad, margin = round(height * 0.7), round(height * 0.9)
    total = width + 2 * pad
    if total + 2 * margin > box.width:
        return
    x = box.x + (box.width - total - margin if right else margin)
    back = Box(x, box.y + margin, total, height + 2 * pad)
    _darken(canvas, back)
    _write(canvas, text, (x + pad, back.y + pad + height), scale, _WHITE)


def draw_status(canvas: Canvas, status: LiveStatus) -> None:
    """Draw the status line in its strip."""
    line, room = status_line(status), canvas.shape[1] * 0.96
    scale = _fitting(line, text_scale(canvas), room)
    width, height = _size(line, scale)
    bar = strip(canvas)
    bar.of(canvas)[:] = _BACKGROUND
    at = round(canvas.shape[1] * 0.02), bar.y + (bar.height + height) // 2
    _write(canvas, line, at, scale, _SOFT)
    hint = "h: help"
    if width + _size(hint, scale)[0] + 4 * height < room:
        _write(canvas, hint, (canvas.shape[1] - at[0] - _size(hint, scale)[0], at[1]), scale, _SOFT)


def draw_message(canvas: Canvas, text: str, divider: int | None = None) -> None:
    """Draw one line in the lower middle of the picture, on one side of the divider."""
    scale = _fitting(text, text_scale(canvas) * 1.1, canvas.shape[1] * 0.9)
    width, height = _size(text, scale)
    middle, room = beside(_whole(canvas), width + 2 * height, divider)
    scale = _fitting(text, scale, min(canvas.shape[1] * 0.9, room - 2 * height))
    width, height = _size(text, scale)
    pad = height
    x, y = middle - width // 2, round(canvas.shape[0] * 0.8) - height
    _darken(canvas, Box(x - pad, y - pad, width + 2 * pad, height + 2 * pad))
    _write(canvas, text, (x, y + height), scale, _WHITE)


def draw_recording(canvas: Canvas, divider: int | None = None) -> None:
    """Draw a red dot and REC in the upper middle, on one side of the divider."""
    scale = text_scale(canvas)
    width, height = _size("REC", scale)
    pad = round(height * 0.7)
    total = width + 2 * height + 2 * pad
    centre, _ = beside(_whole(canvas), total, divider)
    back = Box(centre - total // 2, round(height * 0.9), total, height + 2 * pad)
    _darken(canvas, back)
    middle = back.y + pad + height // 2
    cv2.circle(canvas, (back.x + pad + height // 2, middle), height // 2 + 1, _RED, -1, cv2.LINE_AA)
    _write(canvas, "REC", (back.x + pad + 2 * height, back.y + pad + height), scale, _WHITE)


def draw_models(canvas: Canvas, models: Sequence[str], choice: str, divider: int | None = None) -> None:
    """List the models in the middle of the picture, on one side of the divider; `>` marks the choice."""
    scale = text_scale(canvas) * 1.1
    while True:
        height, mark = _size("Hg", scale)[1], _size("> ", scale)[0]
        width = max(_size(name, scale)[0] for name in models) + mark + 2 * height
        middle, room = beside(_whole(canvas), width, divider)
        if width <= room or scale < 0.1:
            break
        scale *= 0.95
    step = min(round(height * 2.1), canvas.shape[0] // (len(models) + 1))
    back = Box(middle - width // 2, (canvas.shape[0] - step * len(models)) // 2, width, step * len(models))
    _darken(canvas, back)
    for i, name in enumerate(models):
        x, y = back.x + height, back.y + step * i + (step + height) // 2
        if name == choice:
            _write(canvas, ">", (x, y), scale, _WHITE)
        _write(canvas, name, (x + mark, y), scale, _WHITE if name == choice else _SOFT)


def draw_help(canvas: Canvas, lines: Sequence[tuple[str, str]] = HELP) -> None:
    """Darken the canvas and list keys and what they do."""
    _darken(canvas, Box(0, 0, canvas.shape[1], canvas.shape[0]))
    longest = max((key for key, _ in lines), key=len) + "xxxx" + max((text for _, text in lines), key=len)
    scale = _fitting(longest, text_scale(canvas) * 1.1, canvas.shape[1] * 0.9)
    height = _size("Hg", scale)[1]
    step = min(round(height * 2.1), canvas.shape[0] // (len(lines) + 2))
    keys = max(_size(key, scale)[0] for key, _ in lines)
    width = keys + 3 * height + max(_size(text, scale)[0] for _, text in lines)
    x = max(4, (canvas.shape[1] - width) // 2)
    y = (canvas.shape[0] - step * (len(lines) - 1)) // 2
    for key, text in lines:
        _write(canvas, key, (x + keys - _size(key, scale)[0], y + height // 2), scale, _WHITE)
        _write(canvas, text, (x + keys + 3 * height, y + height // 2), scale, _SOFT)
        y += step


def status_line(status: LiveStatus) -> str:
    """Model, rate, latency and drops, in ASCII, since OpenCV's fonts have nothing else."""
    height, width = status.working_size
    preview = f" ({status.quality})" if status.resolution < 1 and status.quality else ""
    parts = [
        f"{status.model} {width}x{height}{preview}",
        f"{status.shown_fps:.1f} of {status.source_fps:.1f} fps",
    ]
    if status.latency_ms:
        parts.append(f"{status.latency_ms[0]:.0f} ms (p95 {status.latency_ms[1]:.0f})")
    strength = [f"strength {status.strength:g}"] if status.strength != 1 else []
    return "   ".join([*parts, f"dropped {status.dropped}", *strength])


def text_scale(canvas: Canvas) -> float:
    """Scale of text that is readable at 640×360 and not too large on a large screen."""
    return _text_scale(len(canvas))


def _text_scale(rows: int) -> float:
    return min(1.2, max(0.42, rows / 1200))


def _whole(canvas: Canvas) -> Box:
    return Box(0, 0, canvas.shape[1], canvas.shape[0])


def _size(text: str, scale: float) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    return int(width), int(height)


def _fitting(text: str, scale: float, room: float) -> float:
    """A scale at which a text has room, at most `scale`; widths do not grow evenly with the scale."""
    while scale > 0.1 and _size(text, scale)[0] > room:
        scale *= 0.95
    return scale


def _write(
    canvas: Canvas, text: str, at: tuple[int, int], scale: float, colour: tuple[int, int, int]
) -> None:
    cv2.putText(canvas, text, at, _FONT, scale, colour, 1 if scale < 0.9 else 2, cv2.LINE_AA)


def _darken(canvas: Canvas, box: Box) -> None:
    kept = Box(max(0, box.x), max(0, box.y), box.width, box.height).of(canvas)
    kept[:] = kept >> 2
