"""Arguments that are not videos get one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rtdeblur.cli import main
from rtdeblur.errors import NoVideoError
from rtdeblur.media.reader import FileReader

Ffmpeg = Callable[..., bytes]
MakeClip = Callable[..., Path]


def said(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main([*map(str, words), "--model", "identity"])
    lines = capfd.readouterr().err.splitlines()
    assert len([line for line in lines if "error" in line]) == 1
    return code, lines[-1]


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1/x.mp4",
        "HTTPS://127.0.0.1/x.mp4",
        "Rtsp://127.0.0.1/x",
        "udp://127.0.0.1:9",
        "ftp://h/x.mp4",
    ],
)
def test_an_address_is_not_taken_for_a_file(
    address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, line = said(capfd, address, "-o", tmp_path / "o.mp4")
    assert code == 2
    assert f"{address!r} is an address" in line
    assert "rtdeblur live" in line


def test_an_address_is_printed_without_its_password(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _, line = said(capfd, "rtsp://admin:hunter2@127.0.0.1/x", "-o", tmp_path / "o.mp4")
    assert "hunter2" not in line


def test_a_file_url_names_a_file(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip(".mkv", sound=False)
    spaced = tmp_path / "a clip.mkv"
    spaced.write_bytes(clip.read_bytes())
    assert main([spaced.as_uri(), "-o", str(tmp_path / "o.mkv"), "--model", "identity", "-q"]) == 0


@pytest.mark.parametrize("pattern", ["frame%04d.png", "frame%d.jpg", "*.mp4", "clip?.mov", "clip[0-9].mov"])
def test_a_pattern_is_not_taken_for_a_file(
    pattern: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, line = said(capfd, tmp_path / pattern, "-o", tmp_path / "o.mp4")
    assert code
    assert "pattern" in line
    assert "check the name" not in line


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".bmp", ".webp", ""])
def test_a_photo_is_not_taken_for_a_video(
    ending: str, tmp_path: Path, ffmpeg: Ffmpeg, capfd: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / f"made{ending or '.jpg'}"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", 1, made)
    photo = made.rename(tmp_path / f"photo{ending}")
    code, line = said(capfd, photo, "-o", tmp_path / "o.mp4")
    assert code
    assert "photo" in line
    assert "playlist" not in line


def test_an_animated_webp_gets_advice(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.4", "-c:v", "libwebp_anim", tmp_path / "a.webp")
    with pytest.raises(
        NoVideoError, match="animated WebP, which FFmpeg cannot read; convert it to GIF or APNG"
    ):
        FileReader(tmp_path / "a.webp")


def test_an_unknown_codec_lists_the_known_ones(
    make_clip: MakeClip, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, line = said(capfd, make_clip(".mkv", sound=False), "-o", tmp_path / "o.mp4", "--codec", "h266x")
    assert code
    assert "no video encoder called 'h266x'" in line
    assert "hevc" in line
