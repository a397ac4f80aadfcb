"""Ctrl-C and `kill` leave no partial file behind and damage no existing one."""

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
def test_a_signal_ends_a_run_at_once_and_keeps_the_old_output(
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


def test_signal_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    received: list[int] = []
    with handling(received.append):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert received == [signal.SIGTERM, signal.SIGINT]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(("grace", "exit_code", "printed"), [(0.1, 130, ""), (30.0, 0, "in order\n")])
def test_a_run_has_its_grace_to_end_in_order(grace: float, exit_code: int, printed: str) -> None:
    run = f"""
import os, signal, time
from rtdeblur.cli.signals import deadline, stopping
with deadline(), stopping(lambda: None, {grace}):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
    print("in order")
"""
    ended = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (exit_code, printed, "")


def test_a_signal_ends_a_run_on_a_silent_pipe(
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


LOADING = """
import os, signal, sys
wanted, number = sys.argv.pop(1), int(sys.argv.pop(1))
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Finder)
from rtdeblur.cli import program
program()
"""


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("rtdeblur.cli.process", signal.SIGINT),
        ("click", signal.SIGINT),
        ("click", signal.SIGTERM),
        ("rtdeblur.cli.deblur", signal.SIGINT),
        ("rtdeblur.cli.deblur", signal.SIGTERM),
        ("numpy", signal.SIGINT),
        ("av", signal.SIGINT),
        ("rtdeblur.media.writer", signal.SIGINT),
        ("openvino", signal.SIGINT),
        ("rtdeblur.backends.openvino", signal.SIGINT),
    ],
)
def test_a_signal_while_modules_load_ends_the_program(
    module: str, number: int, clip: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", LOADING, module, number, clip, "-o", tmp_path / "out.mkv", "-q"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60)
    assert done.returncode in (128 + number, -number)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


STUCK = """
import ctypes, os, signal, sys, threading, time
place, stuck = sys.argv.pop(1), threading.Event()
def hang(*_, **__):
    stuck.set()
    while True:
        time.sleep(60)  # which a handler does not end, as a call of a library
def hang_in_c(*_, **__):
    stuck.set()
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)  # by its own owner: no handler runs, and nothing is raised
import rtdeblur.media.writer
from rtdeblur import bench
from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.media.reader import FileReader
from rtdeblur.media.writer import FileWriter
if place == "model":
    IdentityBackend.infer = hang
elif place == "decoder":
    FileReader.__iter__ = hang
elif place == "encoder":
    FileWriter.write = hang
elif place == "disk":
    FileWriter.commit = hang
elif place == "opening":
    FileWriter.begin = hang
elif place == "closing":
    FileWriter.close = hang
    IdentityBackend.infer = lambda *_: 1 / 0
elif place == "making":
    rtdeblur.media.writer.choose = hang_in_c
elif place == "left":
    FileWriter.needs = lambda *_: 1 / 0
    calls = iter([lambda: None])  # by the run; the next is for what the run left
    FileWriter.close = lambda self: next(calls, hang)()
threading.Thread(target=lambda: (stuck.wait(), print("stuck", flush=True)), daemon=True).start()
from rtdeblur.cli import program
program()
"""


@pytest.fixture
def stuck() -> Callable[..., subprocess.Popen[str]]:
    """Start the program so that it hangs in one place; yield it once it hangs."""

    def start(place: str, *args: object) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", STUCK, place, *map(str, args)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        return process

    return start


MAKING = pytest.param(
    "making", marks=pytest.mark.skipif(sys.platform != "linux", reason="zeros are no mutex")
)


@pytest.mark.parametrize(
    "place", ["model", "decoder", "encoder", "disk", MAKING, "opening", "closing", "left"]
)
def test_one_signal_ends_a_run_wherever_it_hangs(
    place: str,
    clip: Path,
    tmp_path: Path,
    stuck: Callable[..., subprocess.Popen[str]],
) -> None:
    (tmp_path / "out.mkv").write_bytes(b"precious")
    with stuck(place, clip, "-o", tmp_path / "out.mkv", "--model", "identity", "-q", "-y") as process:
        process.send_signal(signal.SIGTERM)
        began = time.perf_counter()
        assert process.wait(timeout=30) == 143
        assert time.perf_counter() - began < 3
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"out.mkv": b"precious"}


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_run_at_once(
    second: int, clip: Path, tmp_path: Path, stuck: Callable[..., subprocess.Popen[str]]
) -> None:
    with stuck("encoder", clip, "-o", tmp_path / "out.mkv", "--model", "identity") as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        began = time.perf_counter()
        process.send_signal(second)
        assert process.wait(timeout=30) == 130
        assert time.perf_counter() - began < 1.5  # less than the first would have waited
    assert list(tmp_path.iterdir()) == []


def test_a_hanging_run_keeps_its_finished_segments(
    long_clip: Path, tmp_path: Path, stuck: Callable[..., subprocess.Popen[str]]
) -> None:
    with stuck("disk", long_clip, "-o", tmp_path / "out.mkv", "--model", "identity", "--resume") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    folder = ".out.mkv.rtdeblur"
    segments = [f"{folder}/{first:08d}.segment" for first in (0, 250, 500, 750)]
    assert names == [folder, *segments, f"{folder}/job.json", f"{folder}/lock"]


IGNORING = """
import os, signal, sys
signal.signal(int(sys.argv[1]), signal.SIG_IGN)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("number", "live"),
    [(signal.SIGINT, False), (signal.SIGTERM, True), (signal.SIGHUP, False), (signal.SIGHUP, True)],
)
def test_an_ignored_signal_stays_ignored(number: int, live: bool, long_clip: Path, tmp_path: Path) -> None:
    """Such as SIGINT of a script's background job, or SIGHUP under nohup."""
    output = tmp_path / "out.mkv"
    words: list[object] = [long_clip, "-o", output, "--model", "identity", "-q"]
    if live:
        words = [
            "live",
            long_clip,
            "-o",
            output,
            "--model",
            "identity",
            "--no-window",
            "--duration",
            "2",
            "-q",
        ]
    command = [sys.executable, "-c", IGNORING, number, sys.executable, "-m", "rtdeblur", *words]
    with subprocess.Popen(list(map(str, command))) as process:
        wait_until(lambda: list(tmp_path.iterdir()) != [])
        process.send_signal(number)
        assert process.wait(timeout=60) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


WITHOUT_A_GPU = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "doubles")!r})
from fake_gpu import FakeDriver
import rtdeblur.backends.tensorrt
rtdeblur.backends.tensorrt.open_driver = lambda name: FakeDriver()
from rtdeblur.cli import program
program()
"""


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="pip install 'rtdeblur[rtx]'")
@pytest.mark.parametrize("live", [False, True], ids=["a file", "live"])
def test_a_signal_ends_an_engine_build(live: bool, long_clip: Path, tmp_path: Path) -> None:
    """On a first run, TensorRT builds for the GPU that a fake driver reports."""
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
    assert line == "rtdeblur: info: the engine build was interrupted; nothing was kept\n"
    assert [path.suffix for path in folder.iterdir()] == [".lock"]
    assert [path.name for path in tmp_path.iterdir()] == ["engines"]
    assert not any("error" in line for line in said)
