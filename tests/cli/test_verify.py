"""`rtdeblur verify`: exit codes, lines, JSON, a table on a terminal."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from rtdeblur.cli import main

Fails = Callable[..., str]
Program = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def restored(clip: Path, tmp_path: Path) -> Path:
    path = tmp_path / "out.mkv"
    assert main([str(clip), "-o", str(path), "--model", "identity", "-q"]) == 0
    return path


@pytest.fixture
def silent(restored: Path, tmp_path: Path) -> Path:
    """A restored video without its sound."""
    path = tmp_path / "silent.mkv"
    with av.open(str(restored)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return path


def test_equal_files_exit_with_zero(clip: Path, restored: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(clip), str(restored)]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    *lines, last = said.out.splitlines()
    assert "same       frames: 10" in lines
    assert last == f"{len(lines)} same"
    assert main(["verify", "-q", str(clip), str(restored)]) == 0
    assert capfd.readouterr().out == ""


def test_differences_exit_with_one(clip: Path, silent: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "-q", str(clip), str(silent)]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert "different  audio streams: 1 → 0" in lines
    assert "different  audio 1: pcm_s16le → missing" in lines


def test_json_holds_every_check(clip: Path, silent: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--json", str(clip), str(silent)]) == 1
    summary = json.loads(capfd.readouterr().out)
    assert (summary["input"], summary["output"], summary["same"]) == (str(clip), str(silent), False)
    assert {"name": "frames", "status": "same", "before": "10", "after": "10"} in summary["checks"]


@pytest.mark.needs_posix
@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals here")
def test_a_terminal_shows_a_table(clip: Path, restored: Path, program: Program) -> None:
    ours, theirs = os.openpty()
    with program(
        "verify", clip, restored, stdout=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    ) as process:
        os.close(theirs)
        process.wait(timeout=60)
        shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert process.returncode == 0
    assert "┃" in shown
    assert "frame times" in shown


def test_photos_are_not_compared(
    clip: Path, tmp_path: Path, ffmpeg: Callable[..., bytes], fails: Fails
) -> None:
    photo = tmp_path / "photo.jpg"
    ffmpeg("-i", clip, "-frames:v", 1, photo)
    assert fails("verify", photo, photo).endswith("is a photo, expected a video\n")


def test_files_that_cannot_be_compared_are_one_line(clip: Path, tmp_path: Path, fails: Fails) -> None:
    assert "missing.mkv" in fails("verify", clip, tmp_path / "missing.mkv")
    assert "pipe" in fails("verify", clip, "-", exit_code=2)
    assert "OUTPUT" in fails("verify", clip, exit_code=2)
