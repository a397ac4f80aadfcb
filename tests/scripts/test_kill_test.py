from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_test.py"


@pytest.mark.needs_ffmpeg
def test_the_kill_test_resumes_and_compares() -> None:
    words = ["--kills", "1", "--case", "x264-mp4", "--seconds", "12"]
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    case, totals = done.stdout.splitlines()[1:]
    assert case.startswith("x264-mp4")
    assert case.endswith("identical")
    assert totals.endswith("0 cases failed")
    assert int(totals.split()[0]) >= 1
