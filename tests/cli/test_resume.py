"""A killed run resumes, and writes the bytes of an uninterrupted run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rtdeblur.cli import main

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")

# Runs the program with short segments; kills it at the n-th touch of a file that belongs to the job.
KILLED = """
import os, re, signal, sys
from rtdeblur.media import resume
own = re.compile(r"\\.rtdeblur|'(lock|job\\.json|committed|\\d{8}\\.(segment|part))'")
resume._FRAMES = resume._FEWEST_FRAMES = 25
left = int(sys.argv.pop(1))
touches = 0
def watch(event, args):
    global touches
    if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir") and own.search(str(args)):
        touches += 1
        if touches == left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
from rtdeblur.cli import main
code = main(sys.argv[1:])
print(touches)
sys.exit(code)
"""

SECOND_SEGMENT = 13
"""The touch that starts it."""


def run(kill_at: int, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLED, str(kill_at), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def clip(make_clip: Callable[..., Path]) -> Path:
    """Five segments with sound, B-frames and uneven frame times."""
    filters = "setpts='(N+0.4*mod(N,3))/25/TB'"
    words = ("-preset", "medium", "-fps_mode", "passthrough", "-enc_time_base", "1:1000")
    return make_clip(".mkv", *words, frames=110, filters=filters)


@pytest.mark.needs_posix
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_run_killed_repeatedly_resumes_to_identical_bytes(clip: Path, tmp_path: Path, ending: str) -> None:
    words = ("--model", "identity", "-q", "--preset", "medium")
    whole = tmp_path / f"whole.{ending}"
    uninterrupted = run(0, clip, "-o", whole, *words)
    touches = int(uninterrupted.stdout)
    assert touches > 20
    draw = random.Random(ending)
    # Anywhere, in one job; then in what follows the last segment: commit, renaming, cleaning.
    for points in ([draw.randint(3, touches - 5) for _ in range(2)], [touches - draw.randint(0, 8)]):
        target = tmp_path / f"out.{ending}"
        target.unlink(missing_ok=True)
        for point in points:
            killed = run(point, clip, "-o", target, *words, "--resume")
            assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
        done = run(0, clip, "-o", target, *words, "--resume")
        assert done.returncode == 0, done.stderr
        assert target.read_bytes() == whole.read_bytes(), f"killed at {points} of {touches}"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"out.{ending}", f"whole.{ending}"]


@pytest.mark.needs_posix
def test_unfinished_work_is_not_overwritten_without_a_choice(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    words = (clip, "-o", target, "--model", "identity")
    assert run(SECOND_SEGMENT, *words).returncode == -signal.SIGKILL
    refused = run(0, *words)
    assert refused.returncode == 1
    assert "unfinished work" in refused.stderr
    assert "(25 frames done); continue with --resume, or start over with -y" in refused.stderr
    other = run(0, *words, "--resume", "--crf", "30")
    assert other.returncode == 1
    assert "belongs to another job (encoder options was " in other.stderr
    resumed = run(0, *words, "--resume")
    assert f"{target}: 25 frames already done" in resumed.stderr
    assert f"{target}: 110 frames, 25 of them from an earlier run, in " in resumed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    again = run(0, *words, "--resume")
    assert again.returncode == 0
    assert "exists, with nothing to resume; skipped" in again.stderr


@pytest.mark.needs_posix
def test_rewording_a_backends_description_keeps_unfinished_work(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.mp4"
    words = (str(clip), "-o", str(target), "--model", "identity")
    assert run(SECOND_SEGMENT, *words).returncode == -signal.SIGKILL
    monkeypatch.setattr("rtdeblur.backends.identity.IdentityBackend.description", "nothing is changed")
    monkeypatch.setattr("rtdeblur.media.resume._FRAMES", 25)
    monkeypatch.setattr("rtdeblur.media.resume._FEWEST_FRAMES", 25)
    assert main([*words, "--resume", "-v"]) == 0
    said = capsys.readouterr().err
    assert "nothing is changed" in said
    assert "25 frames already done" in said


@pytest.mark.needs_posix
def test_auto_does_not_continue_in_another_precision(clip: Path, tmp_path: Path) -> None:
    """As after an update, or with a cache that was lost."""
    target, words = tmp_path / "out.mkv", ("-q", "--model", "fast", "--resume")
    killed = run(SECOND_SEGMENT, clip, "-o", target, *words, "--precision", "fp32")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    refused = run(0, clip, "-o", target, *words)
    assert refused.returncode == 1
    assert "belongs to another job (precision was fp32, is int8); add --precision fp32" in refused.stderr
    done = run(0, clip, "-o", target, *words, "--precision", "fp32")
    assert done.returncode == 0, done.stderr


@pytest.mark.needs_posix
def test_y_discards_unfinished_work(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    words = (clip, "-o", target, "--model", "identity", "-y")
    assert run(SECOND_SEGMENT, *words).returncode == -signal.SIGKILL
    begun_anew = run(0, *words)
    assert begun_anew.returncode == 0
    assert "done already" not in begun_anew.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.needs_posix
@pytest.mark.parametrize("resume", [True, False])
def test_ctrl_c_keeps_what_is_done(
    long_clip: Path,
    tmp_path: Path,
    interrupted: Callable[..., subprocess.CompletedProcess[str]],
    resume: bool,
) -> None:
    words = ("--model", "identity", "-q", "--preset", "slow", *(["--resume"] if resume else []))
    done = interrupted(tmp_path, long_clip, "-o", tmp_path / "out.mkv", *words)
    assert done.returncode == 130
    assert "frames done and kept; continue with --resume" in done.stderr
    assert list(tmp_path.glob("*/*.segment"))


def test_resume_is_refused_for_pipes(
    clip: Path, capfd: pytest.CaptureFixture[str], fails: Callable[..., str], tmp_path: Path
) -> None:
    if os.isatty(1):
        pytest.skip("needs standard output to be no terminal")
    line = fails(clip, "-o", "-", "--model", "identity", "--resume")
    assert "a pipe cannot be resumed" in line
    assert main([str(clip), "-o", str(tmp_path / "out.mkv"), "--model", "identity", "-q", "--resume"]) == 0
    assert capfd.readouterr().err == ""
