from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from exports import Exported, use_ready_made
from import_path import import_path

from train.__main__ import main
from train.fit.config import Config
from train.fit.run import fit


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> object:
    """Run the command line; return its exit code."""
    monkeypatch.setattr("sys.argv", ["train", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_fit_and_evaluate_run_from_the_command_line(
    tiny: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny()
    changes = ("--set", "start='no.onnx'", "--set", "schedule.steps=2")
    assert run(monkeypatch, "fit", tmp_path / "tiny.toml", *changes) == 1
    assert capsys.readouterr().err.startswith("error: cannot read the weights of no.onnx: ")
    assert run(monkeypatch, "fit", tmp_path / "tiny.toml") == 0
    checkpoint = tmp_path / "run" / "last.safetensors"
    assert capsys.readouterr().out == f"{checkpoint}\n"
    assert run(monkeypatch, "evaluate", checkpoint, tmp_path / "pairs", "-o", tmp_path / "report") == 0
    assert (tmp_path / "report" / "report.md").is_file()


def test_an_error_is_one_line_and_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("outputs = 1")
    assert run(monkeypatch, "fit", path) == 2
    assert capsys.readouterr().err == "error: bad.toml has an unknown key 'outputs'; did you mean output?\n"
    path.write_text(
        'output = "x"\n[data]\npairs = ["nowhere"]\n[loss]\nl1 = 1\n[schedule]\nsteps = 1\n'
        '[runtime]\naccelerator = "cpu"\n'
    )
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "fit", path) == 1
    assert capsys.readouterr().err.startswith("error: the folder nowhere does not exist; expected ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_one_line(
    tiny: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny()
    change = "--set=runtime.accelerator='cuda'"
    assert run(monkeypatch, "fit", tmp_path / "tiny.toml", change) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: accelerator is 'cuda', but PyTorch ")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_missing_folders_are_made_and_an_export_prints_only_its_files(
    tiny: Callable[..., Config],
    donor: Exported,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    use_ready_made(donor, monkeypatch)
    state = {"step": 6, "options": {"batch": 2}}
    monkeypatch.setattr("train.export.bundle.load_generator", lambda *_: (donor.generator, state))
    last = fit(tiny())
    mixed, folder = tmp_path / "a" / "b" / "mixed.safetensors", tmp_path / "c" / "d"
    assert run(monkeypatch, "mix", last, last, "-o", mixed) == 0
    assert mixed.is_file()
    capfd.readouterr()
    words = ("--name", "mine", "--licence", "MIT", "--pictures", tmp_path / "pairs" / "sharp")
    assert run(monkeypatch, "export", mixed, folder, *words) == 0
    captured = capfd.readouterr()
    assert captured.out.split() == [str(folder / "mine.onnx"), str(folder / "mine-fp16.onnx")]
    assert captured.err == ""


def test_evaluate_needs_pairs_or_a_suite(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = fit(tiny())
    both = (tmp_path / "pairs", "--suite", tmp_path)
    for words in ((), both, ("--suite", tmp_path, "--clip")):
        assert run(monkeypatch, "evaluate", last, *words, "-o", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


STOPPED = """
import os, signal, tempfile
from train.__main__ import cli, main

@cli.command()
def work():
    with tempfile.TemporaryDirectory(dir="."):
        os.kill(os.getpid(), signal.SIGTERM)

main()
"""


@pytest.mark.needs_posix
def test_a_killed_command_removes_its_temporary_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED, "work"]
    env = os.environ | {"PYTHONPATH": import_path()}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")
    assert list(tmp_path.iterdir()) == []
