"""Damage is counted, however FFmpeg reports it, and intact files have none."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from rtdeblur.errors import InputError
from rtdeblur.ffmpeg import damage
from rtdeblur.ffmpeg.damage import Damage
from rtdeblur.media.reader import FileReader

MakeClip = Callable[..., Path]
Ffmpeg = Callable[..., bytes]
FAST_START = ("-movflags", "+faststart")


def read(path: Path) -> tuple[int, Damage]:
    reader = FileReader(path)
    try:
        return sum(1 for _ in reader), reader.damage
    finally:
        reader.close()


def flipped(source: Path, target: Path, count: int = 20) -> Path:
    """A copy with bytes changed in the middle."""
    data, rng = bytearray(source.read_bytes()), random.Random(1)
    for _ in range(count):
        data[rng.randrange(int(len(data) * 0.35), int(len(data) * 0.65))] ^= 0xFF
    target.write_bytes(data)
    return target


def cut(source: Path, target: Path) -> Path:
    """A copy without its last 30 %."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * 0.7)])
    return target


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (".mp4", ("-c:v", "libx264")),
        (".mp4", ("-c:v", "libx264", *FAST_START)),
        (".mp4", ("-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov", "-g", "12")),
        (".ts", ("-c:v", "mpeg2video")),
        (".mkv", ("-c:v", "ffv1", "-level", "3", "-slicecrc", "1")),
        (".avi", ("-c:v", "mpeg4")),
        (".mov", ("-c:v", "prores_ks")),
        (".webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime")),
    ],
)
def test_an_intact_file_has_no_damage(ending: str, words: tuple[str, ...], make_clip: MakeClip) -> None:
    frames, found = read(make_clip(ending, *words, frames=50, sound=False))
    assert frames == 50
    assert found.kinds == {}
    assert found.count == 0


@pytest.mark.parametrize(
    ("ending", "words", "kind"),
    [
        (".mkv", ("-c:v", "libx264", "-g", "12"), damage.FRAMES),
        (".avi", ("-c:v", "mpeg4"), damage.FRAMES),
        (".mkv", ("-c:v", "ffv1", "-level", "3", "-slicecrc", "1"), damage.FRAMES),
        (".mkv", ("-c:v", "mjpeg"), damage.FRAMES),
        (".ts", ("-c:v", "mpeg2video"), damage.FRAMES),
        (".mkv", ("-c:v", "libsvtav1", "-preset", "12"), damage.PACKETS),
    ],
)
def test_changed_bytes_are_counted_as_damage(
    ending: str, words: tuple[str, ...], kind: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    whole = make_clip(ending, *words, size="320x240", frames=50, sound=False)
    frames, found = read(flipped(whole, tmp_path / f"flipped{ending}", count=60))
    assert kind in found.kinds
    assert found.message
    assert frames >= 10


@pytest.mark.parametrize(
    ("ending", "words", "kind"),
    [
        (".mkv", (), damage.EARLY),
        (".mp4", FAST_START, damage.MISSING),
        (".avi", ("-c:v", "mpeg4"), damage.MISSING),
    ],
)
def test_a_missing_end_is_counted_as_damage(
    ending: str, words: tuple[str, ...], kind: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    whole = make_clip(ending, *words, frames=50, sound=False)
    frames, found = read(cut(whole, tmp_path / f"cut{ending}"))
    assert kind in found.kinds
    assert 25 <= frames < 50
    if kind == damage.MISSING:
        assert frames + found.kinds[kind] + found.kinds.get(damage.PACKETS, 0) in (50, 51)


def test_frames_outside_the_part_are_not_missing(make_clip: MakeClip) -> None:
    reader = FileReader(make_clip(".mp4", frames=50, sound=False), start=1, duration=0.4)
    assert sum(1 for _ in reader) == 10
    reader.close()
    assert reader.damage.kinds == {}


def test_timestamps_that_decrease_are_counted_as_damage(
    make_clip: MakeClip, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = tmp_path / "back.mkv"
    clip = make_clip(".mkv", "-c:v", "mjpeg", frames=50, sound=False)
    ffmpeg("-i", clip, "-c", "copy", "-bsf:v", "setts=pts=PTS+lt(N\\,20)/TB:dts=DTS", path)
    frames, found = read(path)
    assert frames == 50
    assert set(found.kinds) == {damage.TIMES}


def test_strict_raises_the_first_damage(make_clip: MakeClip, tmp_path: Path) -> None:
    path = cut(make_clip(".mkv", frames=50, sound=False), tmp_path / "cut.mkv")
    reader = FileReader(path, strict=True)
    with pytest.raises(InputError, match=r"cut\.mkv' is damaged .*--strict"):
        list(reader)
    reader.close()


def test_the_report_counts_each_kind() -> None:
    found = Damage()
    found.add(damage.PACKETS, "first")
    found.add(damage.PACKETS, "second")
    found.add(damage.MISSING, "third", 5)
    assert found.count == 7
    assert str(found) == "packets not decoded: 2, frames missing: 5; the first: first"
