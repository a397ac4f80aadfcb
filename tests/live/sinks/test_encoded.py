"""Recordings, receivers and virtual cameras of a live session."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from rtdeblur.errors import DependencyError, OutputError
from rtdeblur.frames import Colour, Frame
from rtdeblur.live.sinks.encoded import record_to, send_to
from rtdeblur.live.sinks.virtual_camera import virtual_camera


def frame(value: int = 100, size: tuple[int, int] = (64, 96), colour: Colour | None = None) -> Frame:
    colour = colour or Colour()
    dtype = np.uint8 if colour.bit_depth == 8 else np.uint16
    chroma = np.full((-(-size[0] // 2), -(-size[1] // 2)), (colour.peak + 1) // 2, dtype)
    return Frame((np.full(size, value, dtype), chroma, chroma), 0, Fraction(1, 30), colour)


def decode(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_a_recording_has_the_pictures_at_their_times(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    times = [0.0, 0.033, 0.067, 0.4, 0.4, 0.4004, 2.0]  # pauses, and times too close for the container
    sink = record_to(path)(frame(), 30.0)
    for i, seconds in enumerate(times):
        sink.write(frame(60 + 20 * i), seconds)
    sink.close()
    sink.close()
    decoded = decode(path)
    assert [f.time for f in decoded] == pytest.approx([0, 0.033, 0.067, 0.4, 0.401, 0.402, 2.0], abs=0.0011)
    assert [f.to_ndarray()[:64].mean() for f in decoded] == pytest.approx(range(60, 200, 20), abs=2)


def test_a_change_of_size_is_scaled_to_the_first(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    sink = record_to(path)(frame(), 30.0)
    for i, size in enumerate([(64, 96), (128, 192), (2160, 3840), (65, 97)]):
        sink.write(frame(80, size), i / 30)
    sink.close()
    decoded = decode(path)
    assert [(f.height, f.width) for f in decoded] == [(64, 96)] * 4
    assert all(abs(f.to_ndarray()[:64].mean() - 80) < 2 for f in decoded)


@pytest.mark.parametrize(
    ("colour", "pix_fmt", "color_range"),
    [(Colour(bit_depth=10), "yuv420p10le", 1), (Colour(full_range=True), "yuvj420p", 2)],
)
def test_depth_and_range_stay(tmp_path: Path, colour: Colour, pix_fmt: str, color_range: int) -> None:
    path = tmp_path / "out.mkv"
    sink = record_to(path)(frame(300 if colour.bit_depth == 10 else 100, colour=colour), 30.0)
    sink.write(frame(300 if colour.bit_depth == 10 else 100, colour=colour), 0.0)
    sink.close()
    (decoded,) = decode(path)
    assert decoded.format.name == pix_fmt
    assert int(decoded.color_range) == color_range


def test_odd_sizes_are_recorded(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    sink = record_to(path)(frame(size=(67, 101)), 30.0)
    sink.write(frame(size=(67, 101)), 0.0)
    sink.close()
    assert [(f.height, f.width) for f in decode(path)] == [(66, 100)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_what_a_killed_program_recorded_can_be_played(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_encoded import frame, record_to
from pathlib import Path
sink = record_to(Path({str(path)!r}))(frame(), 30.0)
for i in range(90):
    sink.write(frame(60 + i), i / 30)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3])
    assert len(decode(path)) >= 90 - 20  # the last half second may be lost


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot open .*nowhere"):
        record_to(tmp_path / "nowhere" / "out.mkv")(frame(), 30.0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    path.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left on device"):  # noqa: PT012
        sink = record_to(path)(frame(), 30.0)
        for i in range(200):
            sink.write(frame(i), i / 30)


def test_nobody_at_the_other_end_is_said_without_the_password() -> None:
    with pytest.raises(OutputError, match=r"cannot open 'rtmp://me:\*\*\*@127.0.0.1:9/live'"):
        send_to("rtmp://me:secret@127.0.0.1:9/live")(frame(), 30.0)


def test_rtsp_reaches_a_listener(tmp_path: Path, ffmpeg: Callable[..., bytes]) -> None:
    path = tmp_path / "received.mkv"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"rtsp://127.0.0.1:{port}/live"
    words = ["-rtsp_flags", "listen", "-i", url, "-c", "copy", "-y", str(path)]
    with subprocess.Popen(["ffmpeg", "-nostdin", "-v", "error", *words]) as receiver:
        deadline = time.monotonic() + 30
        while True:
            try:
                sink = send_to(url)(frame(), 30.0)
                break
            except OutputError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        for i in range(60):
            sink.write(frame(60 + i), i / 30)
            time.sleep(0.005)
        sink.close()
        receiver.wait(30)
    assert len(decode(path)) >= 50


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for pyvirtualcam, and keeps the cameras opened."""
    cameras: list[SimpleNamespace] = []

    def camera(width: int, height: int, fps: float, *, fmt: str, device: str | None) -> SimpleNamespace:
        if device == "/dev/video99":
            raise RuntimeError("'v4l2loopback' backend: device\nis not a video device")
        opened = SimpleNamespace(width=width, height=height, fps=fps, fmt=fmt, sent=[], closed=False)
        opened.send = opened.sent.append
        opened.close = lambda: setattr(opened, "closed", True)
        cameras.append(opened)
        return opened

    module = SimpleNamespace(Camera=camera, PixelFormat=SimpleNamespace(I420="I420"), cameras=cameras)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    return module


def test_a_virtual_camera_gets_planar_pictures_of_one_size(library: SimpleNamespace) -> None:
    sink = virtual_camera(None)(frame(), 30.0)
    for i, size in enumerate([(64, 96), (128, 192)]):
        sink.write(frame(90, size), i / 30)
    sink.close()
    (camera,) = library.cameras
    assert (camera.width, camera.height, camera.fps, camera.fmt) == (96, 64, 30.0, "I420")
    assert [sent.shape for sent in camera.sent] == [(96 * 64 * 3 // 2,)] * 2
    assert all(abs(int(sent[: 96 * 64].mean()) - 90) <= 1 for sent in camera.sent)
    assert camera.closed


def test_no_such_virtual_camera_is_said(library: SimpleNamespace) -> None:
    with pytest.raises(OutputError, match="/dev/video99: 'v4l2loopback' backend: device is not"):
        virtual_camera("/dev/video99")(frame(), 30.0)


def test_without_pyvirtualcam_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(DependencyError, match=r"pip install 'rtdeblur\[virtual-camera\]'"):
        virtual_camera(None)
