"""A missing end is found by the size in the header, and whole files and live recordings are not suspected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from rtdeblur.errors import InputError
from rtdeblur.ffmpeg.damage import EARLY
from rtdeblur.ffmpeg.stated_size import missing_bytes
from rtdeblur.media.reader import FileReader

CONTAINERS = {
    ".flv": ("flv", "-c:v", "flv1", "-c:a", "mp3", "-ar", "44100"),
    ".wmv": ("asf", "-c:v", "wmv2", "-c:a", "wmav2"),
    ".webm": ("webm", "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"),
    ".mkv": ("matroska", "-c:v", "mpeg4", "-c:a", "mp3"),
    ".avi": ("avi", "-c:v", "mpeg4", "-c:a", "mp3"),
}

MakeClip = Callable[..., Path]


@pytest.fixture(params=CONTAINERS)
def whole(request: pytest.FixtureRequest, make_clip: MakeClip) -> Path:
    return make_clip(request.param, *CONTAINERS[request.param][1:], "-g", 5, frames=30)


def read(path: Path, **words: object) -> dict[str, int]:
    with FileReader(path, **words) as reader:  # type: ignore[arg-type]
        list(reader)
        return reader.damage.kinds


def test_a_whole_file_is_whole(whole: Path) -> None:
    assert missing_bytes(whole) == 0
    assert read(whole, strict=True) == {}


def test_a_file_cut_between_packets_is_damaged(whole: Path, tmp_path: Path) -> None:
    with av.open(str(whole)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    data, cut = whole.read_bytes(), tmp_path / whole.name
    for place in places[15:20]:
        cut.write_bytes(data[:place])
        assert missing_bytes(cut) == len(data) - place
        assert read(cut)[EARLY] == 1
        with pytest.raises(InputError, match="is damaged"):
            read(cut, strict=True)


def test_a_part_before_the_cut_is_whole(make_clip: MakeClip, tmp_path: Path) -> None:
    data, cut = make_clip(".flv", *CONTAINERS[".flv"][1:], frames=30).read_bytes(), tmp_path / "cut.flv"
    cut.write_bytes(data[: len(data) * 3 // 4])
    assert missing_bytes(cut) > 0
    assert EARLY not in read(cut, duration=0.2)


@pytest.mark.parametrize("ending", CONTAINERS)
def test_a_live_recording_states_no_size(ending: str, tmp_path: Path, ffmpeg: Callable[..., bytes]) -> None:
    name, *words = CONTAINERS[ending]
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1", "-f", "lavfi", "-i", "sine=d=1")
    path = tmp_path / f"live{ending}"
    path.write_bytes(ffmpeg(*inputs, *words, "-f", name, "-"))
    assert missing_bytes(path) == 0
    assert read(path, strict=True) == {}


@pytest.mark.parametrize("ending", CONTAINERS)
def test_a_damaged_header_states_no_size(ending: str, make_clip: MakeClip, tmp_path: Path) -> None:
    data = make_clip(ending, *CONTAINERS[ending][1:], "-g", 5, frames=30).read_bytes()
    path = tmp_path / f"cut{ending}"
    for size in range(0, 200, 3):
        path.write_bytes(data[:size])
        assert missing_bytes(path) >= 0
