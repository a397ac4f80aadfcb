"""Contract of live sinks: a file, an address, a virtual camera and a still picture."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from fake_cameras import fake_pyvirtualcam

from rtdeblur.errors import OutputError, RtdeblurError
from rtdeblur.frames import Colour, Frame
from rtdeblur.live.sinks import OpenSink
from rtdeblur.live.sinks.encoded import record_to, send_to
from rtdeblur.live.sinks.snapshot import still_to
from rtdeblur.live.sinks.virtual_camera import virtual_camera

SIZE = (64, 96)


@dataclass(frozen=True)
class Kind:
    """A kind of sink.

    Attributes:
        open: opens one.
        seen: returns the gray levels of the pictures that arrived, after the sink is closed.
        keeps_all: whether every picture arrives, or only the newest.
        impossible: opens one that cannot be.
    """

    open: OpenSink
    seen: Callable[[], list[float]]
    keeps_all: bool
    impossible: OpenSink


def levels(file: str | BytesIO, **options: str) -> list[float]:
    with av.open(file, **options) as container:
        return [float(f.to_ndarray(format="gray").mean()) for f in container.decode(video=0)]


class Receiver:
    """Collects what comes by UDP."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.5)
        self.url = f"udp://127.0.0.1:{self._socket.getsockname()[1]}"
        self._data = bytearray()
        self._thread = threading.Thread(target=self._receive)
        self._closed = threading.Event()
        self._thread.start()

    def _receive(self) -> None:
        while True:
            try:
                self._data += self._socket.recv(65536)
            except TimeoutError:
                if self._closed.is_set():
                    return

    def levels(self) -> list[float]:
        self.close()
        return levels(BytesIO(bytes(self._data)), format="mpegts")

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._socket.close()


@pytest.fixture(params=["recording", "sending", "virtual camera", "still"])
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    library = fake_pyvirtualcam()
    monkeypatch.setitem(sys.modules, "pyvirtualcam", library)
    if request.param == "recording":
        path = tmp_path / "out.mkv"
        yield Kind(record_to(path), lambda: levels(str(path)), True, record_to(tmp_path / "no" / "out.mkv"))
    elif request.param == "sending":
        receiver = Receiver()
        yield Kind(send_to(receiver.url), receiver.levels, True, send_to("rtmp://127.0.0.1:9/x"))
        receiver.close()
    elif request.param == "virtual camera":
        seen: Callable[[], list[float]] = lambda: camera_levels(library)  # noqa: E731
        yield Kind(virtual_camera(None), seen, True, virtual_camera("/dev/video99"))
    else:
        path = tmp_path / "still.png"
        yield Kind(still_to(path), lambda: levels(str(path)), False, still_to(tmp_path / "no" / "a.png"))


def camera_levels(library: SimpleNamespace) -> list[float]:
    """What FFmpeg makes of the luma of 4:2:0, as of the other sinks."""
    camera = library.cameras[-1]
    luma = [picture[: camera.width * camera.height].mean() for picture in camera.sent]
    return [float(level - 16) * 255 / 219 for level in luma]


def flat(level: int, colour: Colour | None = None, size: tuple[int, int] = SIZE, chroma: int = 2) -> Frame:
    """A gray picture; `level` is of 8 bits and limited range."""
    colour = colour or Colour()
    dtype = np.uint8 if colour.bit_depth == 8 else np.uint16
    value = level << (colour.bit_depth - 8)
    if colour.full_range:
        value = round((level - 16) / 219 * colour.peak)
    y = np.full(size, value, dtype)
    if colour.matrix == "rgb":
        return Frame((y, y.copy(), y.copy()), 0, Fraction(1, 30), colour)
    shape = (-(-size[0] // chroma), -(-size[1] // chroma)) if chroma else (1, 1)
    neutral = np.full(shape, (colour.peak + 1) // 2, dtype)
    return Frame((y, neutral, neutral), 0, Fraction(1, 30), colour)


def shown(level: int) -> float:
    """A level of limited range as a screen shows it."""
    return (level - 16) * 255 / 219


def test_pictures_arrive_in_order(kind: Kind) -> None:
    sent = [60 + 10 * i for i in range(8)]
    sink = kind.open(flat(sent[0]), 30.0)
    for i, level in enumerate(sent):
        sink.write(flat(level), i / 30)
    sink.close()
    expected = sent if kind.keeps_all else sent[-1:]
    assert kind.seen() == pytest.approx([shown(level) for level in expected], abs=3)


PICTURES = {
    "larger": {"size": (128, 192)},
    "smaller": {"size": (32, 48)},
    "odd": {"size": (65, 97)},
    "of 10 bits": {"colour": Colour(bit_depth=10)},
    "of 4:4:4": {"chroma": 1},
    "gray": {"chroma": 0},
    "of full range": {"colour": Colour(full_range=True)},
    "RGB": {"colour": Colour("rgb", True), "chroma": 1},
    "RGB of 16 bits": {"colour": Colour("rgb", True, 16), "chroma": 1},
}


@pytest.mark.parametrize("at", [0, 1], ids=["at the start", "later"])
@pytest.mark.parametrize("change", PICTURES.values(), ids=PICTURES)
def test_any_picture_is_accepted(kind: Kind, change: dict[str, object], at: int) -> None:
    frames = [flat(200), flat(200), flat(200)]
    frames[at] = flat(200, **change)  # type: ignore[arg-type]
    sink = kind.open(frames[0], 30.0)
    for i, frame in enumerate(frames):
        sink.write(frame, i / 30)
    sink.close()
    seen = kind.seen()
    assert len(seen) == (3 if kind.keeps_all else 1)
    assert seen == pytest.approx([shown(200)] * len(seen), abs=3)


def test_repeated_and_decreasing_times_are_accepted(kind: Kind) -> None:
    sink = kind.open(flat(100), 30.0)
    for seconds in (0.0, 0.0, 0.5, 0.4, 0.4001, 3600.0):
        sink.write(flat(100), seconds)
    sink.close()
    assert len(kind.seen()) == (6 if kind.keeps_all else 1)


def test_a_frame_is_not_modified(kind: Kind) -> None:
    frame = flat(100)
    copies = [plane.copy() for plane in frame.planes]
    sink = kind.open(frame, 30.0)
    sink.write(frame, 0.0)
    sink.write(frame, 0.1)
    sink.close()
    assert all(np.array_equal(a, b) for a, b in zip(frame.planes, copies, strict=True))


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_it_can_be_closed_at_any_time_and_twice(kind: Kind, frames: int) -> None:
    sink = kind.open(flat(100), 30.0)
    for i in range(frames):
        sink.write(flat(100), i / 30)
    sink.close()
    sink.close()


def test_a_sink_that_cannot_be_opened_is_a_one_line_error(kind: Kind) -> None:
    with pytest.raises(OutputError) as raised:
        kind.impossible(flat(100), 30.0).write(flat(100), 0.0)
    assert isinstance(raised.value, RtdeblurError)
    assert len(str(raised.value).splitlines()) == 1
