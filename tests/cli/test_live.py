"""`rtdeblur live`, without a window."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from stream_servers import free_port

from rtdeblur.cli import live, main


def test_a_file_is_played_restored_and_recorded(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mkv"
    assert main(["live", str(clip), "--no-window", "-o", str(output), "--json"]) == 0
    said = capfd.readouterr()
    summary = json.loads(said.out)
    assert summary["captured"] == 10
    assert summary["shown"] + summary["dropped"] == 10
    assert summary["model"] == "fast (auto)"
    assert summary["restore_ms"][0] > 0
    with av.open(str(output)) as container:
        assert len(list(container.decode(video=0))) == summary["outputs"][0]["frames"] == summary["shown"]
    assert f"recording to {output}, without sound" in said.err
    assert "model fast (auto); openvino" in said.err
    assert "fps" in said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosuch.mp4", "--no-window", "--send", "udp://127.0.0.1:9"], "no source 'nosuch.mp4'"),
        (["foo://x", "--no-window", "--send", "udp://127.0.0.1:9"], "unknown scheme 'foo'"),
        (["clip", "--no-window", "--send", "http://x"], "cannot send to 'http://x'"),
        (["clip", "--no-window", "-o", "out.mp4"], "try 'out.mkv'"),
        (["clip", "--no-window", "-o", "nowhere/out.mkv"], "no folder 'nowhere'"),
        (["clip", "--no-window", "-o", "{clip}"], "exists; choose another name, or -y"),
        (["clip", "--no-window", "-o", "{out}", "--model", "nosuch"], "no model is called 'nosuch'"),
    ],
)
def test_impossible_requests_are_one_line(
    words: list[str], message: str, clip: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    named = {"{clip}": clip, "clip": clip, "{out}": tmp_path / "out.mkv"}
    assert message in fails("live", *[named.get(word, word) for word in words])


def test_no_camera_is_one_line(fails: Callable[..., str], tmp_path: Path) -> None:
    line = fails("live", "97", "--no-window", "-o", tmp_path / "out.mkv")
    assert "cannot open camera 97" in line or "pip install 'rtdeblur[live]'" in line


@pytest.mark.parametrize(
    "words", [["--no-window"], ["--size", "wide"], ["--deadline-ms", "0"], ["--fps", "0"], ["--web", "80000"]]
)
def test_wrong_usage_exits_with_two(words: list[str], clip: Path, fails: Callable[..., str]) -> None:
    assert "Try 'rtdeblur live --help'" in fails("live", clip, *words, exit_code=2)


@pytest.mark.needs_posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_recording(
    number: int, long_clip: Path, tmp_path: Path, program: Callable[..., subprocess.Popen[str]]
) -> None:
    output = tmp_path / "out.mkv"
    words = ["--no-window", "-o", output, "--model", "identity", "--json"]
    with program("live", long_clip, *words) as process:
        deadline = time.monotonic() + 60
        while not output.exists() or output.stat().st_size < 10_000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in err
    summary = json.loads(out)
    with av.open(str(output)) as container:
        assert len(list(container.decode(video=0))) == summary["outputs"][0]["frames"]


def test_duration_counts_from_the_first_picture(long_clip: Path, tmp_path: Path) -> None:
    words = ["--no-window", "-o", str(tmp_path / "out.mkv"), "--model", "identity", "-q"]
    assert main(["live", str(long_clip), *words, "--duration", "0.5"]) == 0
    with av.open(str(tmp_path / "out.mkv")) as container:
        last = [f.time for f in container.decode(video=0)][-1]
    assert 0.2 < last < 5


def is_taken(port: int) -> bool:
    """Whether a program listens on a UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@pytest.mark.needs_posix
def test_a_second_signal_ends_it_at_once(
    program: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    port = free_port(socket.SOCK_DGRAM)
    source = f"udp://127.0.0.1:{port}"
    with program("live", source, "--wait", "--no-window", "-o", tmp_path / "out.mkv") as process:
        deadline = time.monotonic() + 60
        while not is_taken(port):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode in (0, 130)


def test_identity_says_that_nothing_is_restored(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--no-window", "-o", str(tmp_path / "out.mkv"), "--backend", "identity", "--json"]
    assert main(["live", str(clip), *words]) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["model"] == "identity"
    assert "model identity; identity: frames pass unchanged" in said.err


@pytest.mark.parametrize("web", ["nonsense", "127.0.0.1:", "70000"])
def test_a_bad_address_is_refused(web: str, clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["live", str(clip), "--no-window", "--web", web]) == 2
    assert f"--web is {web!r}, expected PORT or HOST:PORT" in capfd.readouterr().err


def test_the_page_address_is_printed_even_with_quiet(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("aiohttp")
    assert main(["live", str(clip), "--no-window", "--web", "0.0.0.0:0", "-q"]) == 0
    assert "?token=" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosuch.mp4"], "no source 'nosuch.mp4'"),
        (["clip", "--send", "http://x"], "cannot send to 'http://x'"),
    ],
)
def test_a_session_that_cannot_start_prints_no_address_and_leaves_no_page(
    words: list[str], message: str, clip: Path, fails: Callable[..., str]
) -> None:
    pytest.importorskip("aiohttp")
    words = [str(clip) if word == "clip" else word for word in words]
    assert message in fails("live", *words, "--no-window", "--web", "0")
    assert "rtdeblur-web" not in [thread.name for thread in threading.enumerate()]


def test_a_session_that_waits_for_its_source_prints_the_address(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("aiohttp")
    words = ["--wait", "--duration", "0.5", "--no-window", "--web", "0", "--model", "identity"]
    assert main(["live", "nosuch.mp4", *words]) == 0
    assert "web page: http://127.0.0.1:" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "gated"), [([], ""), (["--gate", "auto"], "gate 0."), (["--gate", "1"], "gate 1")]
)
def test_a_gate_is_used_on_request(words: list[str], gated: str) -> None:
    params = live.command.make_context("live", ["clip.mp4", "--model", "fast", *words]).params
    restorer = live._restorer(live.LiveRequest.of(**params))
    description = restorer._backend("fast").description
    assert gated in description
    assert ("gate" in description) == bool(gated)
    assert "gate" not in restorer._backend("identity").description
    restorer.close()
