"""One contract suite, run over every source of frames (`rtdeblur.media.FrameSource`), the double included."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import fake_nvcodec
import numpy as np
import pytest
from fake_gpu import FakeDriver
from fake_media import FakeSource
from pictures_of import animation, photos

from rtdeblur.device import DeviceFrame
from rtdeblur.frames import Frame, Interlude
from rtdeblur.media import FrameSource
from rtdeblur.media.photos.reader import PictureReader
from rtdeblur.media.photos.sequence import SequenceReader
from rtdeblur.media.reader import FileReader

MakeClip = Callable[..., Path]
FRAMES = 20
SIZE = "192x128"


@contextmanager
def fed(pipe: Path, data: bytes) -> Iterator[None]:
    """Write into a pipe from another thread, as a program in front of ours does."""

    def feed() -> None:
        with suppress(BrokenPipeError):  # the reader was closed
            pipe.write_bytes(data)

    os.mkfifo(pipe)
    thread = threading.Thread(target=feed)
    thread.start()
    yield
    thread.join()


CASES = [
    "file",
    "part",
    "frames of fields",
    "fields",
    pytest.param("pipe", marks=pytest.mark.needs_posix),
    "GPU, to the host",
    "GPU, kept there",
    "animation",
    "photos",
    "fake",
]


@pytest.fixture(params=CASES)
def source(
    request: pytest.FixtureRequest, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FrameSource]:
    """A source of 20 frames, with sound if it is a file."""
    kind = request.param
    opened: FrameSource
    if kind == "fake":
        opened = FakeSource(FRAMES)
    elif kind == "file":
        opened = FileReader(make_clip(".mp4", frames=FRAMES))
    elif kind == "part":
        opened = FileReader(make_clip(".mkv", frames=50), start=0.4, duration=FRAMES / 25)
    elif kind == "frames of fields":
        opened = FileReader(make_clip(".mp4", frames=FRAMES), deinterlace="frame")
    elif kind == "fields":
        opened = FileReader(make_clip(".mp4", frames=FRAMES // 2), deinterlace="field")
    elif kind == "animation":
        opened = PictureReader(animation(tmp_path / "pictures.webp", FRAMES))
    elif kind == "photos":
        folder = tmp_path / "photos"
        opened = SequenceReader(folder, photos(folder, FRAMES), rate=Fraction(25))
    elif kind == "pipe":
        pipe = tmp_path / "pipe"
        with fed(pipe, make_clip(".ts", frames=FRAMES).read_bytes()):
            opened = FileReader(pipe)
            yield opened
            opened.close()
        return
    else:
        fake_nvcodec.install(monkeypatch, FakeDriver())
        opened = reader = FileReader(make_clip(".mkv", size=SIZE, frames=FRAMES), device="cuda")
        if kind == "GPU, kept there":
            reader.keep_on_device()
    yield opened
    opened.close()


def frames_of(source: FrameSource) -> list[Frame | DeviceFrame]:
    return [item for item in source if not isinstance(item, Interlude)]


def test_every_frame_comes_once_in_order(source: FrameSource) -> None:
    frames = frames_of(source)
    assert len(frames) == FRAMES
    assert all(a.pts < b.pts for a, b in pairwise(frames))
    assert len({frame.time_base for frame in frames}) == 1
    assert list(source) == []


def test_info_matches_the_frames(source: FrameSource) -> None:
    info = source.info
    frames = frames_of(source)
    for frame in frames:
        height, width = frame.layout[0]
        assert (height, width) == (info.height, info.width)
    if info.frame_count is not None:  # a pipe has none
        assert abs(info.frame_count - len(frames)) <= 1
    steps = {(b.pts - a.pts) * a.time_base for a, b in pairwise(frames)}
    rates = {round(float(1 / step)) for step in steps}
    assert len(rates) == 1
    if info.frame_rate is not None:  # an animation has none
        assert rates == {round(info.frame_rate)}
        if info.duration_seconds is not None:
            assert info.duration_seconds == pytest.approx(len(frames) / info.frame_rate, abs=0.05)


def test_a_frame_keeps_its_samples_while_others_are_read(source: FrameSource) -> None:
    kept, copies = [], []
    for frame in frames_of(source):
        if isinstance(frame, Frame):
            kept.append(frame)
            copies.append([plane.copy() for plane in frame.planes])
    for frame, planes in zip(kept, copies, strict=True):
        for plane, copy in zip(frame.planes, planes, strict=True):
            np.testing.assert_array_equal(plane, copy)
    assert len({planes[0].tobytes() for planes in copies}) == len(copies)  # it is a moving picture


def test_no_frame_comes_after_close(source: FrameSource) -> None:
    items = iter(source)
    assert next(items) is not None
    source.close()
    source.close()
    assert list(items) == []


def test_close_before_the_first_frame_is_allowed(source: FrameSource) -> None:
    source.close()
    assert len(frames_of(source)) <= 1  # what was read to see what the source is


def test_close_in_another_thread_ends_the_iteration(source: FrameSource) -> None:
    begun, ended = threading.Event(), threading.Event()
    count = 0

    def read() -> None:
        nonlocal count
        for _ in source:
            begun.set()
            count += 1
            closing.wait(10)
        ended.set()

    closing = threading.Event()
    thread = threading.Thread(target=read)
    thread.start()
    assert begun.wait(10)
    source.close()
    closing.set()
    thread.join(10)
    assert ended.is_set()
    assert count < FRAMES
