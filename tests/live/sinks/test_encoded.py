"""Recordings, receivers and virtual cameras of a live session."""

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type
from fake_cameras import fake_pyvirtualcam
from links import hard, symbolic

from rtdeblur.errors import DependencyError, OutputError
from rtdeblur.ffmpeg.scaler import Scaler
from rtdeblur.frames import Colour, Frame
from rtdeblur.live.image import Appearance, appearance_of
from rtdeblur.live.sinks.encoded import record_to, send_to
from rtdeblur.live.sinks.virtual_camera import virtual_camera
from rtdeblur.live.sources.file import FilePlayer


def frame(value: int = 100, size: tuple[int, int] = (64, 96), colour: Colour | None = None) -> Frame:
    colour = colour or Colour()
    dtype = np.uint8 if colour.bit_depth == 8 else np.uint16
    chroma = np.full((-(-size[0] // 2), -(-size[1] // 2)), (colour.peak + 1) // 2, dtype)
    return Frame((np.full(size, value, dtype), chroma, chroma), 0, Fraction(1, 30), colour)


def decode(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_a_recording_keeps_the_times_of_pictures(tmp_path: Path) -> None:
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
def test_depth_and_range_are_kept(tmp_path: Path, colour: Colour, pix_fmt: str, color_range: int) -> None:
    path = tmp_path / "out.mkv"
    sink = record_to(path)(frame(300 if colour.bit_depth == 10 else 100, colour=colour), 30.0)
    sink.write(frame(300 if colour.bit_depth == 10 else 100, colour=colour), 0.0)
    sink.close()
    (decoded,) = decode(path)
    assert decoded.format.name == pix_fmt
    assert int(decoded.color_range) == color_range


@pytest.mark.parametrize(
    "look",
    [
        Appearance(),
        Appearance(1, 1, 1),
        Appearance(9, 18, 9),
        Appearance(9, 16, 9, Fraction(4, 3)),
        Appearance(5, 6, 5, Fraction(16, 15)),
        Appearance(6, 6, 6, Fraction(8, 9)),
        Appearance(pixel_aspect=Fraction(1, 2)),
    ],
    ids=str,
)
def test_colour_tags_and_aspect_ratio_are_recorded(tmp_path: Path, look: Appearance) -> None:
    path = tmp_path / "out.mkv"
    first = replace(frame(), carrier=look)
    sink = record_to(path)(first, 30.0)
    sink.write(first, 0.0)
    sink.close()
    (decoded,) = decode(path)
    tags = (decoded.color_primaries, decoded.color_trc, decoded.colorspace)
    assert tuple(map(int, tags)) == (look.primaries, look.transfer, look.matrix)
    with av.open(str(path)) as container:
        assert (container.streams.video[0].sample_aspect_ratio or 1) == look.pixel_aspect


@pytest.mark.parametrize(
    "words",
    [
        ["-c:v", "libx264", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"],
        ["-c:v", "libx264", "-colorspace", "smpte170m", "-aspect", "4:3"],
        ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params",
         "log-level=none:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"],
        ["-c:v", "ffv1", "-pix_fmt", "gbrp", "-color_trc", "bt709", "-color_primaries", "bt709"],
        ["-c:v", "libx264", "-vf", "setsar=2/1"],
    ],
    ids=["BT.709", "BT.601 of 4:3", "HLG", "RGB", "wide pixels"],
)  # fmt: skip
@pytest.mark.parametrize("scale", [1, 2], ids=["full size", "preview"])
def test_a_recording_looks_like_its_source(
    words: list[str], scale: int, tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    source, path = make_clip(".mkv", *words, size="192x108", sound=False), tmp_path / "out.mkv"
    player = FilePlayer(source)
    first = player.read()
    player.close()
    assert first is not None
    scaler = Scaler()
    if scale > 1:
        small = scaler.down(first, (54, 96))
        first = scaler.with_change(first, small, small)
    sink = record_to(path)(first, 25.0)
    sink.write(first, 0.0)
    sink.close()
    (before, *_), (after,) = decode(source), decode(path)
    assert (after.color_primaries, after.color_trc) == (before.color_primaries, before.color_trc)
    expected = 1 if before.format.is_rgb else before.colorspace
    assert int(after.colorspace) == int(expected)
    with av.open(str(source)) as one, av.open(str(path)) as other:
        ratios = [c.streams.video[0].sample_aspect_ratio or 1 for c in (one, other)]
    assert ratios[0] == ratios[1]
    pixels = [shown(f, "bt709" if f.format.is_rgb else None) for f in (before, after)]
    assert np.abs(pixels[0] - pixels[1]).mean() < 3


def shown(picture: av.VideoFrame, matrix: str | None = None) -> np.ndarray:
    """As RGB by FFmpeg, which goes by the tags."""
    return picture.to_ndarray(format="rgb24", src_colorspace=matrix and "ITU709").astype(int)


def test_a_rotated_picture_has_a_rotated_pixel_aspect(make_clip: Callable[..., Path]) -> None:
    player = FilePlayer(make_clip(".mp4", "-vf", "setsar=2/1", size="192x108", sound=False))
    first = player.read()
    player.close()
    assert first is not None
    assert first.carrier.pixel_aspect == 2
    a, b, c, d = 0, 1 << 16, -1 << 16, 0
    data = {Type.DISPLAYMATRIX: struct.pack("9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)}
    decoded = SimpleNamespace(side_data=data, color_primaries=2, color_trc=2, colorspace=2)
    assert appearance_of(decoded, Fraction(2)).pixel_aspect == Fraction(1, 2)  # type: ignore[arg-type]


def test_odd_sizes_are_recorded(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    sink = record_to(path)(frame(size=(67, 101)), 30.0)
    sink.write(frame(size=(67, 101)), 0.0)
    sink.close()
    assert [(f.height, f.width) for f in decode(path)] == [(66, 100)]


@pytest.mark.needs_posix
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_recording_of_a_killed_program_can_be_played(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    code = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2] / "doubles")!r})
from fake_live import picture
from rtdeblur.live.sinks.encoded import record_to
sink = record_to(Path({str(path)!r}))(picture(height=64, width=96), 30.0)
for i in range(90):
    sink.write(picture(height=64, width=96, value=60 + i), i / 30)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3])
    assert len(decode(path)) >= 90 - 20  # the last half second may be lost


def test_an_unwritable_disk_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot open .*nowhere"):
        record_to(tmp_path / "nowhere" / "out.mkv")(frame(), 30.0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    path.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left on device"):  # noqa: PT012
        sink = record_to(path)(frame(), 30.0)
        for i in range(200):
            sink.write(frame(i), i / 30)


def test_a_missing_receiver_is_reported_without_the_password() -> None:
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
    module = fake_pyvirtualcam()
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


def test_a_missing_virtual_camera_is_reported(library: SimpleNamespace) -> None:
    with pytest.raises(OutputError, match="/dev/video99: 'v4l2loopback' backend: device is not"):
        virtual_camera("/dev/video99")(frame(), 30.0)


def test_without_pyvirtualcam_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(DependencyError, match=r"pip install 'rtdeblur\[virtual-camera\]'"):
        virtual_camera(None)


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither links nor modes of this kind")
@pytest.mark.parametrize("plant", [symbolic, hard])
def test_a_recording_does_not_replace_a_file_without_overwrite(
    tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    victim, path = tmp_path / "victim.txt", tmp_path / "out.mkv"
    victim.write_bytes(b"precious")
    plant(path, victim)
    with pytest.raises(OutputError, match="exists"):
        record_to(path)(frame(), 30.0)
    assert victim.read_bytes() == path.read_bytes() == b"precious"


@pytest.mark.needs_posix
@pytest.mark.skipif(os.name == "nt", reason="Windows has neither links nor modes of this kind")
def test_a_recording_that_replaces_another_keeps_its_mode(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim.txt", tmp_path / "out.mkv"
    victim.write_bytes(b"precious")
    victim.chmod(0o640)
    hard(path, victim)
    sink = record_to(path, overwrite=True)(frame(), 30.0)
    sink.write(frame(), 0.0)
    assert path.stat().st_mode & 0o777 == 0o640
    path.unlink()
    symbolic(path, victim)  # while it grows
    sink.close()
    assert victim.read_bytes() == b"precious"


def test_a_recording_is_visible_from_its_start(tmp_path: Path) -> None:
    sink = record_to(tmp_path / "out.mkv")(frame(), 30.0)
    for i in range(40):
        sink.write(frame(), i / 2)
    assert len(decode(tmp_path / "out.mkv")) > 20  # as after a kill
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]
    sink.close()
