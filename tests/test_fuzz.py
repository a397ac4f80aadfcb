"""A few damaged files through the whole command; `scripts/fuzz.py` makes thousands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent.parent / "scripts" / "fuzz.py"


@pytest.mark.needs_ffmpeg
def test_damaged_files_leave_nothing_and_end_in_one_line() -> None:
    done = subprocess.run([sys.executable, FUZZ, "--count", "40"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 inputs from" in done.stdout


def test_the_fuzzer_detects_a_fault(tmp_path: Path) -> None:
    """It distinguishes a program that leaves something behind from one that does not."""
    (tmp_path / "rtdeblur").mkdir()
    real = FUZZ.parent.parent / "rtdeblur"
    for entry in real.iterdir():
        if entry.name != "cli" and entry.name != "__pycache__":
            (tmp_path / "rtdeblur" / entry.name).symlink_to(entry)
    broken = tmp_path / "rtdeblur" / "cli"
    broken.mkdir()
    (broken / "__init__.py").write_text(
        "import os, pathlib\n"
        "def main(words):\n"
        "    pathlib.Path(words[2]).with_suffix('.left').touch()\n"
        "    os.write(2, b'rtdeblur: error: no\\n')\n"
        "    return 1\n"
    )
    words = [sys.executable, FUZZ, "--count", "3"]
    done = subprocess.run(
        words, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "left behind ['out.left']" in done.stdout
