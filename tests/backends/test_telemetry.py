"""Running a model reports nothing to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, threading

def refuse():
    raise AssertionError("a fork")

os.register_at_fork(before=refuse)
from rtdeblur.backends import open_backend
from rtdeblur.model import Model

open_backend("openvino", Model.load("fast"), precision="fp32").close()
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
"""


def test_openvino_starts_without_its_telemetry(tmp_path: Path) -> None:
    """It would start a thread, fork a process that sends a report, and write an identifier to HOME."""
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    environment = {
        name: value for name, value in os.environ.items() if name != "CI"
    }  # where it reports nothing
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment | home, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not [path.name for path in tmp_path.rglob("*") if "openvino" in path.name]
