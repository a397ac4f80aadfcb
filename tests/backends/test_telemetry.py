"""Running a model reports nothing to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert not [path for path in run(PROGRAM, tmp_path) if "openvino" in path]


ONNX_RUNTIME = (
    "from rtdeblur.backends import onnxruntime; onnxruntime.accelerators()",
    "import train.export.plain",
)


@pytest.mark.parametrize("program", ONNX_RUNTIME, ids=["backend", "trainer"])
def test_onnx_runtime_starts_without_its_telemetry(program: str, tmp_path: Path) -> None:
    """It would write an identifier to the user's cache, and send it."""
    pytest.importorskip("onnxruntime")
    assert not [path for path in run(program, tmp_path) if "Microsoft" in path]


def run(program: str, home: Path) -> list[str]:
    """Run a program, which prints nothing; return what it has written to its home."""
    unset = ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")  # with the first, nothing is reported
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA"), str(home))
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [str(path.relative_to(home)) for path in home.rglob("*")]
