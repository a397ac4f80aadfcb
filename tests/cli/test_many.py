"""Several inputs, folders, standard input and output."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from import_path import import_path

from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.cli import main
from rtdeblur.cli.plan import plan

Fails = Callable[..., str]
Program = Callable[..., "subprocess.Popen[str]"]
IDENTITY = ("--model", "identity")


@pytest.fixture
def folder(clip: Path, sound: Path, tmp_path: Path) -> Path:
    """Two videos, one of them broken, and a file that is not a video."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "broken.mkv").write_text("no video")
    (folder / "notes.txt").write_text("no video")
    (folder / ".hidden.mkv").write_text("no video")
    shutil.copyfile(sound, folder / "sound.mkv")
    shutil.copyfile(clip, folder / "whole.mkv")
    shutil.copyfile(clip, folder / "sub" / "deep.mkv")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def count_frames(path: Path) -> int:
    words = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-of", "csv=p=0"]
    words += ["-show_entries", "stream=nb_read_frames", str(path)]
    return int(subprocess.run(words, capture_output=True, check=True, text=True).stdout.strip(",\n"))


def test_a_link_to_itself_is_skipped(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.mkv").unlink()
    (folder / "loop.mkv").symlink_to("loop.mkv")
    assert main([str(folder), "-o", f"{tmp_path}/out/", *IDENTITY]) == 0
    assert names(tmp_path / "out") == ["whole.mkv"]


def test_a_failed_file_does_not_stop_the_others(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    assert main([str(folder), "-o", f"{out}/", *IDENTITY]) == 1
    assert names(out) == ["whole.mkv"]
    said = capfd.readouterr().err.splitlines()
    assert len([line for line in said if "error" in line and "broken.mkv" in line]) == 1
    assert any("notes.txt" in line and "sub" in line and "--recursive" in line for line in said)
    assert any("sound.mkv" in line and "contains no video" in line and "skipped" in line for line in said)
    assert said[-1] == "rtdeblur: info: 1 of 2 videos restored, 1 failed, 3 skipped"


def test_recursive_keeps_the_structure_of_subfolders(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.mkv").unlink()
    out = folder / "out"  # in the middle of what is searched
    for _ in range(2):
        assert main([str(folder), "-r", "-y", "-o", f"{out}/", "--json", "-q", *IDENTITY]) == 0
        assert names(out) == ["sub/deep.mkv", "whole.mkv"]
        summary = json.loads(capfd.readouterr().out)
        assert [Path(file["input"]).name for file in summary["files"]] == ["deep.mkv", "whole.mkv"]
        assert (summary["restored"], summary["failed"], summary["not_begun"]) == (2, 0, [])
        assert summary["skipped"] == [str(folder / "notes.txt"), str(folder / "sound.mkv")]


def test_the_model_is_loaded_once_for_all_files(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copyfile(clip, tmp_path / "other.mkv")
    closed: list[object] = []
    monkeypatch.setattr(IdentityBackend, "close", lambda backend: closed.append(backend))
    assert main([str(clip), str(other), "-o", str(tmp_path / "out"), *IDENTITY]) == 0
    assert names(tmp_path / "out") == ["clip.mkv", "other.mkv"]
    assert len(closed) == 1
    assert capfd.readouterr().err.count("model identity") == 1


def test_format_sets_the_extension(clip: Path, tmp_path: Path) -> None:
    assert main([str(clip), "-o", f"{tmp_path}/", "--format", "mov", "-q", *IDENTITY]) == 0
    assert names(tmp_path) == ["clip.mov"]
    assert main([str(clip), "-o", str(tmp_path / "x.bin"), "--format", "mpegts", "-q", *IDENTITY]) == 0
    assert (tmp_path / "x.bin").read_bytes()[0] == 0x47  # the sync byte of a transport stream


def test_an_unwritable_container_becomes_mkv(tmp_path: Path) -> None:
    (tmp_path / "old.rmvb").touch()
    assert plan((tmp_path,), f"{tmp_path}/out/", None, False).jobs[0].output == tmp_path / "out" / "old.mkv"


def test_existing_outputs_can_be_skipped_or_replaced(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [str(clip), "-o", f"{tmp_path}/out/", *IDENTITY]
    assert main(words) == 0
    assert main(words) == 1
    assert "skip such files with --resume, or overwrite them with -y" in capfd.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert (
        "nothing to resume; skipped\nrtdeblur: info: nothing to restore, 1 skipped\n"
        in capfd.readouterr().err
    )
    assert main([*words, "-y"]) == 0


def test_a_folder_that_cannot_be_created_is_named(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([str(clip), "-o", f"{tmp_path}/file/out/", *IDENTITY]) == 1
    assert f"cannot create folder '{tmp_path}/file/out': Not a directory" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["nonsense", "wav", "image2", "null", "mp3", "flac", "aiff"])
def test_a_format_without_video_is_refused(name: str, clip: Path, tmp_path: Path, fails: Fails) -> None:
    assert repr(name) in fails(clip, "-o", tmp_path / "x.mkv", "--format", name, *IDENTITY)


def test_two_inputs_with_one_output_are_refused(
    clip: Path, folder: Path, tmp_path: Path, fails: Fails
) -> None:
    twin = shutil.copyfile(clip, tmp_path / "deep.mkv")
    line = fails(twin, folder / "sub", "-o", f"{tmp_path}/out/", *IDENTITY)
    assert str(twin) in line
    assert str(folder / "sub" / "deep.mkv") in line
    assert not (tmp_path / "out").exists()


def test_several_inputs_need_a_folder(clip: Path, tmp_path: Path, fails: Fails) -> None:
    assert "folder" in fails(clip, clip, "-o", tmp_path / "x.mp4", exit_code=2)
    assert "folder" in fails(tmp_path, "-o", tmp_path / "x.mp4", exit_code=2)
    assert "has no name" in fails("-", "-o", f"{tmp_path}/", exit_code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_videos_is_one_line(tmp_path: Path, fails: Fails) -> None:
    assert str(tmp_path) in fails(tmp_path, "-o", f"{tmp_path}/out/")


def test_a_bad_model_stops_before_the_first_file(clip: Path, tmp_path: Path, fails: Fails) -> None:
    other = shutil.copyfile(clip, tmp_path / "other.mkv")
    assert "nonsense" in fails(clip, other, "-o", tmp_path / "out", "--model", "nonsense")


def test_a_file_may_be_named_dash(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(clip, "./-")
    assert main(["./-", "-o", "out.mkv", "-q", *IDENTITY]) == 0
    assert main(["-q", *IDENTITY, "-o", "-.mkv", "--", "./-"]) == 0
    assert names(tmp_path) == ["-", "-.mkv", "out.mkv"]


@pytest.mark.needs_ffmpeg
@pytest.mark.parametrize(("words", "name"), [((), "matroska"), (("--format", "mp4"), "mp4")])
def test_standard_output_holds_only_the_video(
    words: tuple[str, ...], name: str, clip: Path, tmp_path: Path, program: Program
) -> None:
    path = tmp_path / "out"
    with path.open("wb") as file:
        process = program(clip, "-o", "-", "--json", *IDENTITY, *words, stdout=file)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(err[err.index("{") : err.rindex("}") + 1])["output"] == "-"
    assert name in subprocess.run(["ffprobe", path], capture_output=True, text=True, check=True).stderr
    assert count_frames(path) == 10


@pytest.mark.needs_ffmpeg
def test_a_pipe_is_restored_to_a_pipe(clip: Path, tmp_path: Path, program: Program) -> None:
    path = tmp_path / "out.mkv"
    with (
        subprocess.Popen(["cat", clip], stdout=subprocess.PIPE) as source,
        program("-", "-o", "-", "-q", *IDENTITY, stdin=source.stdout) as process,
        path.open("wb") as file,
    ):
        assert process.stdout is not None
        file.write(process.stdout.buffer.read())
    assert process.returncode == 0
    assert count_frames(path) == 10


def test_messages_call_pipes_by_their_names(clip: Path, program: Program) -> None:
    with program("-", "-o", "-", *IDENTITY, stdin=subprocess.PIPE, text=False) as process:
        _, said = process.communicate(clip.read_bytes(), timeout=60)
    assert b"info: standard output: 10 frames in" in said
    with program("-", "-o", "-", *IDENTITY, stdin=subprocess.PIPE, text=False) as process:
        _, said = process.communicate(b"no video", timeout=60)
    assert b"error: cannot read standard input: " in said
    assert b"raw frames need a container such as y4m or nut" in said


def test_a_redirected_file_is_seekable(
    clip: Path, tmp_path: Path, program: Program, ffmpeg: Callable[..., bytes]
) -> None:
    index_last = tmp_path / "in.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.4", "-c:v", "libx264", index_last)
    (tmp_path / "-").write_text("no video, and in the way")
    with index_last.open("rb") as file:
        words = ("-", "-o", tmp_path / "out.mkv", "-q", "--start", "0.2", *IDENTITY)
        with program(
            *words, stdin=file, cwd=tmp_path, env={**os.environ, "PYTHONPATH": import_path()}
        ) as process:
            assert process.wait(timeout=60) == 0
    assert count_frames(tmp_path / "out.mkv") == 5


@pytest.mark.needs_posix
def test_a_signal_ends_the_run_and_keeps_finished_files(
    clip: Path, long_clip: Path, tmp_path: Path, program: Program
) -> None:
    for name, source in (("a.mkv", clip), ("b.mkv", long_clip), ("c.mkv", clip)):
        (tmp_path / name).symlink_to(source)
    out = tmp_path / "out"
    process = program(tmp_path, "-o", f"{out}/", "--json", "--preset", "placebo", *IDENTITY)
    deadline = time.monotonic() + 60
    while not list(out.glob(".b.mkv*")):
        assert time.monotonic() < deadline, "the second never began"
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    printed, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert names(out) == ["a.mkv"]
    summary = json.loads(printed)
    assert (summary["interrupted"], summary["not_begun"]) == (
        [str(tmp_path / "b.mkv")],
        [str(tmp_path / "c.mkv")],
    )
    assert "1 of 3 videos restored, 1 interrupted, 1 not started" in err


@pytest.mark.needs_posix
@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_full_disk_costs_one_file(clip: Path, long_clip: Path, tmp_path: Path, program: Program) -> None:
    import resource

    def little_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    out = tmp_path / "out"
    process = program(
        long_clip, clip, "-o", f"{out}/", "-q", "--preset", "ultrafast", *IDENTITY, preexec_fn=little_disk
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert names(out) == ["clip.mkv"]
    assert err.count("\n") == 1
    assert "File too large" in err


def test_a_closed_output_pipe_ends_the_run_quietly(long_clip: Path, program: Program) -> None:
    process = program(long_clip, "-o", "-", "-q", *IDENTITY)
    assert process.stdout is not None
    assert process.stdout.buffer.read(1000)
    process.stdout.close()
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.needs_posix
@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals here")
@pytest.mark.parametrize("words", [("-", "-o", "out.mkv"), ("{clip}", "-o", "-")])
def test_video_is_not_written_to_a_terminal(words: tuple[str, ...], clip: Path, program: Program) -> None:
    ours, theirs = os.openpty()
    with program(*(w.format(clip=clip) for w in words), *IDENTITY, stdin=theirs, stdout=theirs) as process:
        _, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode in (1, 2)
    assert "is a terminal" in err
    assert err.count("\n") == 1


@pytest.mark.needs_ffmpeg
@pytest.mark.needs_posix
@pytest.mark.skipif(os.name == "nt", reason="Windows has other pipes")
def test_named_pipes_and_devices_are_not_replaced(clip: Path, tmp_path: Path, program: Program) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / "out.mkv"
    os.mkfifo(pipe)
    with program(clip, "-o", pipe, "-q", *IDENTITY) as process:
        out.write_bytes(pipe.read_bytes())
    assert process.returncode == 0
    assert pipe.is_fifo()
    assert count_frames(out) == 10
    assert main([str(clip), "-o", os.devnull, "-y", "-q", *IDENTITY]) == 0
    assert Path(os.devnull).is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_device_is_one_line(clip: Path, fails: Fails) -> None:
    assert "No space left" in fails(clip, "-o", "/dev/full", "-q", *IDENTITY)
