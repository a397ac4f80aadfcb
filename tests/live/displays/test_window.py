"""The window on a virtual X server: what it shows, read from screenshots, and what keys and mouse do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from xvfb import xvfb

cv2 = pytest.importorskip("cv2")

ROOT = Path(__file__).parents[3]
DOUBLES = ROOT / "tests/doubles"
PLAY = Path(__file__).parent / "play_window.py"
PROGRAMS = ("Xvfb", "xdotool")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
HAS_WINDOWS = bool(cv2.currentUIFramework())

needs_xvfb = pytest.mark.skipif(
    bool(MISSING) or not HAS_WINDOWS,
    reason=f"needs {', '.join(MISSING) or 'opencv-python (this OpenCV is headless)'}",
)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=kept | environment, capture_output=True, text=True, timeout=250,
    )  # fmt: skip


OPEN = "from rtdeblur.live.displays.window import Window; Window()"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has no display at times")
@pytest.mark.parametrize("display", [None, ":987"])
def test_a_missing_screen_is_reported(display: str | None) -> None:
    done = run(OPEN, **({"DISPLAY": display} if display else {}))
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("rtdeblur.errors.OutputError:")
    assert line.endswith("try --web 8765") if HAS_WINDOWS else "--web" in line


@pytest.mark.skipif(not sys.platform.startswith("linux") or not HAS_WINDOWS, reason="of Qt's windows")
def test_pyav_loaded_first_is_refused_and_does_not_hang() -> None:
    done = run(f"import av; {OPEN}", DISPLAY=":987")
    assert "OpenCV must be loaded before PyAV" in done.stderr


def test_missing_opencv_names_the_install_command() -> None:
    done = run("import sys; sys.modules['cv2'] = None; import rtdeblur.live.displays.window")
    assert "rtdeblur[live]" in done.stderr.splitlines()[-1]


@needs_xvfb
def test_the_window_works_in_a_session(tmp_path: Path) -> None:
    """One window for all steps: starting Qt takes longer than they do."""
    with xvfb(tmp_path) as screen:
        play = [sys.executable, str(PLAY), str(tmp_path / "Xvfb_screen0")]
        path = os.pathsep.join(filter(None, [str(ROOT), str(DOUBLES), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"DISPLAY": screen.display, "PYTHONPATH": path}
        done = subprocess.run(play, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "waits", "split", "dragged", "whole", "beside", "recording", "helped", "portrait",
        "commands", "closed",
    ]  # fmt: skip
