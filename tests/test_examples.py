"""The scripts in `examples/`, run as a reader would."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


def run(name: str, *words: object) -> str:
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / name), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def frames_in(path: Path) -> int:
    command = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries"]
    done = subprocess.run(
        [*command, "stream=nb_read_frames", "-of", "csv=p=0", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.fixture(scope="module")
def clip(make_clip: Callable[..., Path]) -> Path:
    return make_clip(".mp4", frames=10)


def test_one_array_is_restored(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(noise.repeat(8, axis=0).repeat(8, axis=1)).save(tmp_path / "photo.png")
    said = run("one_array.py", tmp_path / "photo.png", tmp_path / "sharp.png")
    assert "64×48, mean change " in said
    with Image.open(tmp_path / "sharp.png") as picture:
        assert picture.size == (64, 48)


def test_a_file_is_restored_with_progress(clip: Path, tmp_path: Path) -> None:
    said = run("file_with_progress.py", clip, tmp_path / "out.mkv")
    assert [line for line in said.splitlines() if " of 10 frames" in line] == [
        "1 of 10 frames", "5 of 10 frames", "9 of 10 frames", "10 of 10 frames",
    ]  # fmt: skip
    assert "rtdeblur INFO: model fast; " in said
    assert frames_in(tmp_path / "out.mkv") == 10


def test_a_stream_of_frames_is_restored(clip: Path, tmp_path: Path) -> None:
    assert "10 frames" in run("stream.py", clip, tmp_path / "out.mp4")
    assert frames_in(tmp_path / "out.mp4") == 10


def test_a_folder_is_restored_and_done_files_are_skipped(clip: Path, tmp_path: Path) -> None:
    videos, output = tmp_path / "videos", tmp_path / "restored"
    videos.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (videos / name).write_bytes(clip.read_bytes())
    assert run("folder.py", videos, output) == "a.mp4: 10 frames\nb.mp4: 10 frames\n"
    assert frames_in(output / "b.mp4") == 10
    assert "a.mp4: done before" in run("folder.py", videos, output)


def test_the_newest_picture_of_a_webcam_is_restored() -> None:
    words = run("webcam.py", "3.0").split()
    assert int(words[0]) >= 5
    assert int(words[3]) >= 2


def test_a_display_of_ones_own_prints_statistics(make_clip: Callable[..., Path]) -> None:
    lines = run("live_statistics.py", make_clip(".mkv"), 10)
    assert "fps" in lines
    assert "LiveSummary" in lines


@pytest.mark.parametrize(
    "name", [p.name for p in SCRIPTS if p.name not in ("webcam.py", "vapoursynth_filter.py")]
)
def test_an_example_without_arguments_prints_its_usage(name: str) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "examples" / name)], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(rf"usage: python examples/{name} [A-Z_ ]+\n", done.stderr)


def test_every_example_is_run() -> None:
    tests = Path(__file__).parent
    sources = "".join(path.read_text() for path in (Path(__file__), tests / "train/export/test_imported.py"))
    assert len(SCRIPTS) == 8
    assert [path.name for path in SCRIPTS if f'"{path.name}"' not in sources] == []
