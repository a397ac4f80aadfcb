"""Ctrl-C and `kill` leave no file behind, and cost none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

import rtdeblur
from rtdeblur.cli import main
from rtdeblur.cli.root import root
from rtdeblur.cli.signals import handling

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals to one process")


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_ends_at_once_and_leaves_what_was_there(
    number: int,
    exit_code: int,
    long_clip: Path,
    tmp_path: Path,
    program: Callable[..., subprocess.Popen[str]],
) -> None:
    output = tmp_path / "out.mkv"
    output.write_bytes(b"precious")
    process = program(long_clip, "-o", output, "--model", "identity", "-y", "--preset", "placebo")
    wait_until(lambda: len(list(tmp_path.iterdir())) > 1)
    time.sleep(0.5)  # into the run
    assert process.poll() is None
    process.send_signal(number)
    began = time.perf_counter()
    out, err = process.communicate(timeout=30)
    assert time.perf_counter() - began < 5  # two seconds are promised, on a machine with nothing else to do
    assert process.returncode == exit_code
    assert out == ""
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == [output]
    assert output.read_bytes() == b"precious"


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it never began"
        time.sleep(0.02)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    received: list[int] = []
    with handling(received.append):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert received == [signal.SIGTERM, signal.SIGINT]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_pipe_without_a_word_ends_with_the_program(
    tmp_path: Path, program: Callable[..., subprocess.Popen[str]]
) -> None:
    output = tmp_path / "out.mkv"
    with program("-", "-o", output, "--model", "identity", stdin=subprocess.PIPE) as process:
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) in (143, -signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_does_not_wait_for_a_silent_pipe(
    long_clip: Path, tmp_path: Path, program: Callable[..., subprocess.Popen[str]]
) -> None:
    output = tmp_path / "out.mkv"
    with program("-", "-o", output, "--model", "identity", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.buffer.write(long_clip.read_bytes()[:8_000_000])
        process.stdin.flush()
        wait_until(lambda: list(tmp_path.iterdir()) != [])
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_a_library_swallows_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def swallow(*_: object, **__: object) -> None:
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        raise rtdeblur.InputError("the read failed")

    monkeypatch.setattr(root, "invoke", swallow)
    assert main(["models"]) == 143


def test_a_signal_outside_a_run_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root, "invoke", lambda ctx: os.kill(os.getpid(), signal.SIGINT))
    assert main(["models"]) == 130


WITHOUT_A_GPU = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "doubles")!r})
from fake_gpu import FakeDriver
import rtdeblur.backends.tensorrt
rtdeblur.backends.tensorrt.open_driver = lambda name: FakeDriver()
from rtdeblur.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="pip install 'rtdeblur[rtx]'")
@pytest.mark.parametrize("live", [False, True], ids=["a file", "live"])
def test_an_engine_is_not_built_to_its_end(live: bool, long_clip: Path, tmp_path: Path) -> None:
    """On a first run: TensorRT builds for the GPU that the driver plays."""
    folder, output = tmp_path / "engines", tmp_path / "out.mkv"
    words: list[object] = [long_clip, "-o", output, "--codec", "libx264", "--backend", "tensorrt"]
    if live:
        words = ["live", long_clip, "-o", output, "--no-window", "--backend", "tensorrt", "--model", "fast"]
    said = []
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT_A_GPU, *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RTDEBLUR_ENGINE_DIR": str(folder)},
    ) as process:
        assert process.stderr
        for line in process.stderr:
            said.append(line)
            if "building the TensorRT-RTX engine" in line:
                process.send_signal(signal.SIGINT)
    assert process.returncode == (0 if live else 130)  # what is live ends so in good order
    (line,) = (line for line in said if "interrupted" in line)
    assert line == "rtdeblur: info: the build of an engine was interrupted; nothing of it is kept\n"
    assert [path.suffix for path in folder.iterdir()] == [".lock"]
    assert [path.name for path in tmp_path.iterdir()] == ["engines"]
    assert not any("error" in line for line in said)
