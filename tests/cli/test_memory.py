"""Running out of memory ends a run with one line, wherever it happens."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the memory of a process")


@pytest.mark.parametrize("mebibytes", [80, 150, 300, 400, 450, 500, 600, 700, 800, 1000])
@pytest.mark.parametrize("model", ["identity", "fast"])
def test_too_little_memory_is_one_line(model: str, mebibytes: int, clip: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "rtdeblur", clip, "-o", tmp_path / "out.mkv", "--model", model, "-q"]
    limit = mebibytes << 20
    done = subprocess.run(
        list(map(str, words)),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        assert done.returncode == 1
        # x264 prints its own lines about memory, whatever its log level.
        ours = [line for line in done.stderr.splitlines() if not line.startswith("x264 [error]: malloc")]
        assert len(ours) == 1
        assert "unexpected" not in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"] * (done.returncode == 0)
