"""The programs in examples/ run as their first lines say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *words: object) -> str:
    command = [sys.executable, EXAMPLES / name, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_is_restored_and_nothing_else_of_it_is_lost(
    make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    lines = run("restore_file.py", make_clip(".mp4"), tmp_path / "out.mp4").splitlines()
    assert lines[0].startswith("12 frames in ")
    assert lines[1:] == []


def test_what_the_output_cannot_hold_is_printed(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    source = make_clip(".mkv", "-metadata", "shelf=3")
    assert "tags: not held" in run("restore_file.py", source, tmp_path / "out.avi").splitlines()


def test_an_array_is_restored_to_more_contrast() -> None:
    before, after = (int(word) for word in run("restore_array.py").split() if word.isdecimal())
    assert after > before


def test_a_display_of_ones_own_shows_a_live_file(make_clip: Callable[..., Path]) -> None:
    lines = run("live_statistics.py", make_clip(".mkv"), 10)
    assert "fps" in lines
    assert "LiveSummary" in lines


def test_every_example_is_run() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in tests] == []
