"""Ctrl-C and `kill` leave no file behind, and cost none."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rtdeblur.cli.signals import Stopped, handling

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
    process = program(long_clip, "-o", output, "--model", "identity", "-y")
    wait_until(lambda: any(path.stat().st_size > 100_000 for path in tmp_path.glob(".out*")))
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


def test_before_a_run_a_signal_ends_the_program() -> None:
    with pytest.raises(Stopped) as stopped, handling(Stopped.throw):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.exit_code == 143
