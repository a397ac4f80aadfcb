"""Rules of every command: help, version, exit codes, one line per error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

import rtdeblur
from rtdeblur.cli import main
from rtdeblur.cli.root import root

Fails = Callable[..., str]


@pytest.mark.parametrize("option", ["--help", "--help-all"])
def test_help_shows_both_forms(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0
    text = capsys.readouterr().out
    assert "rtdeblur INPUT... [-o OUTPUT]" in text
    assert "rtdeblur COMMAND" in text


def test_all_help_has_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help-all"]) == 0
    text = capsys.readouterr().out
    for word in ("--model", "--crf", "--json", "--version", "models", "doctor"):
        assert word in text


@pytest.mark.parametrize("args", [["-h"], ["clip.mp4", "--help"], ["clip.mp4", "-o", "out.mp4", "-h"]])
def test_every_form_of_help_prints_the_same(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    expected = capsys.readouterr().out
    assert main(args) == 0
    assert capsys.readouterr().out == expected


def test_no_arguments_print_help_and_exit_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "rtdeblur INPUT... [-o OUTPUT]" in said.err


@pytest.mark.parametrize("args", [["--version"], ["clip.mp4", "--version"]])
def test_version_is_printed(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 0
    assert capsys.readouterr().out == f"rtdeblur {rtdeblur.__version__}\n"


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["-o", "out.mp4"], "INPUT"),
        (["clip.mp4", "-o", "out.mp4", "--bogus"], "--bogus"),
        (["clip.mp4", "-o", "out.mp4", "--backend", "abacus"], "abacus"),
        (["clip.mp4", "-o", "out.mp4", "--batch", "0"], "--batch"),
        (["clip.mp4", "-o", "out.mp4", "--crf", "best"], "best"),
        (["clip.mp4", "-o", "out.mp4", "--start", "1:75"], "1:75"),
        (["clip.mp4", "-o", "out.mp4", "--duration", "0"], "--duration"),
        (["models", "--bogus"], "--bogus"),
    ],
)
def test_wrong_usage_is_one_line_and_exits_with_two(
    args: list[str], word: str, fails: Callable[..., str]
) -> None:
    line = fails(*args, exit_code=2)
    assert word in line
    assert "--help" in line


@pytest.mark.parametrize(
    ("args", "end"),
    [
        (["clip.mp4", "--bogus"], "Try 'rtdeblur --help'."),
        (["live", "--bogus"], " Try 'rtdeblur live --help'."),
        (["batch", "clip.mp4"], "add -o FOLDER/. Try 'rtdeblur batch --help'."),
        (["models", "bogus"], " Try 'rtdeblur models --help'."),
        (["models", "add"], "'MODEL.onnx'. Try 'rtdeblur models add --help'."),
        (["completion"], "Choose from: bash, zsh, fish. Try 'rtdeblur completion --help'."),
    ],
)
def test_wrong_usage_names_the_help_of_its_command(args: list[str], end: str, fails: Fails) -> None:
    assert fails(*args, exit_code=2).endswith(f"{end}\n")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["engines", "--unused", "x"], "'x' is not a valid number."),
        (["bench", "--seconds", "x"], "'x' is not a valid number."),
        (["build", "--depth", "x"], "'x' is not a valid whole number."),
        (["preview", "clip.mp4", "--max-pixels", "x"], "'x' is not a valid whole number."),
        (["batch", "clip.mp4", "--split", "x"], "'x' is not a valid whole number."),
    ],
)
def test_a_number_is_called_a_number(args: list[str], says: str, fails: Fails) -> None:
    assert says in fails(*args, exit_code=2)


def test_a_path_distinguishes_a_file_from_a_command(fails: Fails) -> None:
    assert "input 'models' does not exist" in fails("./models")
    assert "-o" in fails("models", "-o", "out.mp4", exit_code=2)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (rtdeblur.InputError("first\nsecond"), "first second"),
        (OSError(28, "No space left on device", "out.mp4"), "out.mp4: No space left on device"),
    ],
)
def test_an_error_is_one_line(
    error: Exception, text: str, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(root, "invoke", fail)
    assert fails("models") == f"rtdeblur: error: {text}\n"


def test_debug_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTDEBLUR_DEBUG", "1")
    assert main(["missing.mp4", "-o", "out.mp4"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("rtdeblur: error: ")


def test_a_closed_pipe_is_not_an_error(program: Callable[..., subprocess.Popen[str]]) -> None:
    process = program("--help")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=30) == 1
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize(
    ("thread", "shut_down"), [("", "shut down\n"), ("Thread(target=Event().wait, daemon=True).start()", "")]
)
def test_python_is_not_shut_down_beside_a_blocked_thread(thread: str, shut_down: str) -> None:
    lines = [
        "import atexit",
        "from threading import Event, Thread",
        "from rtdeblur.cli.process import leave",
        "atexit.register(print, 'shut down')",
        thread,
        "leave(3)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, shut_down, "")
