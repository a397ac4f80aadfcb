"""What the window draws, without a window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cv2")

from rtdeblur.live.displays import LiveStatus
from rtdeblur.live.displays.overlay import (
    HELP,
    Box,
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
    status_line,
    strip,
)

STATUS = LiveStatus("fast", (368, 640), 30.0, 29.84, (61.4, 80.6), 12, False, False, "")
SIZES = [(180, 320), (360, 640), (1080, 1920), (1080, 300)]


@pytest.mark.parametrize(
    ("picture", "room", "expected"),
    [
        ((360, 640), Box(0, 0, 1280, 720), Box(0, 0, 1280, 720)),
        ((360, 640), Box(0, 0, 1280, 1000), Box(0, 140, 1280, 720)),
        ((640, 360), Box(100, 0, 1280, 640), Box(560, 0, 360, 640)),
        ((2160, 3840), Box(0, 0, 640, 360), Box(0, 0, 640, 360)),
        ((1, 4000), Box(0, 0, 400, 100), Box(0, 49, 400, 1)),
    ],
)
def test_a_picture_keeps_its_shape(picture: tuple[int, int], room: Box, expected: Box) -> None:
    assert fit(picture, room) == expected


def test_the_status_line_has_every_figure() -> None:
    assert status_line(STATUS) == "fast 640x368   29.8 of 30.0 fps   61 ms (p95 81)   dropped 12"


@pytest.mark.parametrize(
    ("resolution", "words"), [(1.0, ""), (0.1875, " (preview quality, 19% of full resolution)")]
)
def test_the_status_line_names_preview_quality(resolution: float, words: str) -> None:
    assert status_line(replace(STATUS, resolution=resolution)).startswith(f"fast 640x368{words}   ")


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.45, 0.5, 0.55, 0.7, 0.98])
@pytest.mark.parametrize("what", ["message", "recording", "models"])
def test_no_text_crosses_the_divider(what: str, part: float, height: int, width: int) -> None:
    canvas, divider = np.full((height, width, 3), 200, np.uint8), round(width * part)
    before = canvas.copy()
    if what == "message":
        draw_message(canvas, "source lost; trying again in 2 s", divider)
    elif what == "recording":
        draw_recording(canvas, divider)
    else:
        draw_models(canvas, ["auto", "fast", "deblurgan", "identity"], "fast", divider)
    changed = np.flatnonzero((canvas != before).any(axis=(0, 2)))
    assert len(changed)
    assert changed.max() < divider or changed.min() > divider


@pytest.mark.parametrize("rows", [180, 360, 719, 720, 1046])
def test_the_status_line_does_not_cover_the_picture(rows: int) -> None:
    canvas = blank(rows_around(rows), 1280)
    assert strip(canvas).y in (rows, rows + 1)
    draw_status(canvas, STATUS)
    assert (canvas[:rows] == blank(1, 1)[0, 0]).all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_text_has_a_dark_background_at_any_size(height: int, width: int) -> None:
    canvas = np.full((height, width, 3), 255, np.uint8)
    draw_status(canvas, STATUS)
    bar = canvas[-6:, : width // 2]
    assert bar.max() < 200  # the backing of the bottom lines
    assert (canvas < 255).any(axis=2).sum() < 0.25 * height * width


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_everything_fits_any_size(height: int, width: int) -> None:
    for draw in (draw_recording, draw_help, lambda c: draw_message(c, "source lost; " * 4)):
        canvas = blank(height, width)
        empty = canvas.copy()
        draw(canvas)
        assert (canvas != empty).any()
        edges = canvas[:, [0, -1]]
        assert edges.max() < 60  # no letter runs over a side


def test_a_label_without_room_is_left_out() -> None:
    canvas = blank(360, 640)
    empty = canvas.copy()
    draw_label(canvas, Box(0, 0, 40, 360), "blurred")
    assert (canvas == empty).all()
    draw_label(canvas, Box(0, 0, 320, 360), "blurred")
    assert (canvas != empty).any()


@pytest.mark.parametrize("position", [0.0, 0.25, 1.0])
def test_the_divider_is_drawn_at_its_position(position: float) -> None:
    canvas = blank(360, 640)
    draw_divider(canvas, Box(0, 0, 640, 360), position)
    bright = np.flatnonzero(canvas[20, :, 0] > 200)
    assert len(bright)
    assert np.abs(bright - position * 640).max() < 4


def test_help_names_every_key_once() -> None:
    keys = [key for key, _ in HELP]
    assert len(keys) == len(set(keys))
