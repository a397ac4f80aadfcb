"""The main job, with real files and the identity model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.cli import main
from rtdeblur.frames import FrameBatch
from rtdeblur.media.writer import FileWriter
from rtdeblur.model import DEFAULT_MODEL, bundled_models

Fails = Callable[..., str]
JPEG_START = b"\xff\xd8\xff"
Program = Callable[..., "subprocess.Popen[str]"]


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_video_is_restored_completely(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mkv"
    assert main([str(clip), "-o", str(output), "--model", "identity"]) == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert [line.startswith("rtdeblur: info: ") for line in said.err.splitlines()] == [True, True]
    assert "identity" in said.err.splitlines()[0]
    assert f"{output}: 10 frames" in said.err.splitlines()[1]
    assert frames_in(output) == 10
    with av.open(str(output)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    assert list(tmp_path.iterdir()) == [output]


def test_stdout_holds_only_the_json(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.mkv"
    assert main([str(clip), "-o", str(output), "--backend", "identity", "--json", "-q"]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    summary = json.loads(said.out)
    assert summary["input"] == str(clip)
    assert summary["output"] == str(output)
    assert (summary["model"], summary["backend"]) == ("identity", "identity")
    assert summary["decoder"] == "cpu"
    assert summary["encoder"] in ("libx264", "h264_nvenc")
    assert summary["frames"] == 10
    assert summary["fps"] == pytest.approx(10 / summary["seconds"], rel=0.1)
    assert summary["realtime_ratio"] == pytest.approx(summary["media_seconds"] / summary["seconds"], rel=0.1)
    assert set(summary["stage_seconds"]) == {"decode", "infer", "encode"}
    assert summary["warnings"] == []
    assert summary["damage"] == {"count": 0, "message": "", "kinds": {}}


@pytest.mark.skipif(not bundled_models(), reason="no model is bundled yet")
def test_the_bundled_model_runs(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--json", "--precision", "fp32", "--duration", "0.1", "-v"]
    assert main([str(clip), "-o", str(tmp_path / "out.mkv"), *words]) == 0
    said = capfd.readouterr()
    summary = json.loads(said.out)
    assert (summary["model"], summary["backend"]) == (DEFAULT_MODEL, "openvino")
    assert summary["stage_seconds"]["infer"] > 0
    assert "fp32" in summary["device"]
    assert summary["device"] in said.err  # what auto chose


def test_start_and_duration_select_a_part(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    words = ["--model", "identity", "-q", "--start", "0:00.08", "--duration", "0.2"]
    assert main([str(clip), "-o", str(output), *words]) == 0
    assert frames_in(output) == 5


def test_warnings_are_single_lines_and_survive_quiet(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = FileWriter.commit

    def warn(writer: FileWriter) -> None:
        writer.warnings.append("two\nlines")
        commit(writer)

    monkeypatch.setattr(FileWriter, "commit", warn)
    assert main([str(clip), "-o", str(tmp_path / "out.mkv"), "--model", "identity", "-q"]) == 0
    assert capfd.readouterr().err == "rtdeblur: warning: two lines\n"


@pytest.fixture
def damaged(clip: Path, tmp_path: Path) -> Path:
    """A clip with one frame that cannot be decoded."""
    damaged = tmp_path / "damaged.mkv"
    first, second, rest = clip.read_bytes().split(JPEG_START, 2)
    headers = 1000  # up to the compressed samples, in which no decoder finds a picture
    damaged.write_bytes(first + JPEG_START + second + bytes(headers) + rest[headers - len(JPEG_START) :])
    return damaged


def test_unrestored_frames_are_reported(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def infer(backend: IdentityBackend, batch: FrameBatch) -> FrameBatch:
        backend.unrestored += 1
        return batch

    monkeypatch.setattr(IdentityBackend, "infer", infer)
    words = ["--model", "identity", "-q", "--json", "--batch", "4"]
    assert main([str(clip), "-o", str(tmp_path / "out.mkv"), *words]) == 0
    said = capfd.readouterr()
    assert "3 of 10 frames came back broken from the model" in said.err
    assert json.loads(said.out)["frames_unrestored"] == 3


def test_damage_is_reported(damaged: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(damaged), "-o", str(tmp_path / "out.mkv"), "--model", "identity", "-q", "--json"]) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["damage"]["count"] > 0
    assert said.err.startswith("rtdeblur: warning: ")
    assert "damaged.mkv is damaged: " in said.err


def test_strict_refuses_damage_and_writes_nothing(damaged: Path, tmp_path: Path, fails: Fails) -> None:
    line = fails(damaged, "-o", tmp_path / "out.mkv", "--model", "identity", "-q", "--strict")
    assert "is damaged" in line
    assert str(damaged) in line
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.mkv"]


def test_strict_accepts_an_undamaged_file(clip: Path, tmp_path: Path) -> None:
    assert main([str(clip), "-o", str(tmp_path / "out.mkv"), "--model", "identity", "-q", "--strict"]) == 0


def test_no_progress_bar_without_a_terminal(clip: Path, tmp_path: Path, program: Program) -> None:
    process = program(clip, "-o", tmp_path / "out.mkv", "--model", "identity")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(err.splitlines()) == 2
    assert "\x1b" not in err
    assert "\r" not in err


@pytest.mark.needs_posix
@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals here")
@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_shows_a_progress_bar_unless_quiet(
    clip: Path, tmp_path: Path, program: Program, quiet: bool
) -> None:
    ours, theirs = os.openpty()
    words = [clip, "-o", tmp_path / "out.mkv", "--model", "identity", *(["-q"] if quiet else [])]
    with program(*words, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"}) as process:
        os.close(theirs)
        shown = read_all(ours)
    os.close(ours)
    assert process.returncode == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert bool(re.search(r"\d+%, \d+ of 10 frames .*", plain)) is not quiet
    assert bool(shown) is not quiet


def read_all(terminal: int) -> str:
    data = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side is closed
            return data.decode()
        if not piece:
            return data.decode()
        data += piece


@pytest.fixture(params=["missing", "empty", "garbage", "sound"])
def bad_input(request: pytest.FixtureRequest, tmp_path: Path, sound: Path) -> Path:
    path = tmp_path / "in"
    if request.param == "empty":
        path.touch()
    elif request.param == "garbage":
        path.write_bytes(bytes(range(256)) * 40)
    return sound if request.param == "sound" else path


def test_a_bad_input_is_one_line_and_leaves_nothing(bad_input: Path, tmp_path: Path, fails: Fails) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert str(bad_input) in fails(bad_input, "-o", out / "out.mp4", "--model", "identity")
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--codec", "nonsense"], "nonsense"),
        (["--model", "nonsense"], "nonsense"),
        (["--model", "missing.onnx"], "missing.onnx"),
    ],
)
def test_a_missing_input_is_one_line(
    words: list[str], told: str, clip: Path, tmp_path: Path, fails: Fails
) -> None:
    words = words if "--model" in words else [*words, "--model", "identity"]
    assert told in fails(clip, "-o", tmp_path / "out.mp4", *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("altered", "told"),
    [({}, "sha256"), ({"format_version": 99}, "format 99"), ({"format_version": None}, "format")],
)
def test_a_bad_model_is_one_line(
    altered: dict[str, object],
    told: str,
    clip: Path,
    tmp_path: Path,
    bundle: Callable[..., Path],
    fails: Fails,
) -> None:
    output = tmp_path / "out.mp4"
    assert told in fails(clip, "-o", output, "--model", bundle(**altered))
    assert not output.exists()


def test_identity_has_no_graph_for_a_backend(clip: Path, tmp_path: Path, fails: Fails) -> None:
    words = ("--model", "identity", "--backend", "openvino")
    assert "--backend openvino" in fails(clip, "-o", tmp_path / "out.mp4", *words, exit_code=2)


def test_the_output_may_not_be_the_input(clip: Path, tmp_path: Path, fails: Fails) -> None:
    copy = tmp_path / "clip.mkv"
    shutil.copyfile(clip, copy)
    assert "input" in fails(copy, "-o", copy, "-y", "--model", "identity")
    assert copy.read_bytes() == clip.read_bytes()


def test_an_existing_output_is_kept_without_y(clip: Path, tmp_path: Path, fails: Fails) -> None:
    output = tmp_path / "out.mkv"
    output.write_bytes(b"precious")
    assert "overwrit" in fails(clip, "-o", output, "--model", "identity")
    assert output.read_bytes() == b"precious"
    assert main([str(clip), "-o", str(output), "--model", "identity", "-q", "-y"]) == 0
    assert frames_in(output) == 10


@pytest.mark.parametrize("missing", [True, False])
def test_an_unusable_output_folder_is_one_line(
    missing: bool, clip: Path, tmp_path: Path, fails: Fails
) -> None:
    folder = tmp_path / "folder"
    if not missing:
        folder.write_text("a file, where a folder is expected")  # an example that fails for root too
    assert "folder" in fails(clip, "-o", folder / "out.mp4", "--model", "identity")
    assert folder.exists() is not missing
