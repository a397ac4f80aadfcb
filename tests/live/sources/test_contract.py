"""Contract of live sources: a camera, a file, and a network stream."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fake_cameras import FakeCapture
from stream_servers import encoded, free_port, http_server, rtsp_server, transport_stream

from rtdeblur.errors import InputError
from rtdeblur.frames import Frame
from rtdeblur.live.image import Appearance
from rtdeblur.live.sources import open_source
from rtdeblur.live.sources.base import LiveSource, SourceOptions

cv2 = pytest.importorskip("cv2")

FRAMES = 15
QUICK = SourceOptions(timeout_seconds=2)


@dataclass(frozen=True)
class Kind:
    """A kind of source, and how to bring it about.

    Attributes:
        serving: context with the name of a source of `FRAMES` ever brighter pictures.
        damaged: the same of one whose data is damaged in the middle.
        missing: name of a source that does not exist.
        finite: whether its end is final.
    """

    serving: Callable[[], AbstractContextManager[str]]
    damaged: Callable[[], AbstractContextManager[str]]
    missing: str
    finite: bool


def damage(data: bytes, after: float = 0.2) -> bytes:
    """Overwrite headers and payloads from a part of the data on."""
    broken, random = bytearray(data), np.random.default_rng(3)
    for start in range(round(len(data) * after) // 188 * 188, len(data) - 188, 3 * 188):
        broken[start : start + 60] = random.bytes(60)
    return bytes(broken)


@contextlib.contextmanager
def camera(*, damaged: bool = False) -> Iterator[str]:
    pictures: list[np.ndarray | None] = [np.full((96, 160, 3), 60 + 5 * i, np.uint8) for i in range(FRAMES)]
    FakeCapture.pictures = [*pictures[:5], None, *pictures[5:]] if damaged else pictures
    yield "0"


@pytest.fixture(params=["camera", "file", "http", "rtsp"])
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kind:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "opened", True)
    stream = transport_stream([(160, 96)], FRAMES)

    @contextlib.contextmanager
    def file(data: bytes) -> Iterator[str]:
        path = tmp_path / "clip.ts"
        path.write_bytes(data)
        yield str(path)

    pictures = encoded(FRAMES, step=5)
    junk = b"\x00\x00\x00\x01\x41" + np.random.default_rng(5).bytes(200).replace(b"\x00", b"\x01")
    torn = [junk if i in (4, 5) else p for i, p in enumerate(pictures)]
    return {
        "camera": Kind(camera, lambda: camera(damaged=True), "97", False),
        "file": Kind(lambda: file(stream), lambda: file(damage(stream)), str(tmp_path / "none.ts"), True),
        "http": Kind(
            lambda: http_server(stream), lambda: http_server(damage(stream)),
            f"http://127.0.0.1:{free_port()}/x", False,
        ),
        "rtsp": Kind(
            lambda: rtsp_server(pictures), lambda: rtsp_server(torn),
            f"rtsp://127.0.0.1:{free_port()}/x", False,
        ),
    }[request.param]  # fmt: skip


def read_all(source: LiveSource) -> list[Frame]:
    """All frames up to the end, or the loss of the source."""
    frames: list[Frame] = []
    with contextlib.suppress(InputError):
        while (frame := source.read()) is not None:
            frames.append(frame)
    return frames


def test_frames_come_in_order_at_rising_times(kind: Kind) -> None:
    with kind.serving() as name:
        source = open_source(name, QUICK)
        frames = read_all(source)
        source.close()
    assert len(frames) >= FRAMES - 1  # RTSP does not mark the end of the last picture
    levels = [float(f.planes[0].mean()) for f in frames]
    assert all(a < b for a, b in pairwise(levels))
    times = [f.pts * f.time_base for f in frames[1:]]  # FFmpeg leaves RTSP's first picture without one
    assert all(a < b for a, b in pairwise(times))


def test_an_intact_source_has_no_damage(kind: Kind) -> None:
    with kind.serving() as name:
        source = open_source(name, QUICK)
        for _ in range(FRAMES - 1):
            assert source.read() is not None
        assert source.damaged == 0
        source.close()


def test_frames_are_complete_and_carry_their_appearance(kind: Kind) -> None:
    with kind.serving() as name:
        source = open_source(name, QUICK)
        frames = read_all(source)
        source.close()
    for frame in frames:
        assert [p.shape for p in frame.planes] == [(96, 160), (48, 80), (48, 80)]
        assert all(p.dtype == np.uint8 for p in frame.planes)
        assert type(frame.carrier) is Appearance


def test_a_frame_stays_valid_after_the_next_and_after_the_end(kind: Kind) -> None:
    kept: list[Frame] = []
    copies: list[np.ndarray] = []
    with kind.serving() as name:
        source = open_source(name, QUICK)
        for _ in range(8):
            frame = source.read()
            assert frame is not None
            kept.append(frame)
            copies.append(frame.planes[0].copy())
        source.close()
    assert all(np.array_equal(f.planes[0], copy) for f, copy in zip(kept, copies, strict=True))


def test_the_end_says_whether_it_is_final(kind: Kind) -> None:
    with kind.serving() as name:
        source = open_source(name, QUICK)
        assert source.finite is kind.finite
        read_all(source)
        if source.finite:
            assert source.read() is None
        source.close()


def test_damage_costs_pictures_and_is_counted(kind: Kind) -> None:
    with kind.damaged() as name:
        source = open_source(name, QUICK)
        frames = read_all(source)
        source.close()
    assert frames
    assert source.damaged > 0


@pytest.mark.parametrize("read", [0, 3])
def test_it_can_be_closed_at_any_time_and_twice(kind: Kind, read: int) -> None:
    with kind.serving() as name:
        source = open_source(name, QUICK)
        for _ in range(read):
            source.read()
        source.close()
        source.close()


def test_a_missing_source_is_one_line(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCapture, "opened", False)
    with pytest.raises(InputError) as raised:
        open_source(kind.missing, QUICK)
    assert len(str(raised.value).splitlines()) == 1
    assert kind.missing in str(raised.value)
