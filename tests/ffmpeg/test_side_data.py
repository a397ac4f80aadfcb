"""Frames may have side data of any kind, including kinds that PyAV does not name."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from av.sidedata.sidedata import Type
from mv_hevc import with_two_views

from rtdeblur.ffmpeg.side_data import side_data
from rtdeblur.media.verify import compare, plain_copy, read_contents
from rtdeblur.media.writer import FileWriter

Ffmpeg = Callable[..., bytes]
Rewrite = Callable[..., FileWriter]

LIVE = [sys.executable, "-m", "rtdeblur", "live", "--no-window", "--model", "identity", "-o"]
PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=0.2")


@pytest.mark.parametrize("kind", range(64))
def test_unknown_side_data_types_are_accepted(kind: int) -> None:
    member = Type(kind)
    assert member.value == kind
    assert Type(kind) is member
    assert repr(member)


def _exif_jpeg(folder: Path, ffmpeg: Ffmpeg) -> Path:
    """A film of JPEG pictures with EXIF, joined without encoding them anew."""
    ffmpeg(*PICTURE, "-pix_fmt", "yuvj420p", folder / "f%02d.jpg")
    orientation = struct.pack("<HHIHH", 0x112, 3, 1, 1, 0)
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + orientation + bytes(4)
    segment = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    for path in folder.glob("f*.jpg"):
        data = path.read_bytes()
        path.write_bytes(data[:2] + segment + data[2:])
    ffmpeg("-framerate", 25, "-i", folder / "f%02d.jpg", "-c", "copy", folder / "exif.mov")
    return folder / "exif.mov"


def _spatial(folder: Path, ffmpeg: Ffmpeg) -> Path:
    """A stereo video as recorded by phones: MV-HEVC, whose VPS announces two views."""
    words = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:bframes=0:pools=1")
    ffmpeg(*PICTURE, *words, "-pix_fmt", "yuv420p", folder / "base.hevc")
    both = with_two_views((folder / "base.hevc").read_bytes(), 128, 96)
    (folder / "both.hevc").write_bytes(both)
    ffmpeg("-i", folder / "both.hevc", "-c", "copy", "-tag:v", "hvc1", folder / "spatial.mov")
    return folder / "spatial.mov"


@pytest.mark.parametrize("make", [_exif_jpeg, _spatial])
def test_frames_with_unnamed_side_data_are_read(
    make: Callable[[Path, Ffmpeg], Path], tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    source = make(tmp_path, ffmpeg)
    with av.open(str(source)) as container:
        first = next(container.decode(video=0))
        unnamed = [kind for kind in map(Type, range(28, 64)) if side_data(first, kind) is not None]
    assert unnamed, "this FFmpeg attaches nothing without a name; make another film"
    rewrite(source, "out.mov")
    output = tmp_path / "out.mov"
    checks = compare(read_contents(source), read_contents(output), lambda: plain_copy(source, output))
    assert {check.name for check in checks if check.status == "different"} <= {"colour range"}
    assert next(check for check in checks if check.name == "frames").after == "5"
    done = subprocess.run([*LIVE, tmp_path / "live.mkv", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
