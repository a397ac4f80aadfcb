"""What people try in their first minutes: the exit code, the message and the result of each."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from import_path import ROOT, import_path

from rtdeblur.cli import main, settings
from rtdeblur.cli.help import COMMANDS
from rtdeblur.cli.progress import RunPace
from rtdeblur.cli.report import clock, size

IDENTITY = ("--model", "identity")
Program = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def here(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with video.mkv in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(clip, "video.mkv")
    return tmp_path


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.VARIABLE, "")


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def frames_in(path: str | Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def ran(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rtdeblur", *words]
    environment = {**os.environ, "PYTHONPATH": import_path()}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


# -- guesses


def test_one_argument_writes_next_to_the_video(here: Path) -> None:
    done = ran("video.mkv", *IDENTITY)
    assert done.returncode == 0
    assert "rtdeblur: info: writing video.deblurred.mkv" in done.stderr.splitlines()
    assert names(here) == ["video.deblurred.mkv", "video.mkv"]
    assert frames_in("video.deblurred.mkv") == 10
    again = ran("video.mkv", *IDENTITY)
    assert again.returncode == 1
    assert "overwrit" in again.stderr


def test_outputs_of_an_earlier_run_are_skipped(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copyfile("video.mkv", "other.mkv")
    for _ in range(2):
        assert main([*sorted(path.name for path in here.iterdir()), "-y", *IDENTITY]) == 0
        assert names(here) == ["other.deblurred.mkv", "other.mkv", "video.deblurred.mkv", "video.mkv"]
    assert "skipped: other.deblurred.mkv, video.deblurred.mkv" in capfd.readouterr().err


def test_a_folder_argument_writes_to_a_folder_next_to_it(here: Path) -> None:
    (here / "clips" / "sub").mkdir(parents=True)
    shutil.move("video.mkv", "clips/sub/video.mkv")
    assert main(["clips", "-r", "-q", *IDENTITY]) == 0
    assert names(here) == ["clips.deblurred/sub/video.mkv", "clips/sub/video.mkv"]


def test_a_link_to_itself_is_no_suggestion(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "2019.mp4").symlink_to("2019.mp4")
    assert main(["2019.mp4", "-o", "out.mkv"]) == 1
    assert "'2019.mp4' does not exist; check the name" in capfd.readouterr().err


@pytest.mark.parametrize("words", [("-i", "video.mkv"), ("--input", "video.mkv"), ("deblur", "video.mkv")])
def test_ffmpeg_style_arguments_work(words: tuple[str, ...], here: Path) -> None:
    assert main([*words, "-o", "out.mkv", "-q", *IDENTITY]) == 0
    assert frames_in("out.mkv") == 10


@pytest.mark.parametrize(
    ("words", "exit_code", "told"),
    [
        (["video.mkv", "out.mp4"], 2, "'out.mp4' does not exist; did you mean -o out.mp4?"),
        (["-i", "video.mkv", "out.mp4"], 2, "did you mean -o out.mp4?"),
        (["-i", "video.mkv", "video.mkv"], 2, "did you mean -o video.mkv?"),
        (["my", "video.mp4"], 2, "'my' does not exist; does the name need quotes?"),
        (["my", "own", "clip.mkv"], 2, "the name needs quotes: 'my own clip.mkv'"),
        (["video.mkv", "-o", "my", "out.mp4"], 2, "put quotes around names with spaces"),
        (["vidoe.mkv"], 1, "did you mean 'video.mkv'?"),
        (["nowhere/x.mkv"], 1, "there is no folder 'nowhere'"),
        (["quite-different.mp4"], 1, "check the name"),
        (["verfy", "video.mkv", "out.mkv"], 2, "did you mean verify?"),
        (["http://127.0.0.1:1/x.mp4", "-o", "o.mp4"], 2, "'http://127.0.0.1:1/x.mp4' is an address"),
        (["RTSP://camera/1"], 2, "rtdeblur live"),
        (["video.mkv", "-o", "rtmp://server/app"], 2, "--send URL"),
        (["frame%04d.png", "-o", "o.mp4"], 1, "frame%04d.png"),
        (["frame%04d.dpx", "-o", "o.mp4"], 2, "pattern of numbered pictures"),
        (["*.mov"], 2, "no file here matches it"),
        (["*.mkv"], 2, "remove the quotes"),
        (["video.mkv", "-crf", "20"], 2, "did you mean --crf?"),
        (["video.mkv", "-c:v", "libx264"], 2, "did you mean --codec?"),
        (["video.mkv", "--qualiti", "small"], 2, "--quality"),
        (["-", "-q"], 2, "-o FILE"),
        ([""], 2, "name of a file is empty"),
        (["video.mkv", "-o", ""], 2, "name after -o is empty"),
        (["my", "own", "clip.mkv"], 2, "'my own clip.mkv'. Try 'rtdeblur --help'."),
        (["VIDEO.MKV"], 1, "did you mean 'video.mkv'?"),
        (["~/x.mkv"], 1, "the shell expands ~"),
        (["camera"], 2, "rtdeblur live"),
        (["0"], 2, "rtdeblur live"),
        (["/dev/video9"], 2, "rtdeblur live"),
        (["restore", "video.mkv"], 2, "did you mean rtdeblur video.mkv?"),
        (["help", "nonsense"], 2, "'nonsense' is not a command"),
        (["-help"], 2, "did you mean --help?"),
        (["-?"], 2, "did you mean --help?"),
        (["video.mkv", "-b:v", "5M"], 2, "did you mean --quality or --crf?"),
        (["video.mkv", "-f", "mp4"], 2, "did you mean --format?"),
        (["video.mkv", "-an"], 2, "stay as they are"),
        (["video.mkv", "-map", "0"], 2, "stay as they are"),
        (["video.mkv", "-r", "30"], 2, "'30' is a number, expected a file; -r means --recursive"),
        (["video.mkv", "--strength", "high"], 2, "'high' is not a valid number"),
        (
            ["video.mkv", "-o", "out", "-q"],
            1,
            "'out' has no extension; add .mp4, .mkv, .mov or .webm; a folder ends in",
        ),
        (["video.mkv", "-o", "no/out.mkv", "-q"], 1, "No such file or directory; create it first"),
        (
            ["video.mkv", "-o", "no/out.mkv", "-q", "--resume"],
            1,
            "No such file or directory; create it first",
        ),
        (["video.mkv", "-o", "out.png", "-q"], 1, "a single picture, expected a video"),
        (["video.mkv", "-o", "frame%04d.jpg", "-q"], 1, "a single picture, expected a video"),
        (
            ["video.mkv", "-o", "o.mkv", "-q", "--start", "99"],
            1,
            "no frame in the requested part; it lasts 0.4 s",
        ),
        (["-o", "out.mkv"], 2, "INPUT"),
    ],
)
def test_likely_mistakes_get_a_suggestion(
    words: list[str], exit_code: int, told: str, here: Path, fails: Callable[..., str], clip: Path
) -> None:
    (here / "my own clip.mkv").symlink_to(clip)
    assert told in fails(*words, exit_code=exit_code)
    assert names(here) == ["my own clip.mkv", "video.mkv"]


def test_a_leading_dash_is_explained(here: Path, fails: Callable[..., str]) -> None:
    shutil.move("video.mkv", "-dash.mkv")
    assert "did you mean ./-dash.mkv?" in fails("-dash.mkv", exit_code=2)
    assert main(["./-dash.mkv", "-q", *IDENTITY]) == 0
    assert names(here) == ["-dash.deblurred.mkv", "-dash.mkv"]


def test_an_existing_output_is_not_announced(here: Path, fails: Callable[..., str]) -> None:
    Path("video.deblurred.mkv").touch()
    assert "already exists; overwrite it with -y" in fails("video.mkv", *IDENTITY)


def test_a_folder_does_not_restore_outputs_of_an_earlier_run(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "clips").mkdir()
    shutil.move("video.mkv", "clips/video.mkv")
    assert main(["clips/video.mkv", "-q", *IDENTITY]) == 0
    assert main(["clips", *IDENTITY]) == 0
    assert "skipped: clips/video.deblurred.mkv" in capfd.readouterr().err
    assert names(here / "clips.deblurred") == ["video.mkv"]


def test_values_are_accepted_in_any_case(here: Path) -> None:
    assert main(["video.mkv", "-o", "out.mkv", "-q", *IDENTITY, "--quality", "SMALL"]) == 0


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_words_for_help_print_the_help(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    assert capsys.readouterr().out.startswith("Usage: rtdeblur INPUT")


@pytest.mark.parametrize("word", ["version", "-V", "--version"])
def test_words_for_the_version_print_it(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    assert capsys.readouterr().out.startswith("rtdeblur ")


def test_help_on_a_command_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "verify"]) == 0
    assert capsys.readouterr().out.startswith("Usage: rtdeblur verify")


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        (["--start", "0.08", "--end", "0.2"], 3),
        (["-ss", "0.08", "-to", "0.2"], 3),
        (["-t", "0.12"], 3),
        (["--end", "0.2"], 5),
        (["--frames", "2:5"], 3),
        (["--frames", "7:"], 3),
        (["--frames", ":4"], 4),
        (["--frames", "9:100"], 1),
    ],
)
def test_a_part_is_restored_by_times_or_frames(words: list[str], frames: int, here: Path) -> None:
    assert main(["video.mkv", "-o", "out.mkv", "-q", *IDENTITY, *words]) == 0
    assert frames_in("out.mkv") == frames


@pytest.mark.needs_ffmpeg
@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts", ".avi"])
def test_frame_numbers_match_the_decoder(ending: str, make_clip: Callable[..., Path], tmp_path: Path) -> None:
    words = ["-preset", "medium", "-bf", "3"]  # packets are not in the order of frames
    source = make_clip(ending, *words, frames=30)
    assert (
        main(
            [
                str(source),
                "-o",
                str(tmp_path / "out.mkv"),
                "-q",
                "--codec",
                "ffv1",
                "--frames",
                "7:20",
                *IDENTITY,
            ]
        )
        == 0
    )
    pictures = []
    for path in (source, tmp_path / "out.mkv"):
        with av.open(str(path)) as container:
            pictures.append([frame.to_ndarray().tobytes() for frame in container.decode(video=0)])
    assert pictures[1] == pictures[0][7:20]


@pytest.mark.parametrize(
    ("words", "exit_code", "told"),
    [
        (["--frames", "5"], 2, "FIRST:END"),
        (["--frames", "5:5"], 2, "FIRST:END"),
        (["--frames", "10:"], 1, "has 10 frames; there is no frame 10"),
        (["--frames", "1:2", "--start", "1"], 2, "leave out --start"),
        (["--end", "2", "--duration", "1"], 2, "leave out one"),
        (["--start", "2", "--end", "1"], 2, "more than --start"),
    ],
)
def test_an_invalid_part_is_refused(
    words: list[str], exit_code: int, told: str, here: Path, fails: Callable[..., str]
) -> None:
    assert told in fails("video.mkv", "-o", "out.mkv", "-q", *IDENTITY, *words, exit_code=exit_code)


# -- progress and ends


def test_pace_estimates_speed_and_remaining_time() -> None:
    pace = RunPace(expected=100)
    pace.update(4, 10.0)  # after starting, which took 10 s
    assert (pace.share, pace.speed) == ("4%, 4 of 100 frames", "")
    pace.update(24, 12.0)
    assert pace.share == "24%, 24 of 100 frames"
    assert pace.speed == "10.0 fps, 0:08 left"
    pace.update(120, 20.0)
    assert pace.share == "100%, 120 of 120 frames"


def test_pace_of_a_resumed_run_excludes_finished_frames() -> None:
    pace = RunPace(expected=1000, done=500)
    pace.update(400, 1.0)
    assert pace.fps == 0
    pace.update(504, 2.0)
    pace.update(514, 3.0)
    assert pace.speed == "10.0 fps, 0:49 left"


def test_pace_without_a_length_has_no_remaining_time() -> None:
    pace = RunPace(expected=None)
    pace.update(4, 0.0)
    pace.update(8, 1.0)
    assert (pace.share, pace.speed) == ("8 frames", "4.0 fps")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0:00"), (38, "0:38"), (725, "12:05"), (3725, "1:02:05")]
)
def test_durations_are_formatted_as_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (9, "9 B"),
        (950, "950 B"),
        (999.6, "1.0 kB"),
        (1234, "1.2 kB"),
        (1500, "1.5 kB"),
        (123_456, "123.5 kB"),
        (5.5e6, "5.5 MB"),
        (12_340_000, "12.3 MB"),
        (1_250_000_000, "1.25 GB"),
        (4e9, "4.00 GB"),
    ],
)
def test_sizes_are_formatted_with_units(number: float, text: str) -> None:
    assert size(number) == text


def test_a_long_run_prints_an_estimate_first(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtdeblur.cli.progress._MEASURED_SECONDS", 0.0)
    monkeypatch.setattr("rtdeblur.cli.progress._LONG_SECONDS", 0.0)
    monkeypatch.setattr("rtdeblur.cli.progress._LINE_SECONDS", 0.0)
    assert main(["video.mkv", "-o", "out.mkv", "--batch", "1", *IDENTITY]) == 0
    said = capfd.readouterr().err
    assert "info: about 0:0" in said
    assert " for 10 frames at " in said
    assert "%, 5 of 10 frames, " in said
    assert said.index("about") < said.index("of 10 frames,")


def test_the_last_line_has_the_output_and_its_size(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["video.mkv", "-o", "out.mkv", "--json", *IDENTITY]) == 0
    said = capfd.readouterr()
    before, after = (Path(name).stat().st_size for name in ("video.mkv", "out.mkv"))
    assert f"; {size(before)} before, {size(after)} after" in said.err
    assert said.err.splitlines()[-1].startswith("rtdeblur: info: out.mkv: 10 frames in ")
    summary = json.loads(said.out)
    assert (summary["input_bytes"], summary["output_bytes"]) == (before, after)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals to one process")
def test_a_run_resumed_after_ctrl_c_gives_the_same_bytes(
    long_clip: Path, tmp_path: Path, interrupted: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = (*IDENTITY, "-q", "--preset", "medium")
    done = interrupted(tmp_path, long_clip, "-o", tmp_path / "out.mkv", *words)
    assert done.returncode == 130
    assert "stopped; " in done.stderr
    assert "continue with --resume, or start over with -y" in done.stderr
    assert main([str(long_clip), "-o", str(tmp_path / "out.mkv"), *words, "--resume"]) == 0
    assert main([str(long_clip), "-o", str(tmp_path / "whole.mkv"), *words]) == 0
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()
    assert names(tmp_path) == ["out.mkv", "whole.mkv"]


# -- quality and configuration


def test_qualities_are_ordered_and_lossless_is_exact(here: Path) -> None:
    sizes = []
    for quality in ("small", "balanced", "high", "lossless"):
        assert main(["video.mkv", "-o", "out.mkv", "-y", "-q", *IDENTITY, "--quality", quality]) == 0
        sizes.append(Path("out.mkv").stat().st_size)
    assert sizes == sorted(set(sizes))
    pictures = []
    for name in ("video.mkv", "out.mkv"):
        with av.open(name) as container:
            pictures.append([[bytes(plane) for plane in frame.planes] for frame in container.decode(video=0)])
    assert pictures[0] == pictures[1]
    assert main(["video.mkv", "-o", "default.mkv", "-q", *IDENTITY]) == 0
    assert Path("default.mkv").stat().st_size == sizes[1]


@pytest.mark.parametrize(
    ("alias", "encoder"),
    [
        ("h264", "libx264"),
        ("HEVC", "libx265"),
        ("h265", "libx265"),
        ("av1", "libsvtav1"),
        ("vp9", "libvpx-vp9"),
        ("prores", "prores_ks"),
        ("ffv1", "ffv1"),
    ],
)
def test_codecs_are_accepted_by_their_common_names(
    alias: str, encoder: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["video.mkv", "-o", "out.mkv", "-q", "--json", *IDENTITY, "--codec", alias]) == 0
    assert json.loads(capfd.readouterr().out)["encoder"] == encoder


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9"])
def test_no_encoder_speaks(codec: str, here: Path, program: Callable[..., subprocess.Popen[str]]) -> None:
    """In a process of its own: SVT-AV1 keeps the log level of the first time that a process opens it."""
    words = (here / "video.mkv", "-o", here / "out.mkv", "-q", *IDENTITY, "--codec", codec)
    with program(*words) as process:
        assert process.communicate(timeout=120) == ("", "")
    assert process.returncode == 0


def test_a_misspelt_codec_gets_a_suggestion(here: Path, fails: Callable[..., str]) -> None:
    line = fails("video.mkv", "-o", "out.mkv", *IDENTITY, "--codec", "libx256", "-q")
    assert "FFmpeg has no video encoder called 'libx256'; did you mean libx265?" in line


@pytest.fixture
def configured(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = here / "config.toml"
    monkeypatch.setenv(settings.VARIABLE, str(path))
    return path


def test_a_missing_file_that_the_environment_names_is_an_error(
    configured: Path, fails: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    line = fails("video.mkv", "-o", "out.mkv")
    assert f"the configuration {str(configured)!r}, which RTDEBLUR_CONFIG names, does not exist" in line
    assert main(["config"]) == 0
    assert str(configured) in capfd.readouterr().out


def test_the_configuration_sets_defaults_that_arguments_override(
    configured: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    configured.write_text('codec = "ffv1"\nmodel = "identity"\nquiet = true\n')
    assert main(["video.mkv", "-o", "out.mkv", "--json"]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert json.loads(said.out)["encoder"] == "ffv1"
    assert main(["video.mkv", "-o", "out.mkv", "-y", "--json", "--codec", "libx264"]) == 0
    assert json.loads(capfd.readouterr().out)["encoder"] == "libx264"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('qality = "high"', "unknown key 'qality'; did you mean quality?"),
        ('quality = "hgih"', "quality = 'hgih'"),
        ("quality = true", "expected text or a number"),
        ('quiet = "yes"', "expected true or false"),
        ('output = "x.mp4"', "has 'output', which concerns a single run; give it on the command line"),
        ('seed_ = "x.mp4"', "unknown key 'seed_'"),
        ("[liv]", "unknown table [liv]; did you mean live?"),
        ("quality = ", "cannot read the configuration"),
    ],
)
def test_an_invalid_configuration_is_reported(
    text: str, told: str, configured: Path, fails: Callable[..., str]
) -> None:
    configured.write_text(text)
    for words in (["video.mkv", "-o", "out.mkv"], ["config"]):
        line = fails(*words)
        assert told in line
        assert str(configured) in line


def test_config_shows_the_file_and_its_settings(configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    assert str(configured) in capsys.readouterr().out
    configured.write_text('quality = "high"\n[live]\nweb = "8765"\n')
    assert main(["config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(configured)
    assert {'  quality = "high"', "rtdeblur live", '  web = "8765"'} <= set(lines)
    assert main(["config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deblur"] == {"quality": "high"}


@pytest.mark.parametrize("words", [("text.mp4",), ("video.mkv", "--model", "bogus")])
def test_nothing_is_announced_that_fails_at_once(
    here: Path, words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("text.mp4").write_text("no video")
    assert main([*words]) == 1
    assert "info: writing" not in capfd.readouterr().err


# -- help, completion, messages


def test_help_fits_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "--help-all" in lines[-1]
    for word in ("--output", "--quality", "--resume", *COMMANDS):
        assert any(word in line for line in lines)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"Usage: rtdeblur {command}" in capsys.readouterr().out


def test_help_on_completion_has_a_line_for_each_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line.partition(":")[0] for line in lines if "rtdeblur completion " in line][1:] == [
        "bash",
        "zsh",
        "fish",
    ]


def test_no_summary_in_help_is_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help-all"], ["models", "--help"]):
        assert main(words) == 0
        assert not re.search(r"[a-z]\.\.\.", capsys.readouterr().out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_RTDEBLUR_COMPLETE={shell}_complete" in capsys.readouterr().out.replace("'", "")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["rtdeblur", ""], ["plain,live", "plain,completion"]),
        (["rtdeblur", "mod"], ["plain,models"]),
        (["rtdeblur", "--qua"], ["plain,--quality"]),
        (["rtdeblur", "vid"], ["file,vid"]),
        (["rtdeblur", "video.mkv", "--quality", ""], ["plain,small", "plain,lossless"]),
        (["rtdeblur", "video.mkv", "--model", "fa"], ["plain,fast"]),
        (["rtdeblur", "video.mkv", "-o", "x.mkv", "oth"], ["file,oth"]),
        (["rtdeblur", "verify", "--js"], ["plain,--json"]),
        (["rtdeblur", "completion", "z"], ["plain,zsh"]),
    ],
)
def test_the_shell_completes_commands_options_and_files(words: list[str], completed: list[str]) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": import_path(),
        "_RTDEBLUR_COMPLETE": "bash_complete",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    command = [sys.executable, "-m", "rtdeblur"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.stderr == ""
    assert set(completed) <= set(done.stdout.splitlines())


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    (tmp_path / "rtdeblur").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rtdeblur "$@"\n')
    (tmp_path / "rtdeblur").chmod(0o755)
    script = 'eval "$(rtdeblur completion bash)"; COMP_WORDS=(rtdeblur doc); COMP_CWORD=1; '
    script += '_rtdeblur_completion rtdeblur; echo "${COMPREPLY[@]}"'
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": import_path(), "PATH": path}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, env=environment)
    assert "Traceback" not in done.stderr
    assert "doctor" in done.stdout.split()


def test_the_man_page_matches_the_options() -> None:
    script = ROOT / "scripts" / "man_page.py"
    environment = {**os.environ, "PYTHONPATH": import_path()}
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_details_are_printed_only_with_v(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtdeblur.cli.machine.why_no_gpu", lambda: "no NVIDIA GPU")
    words = ["video.mkv", "--duration", "0.04", "--codec", "libx264", "-y", "-o", "out.mkv"]
    assert main(words) == 0
    first = capfd.readouterr().err.splitlines()[0]
    assert first == "rtdeblur: info: model fast on the CPU (no NVIDIA GPU); encoder libx264"
    assert main([*words, "-v"]) == 0
    said = capfd.readouterr().err
    assert "rtdeblur: detail: model fast; openvino" in said


def test_the_log_file_has_everything_even_with_quiet(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["video.mkv", "-o", "out.mkv", "-q", *IDENTITY, "--log-file", "run.log"]
    assert main(words) == 0
    assert capfd.readouterr().err == ""
    assert main(words) == 1  # it exists
    log = Path("run.log").read_text()
    for text in ("info: model identity", "detail: model identity", "10 frames in", "error: "):
        assert text in log
    assert all(line[:2] == "20" for line in log.splitlines())


def test_an_unwritable_log_file_is_an_error(here: Path, fails: Callable[..., str]) -> None:
    line = fails("video.mkv", "-o", "out.mkv", *IDENTITY, "--log-file", "nowhere/run.log")
    assert "cannot write the log file 'nowhere/run.log'" in line


def test_the_list_of_models_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "use it" in text.lower()
