from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from rtdeblur.cli import main

ROOT = Path(__file__).parents[2]
RATE = 25


def write_clip(path: Path, *, frames: int = 10, video: bool = True) -> Path:
    """Write a Matroska clip: the same noise packet for every frame, and a tone of the same length."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    with av.open(str(path), "w") as container:
        if video:
            picture = container.add_stream("mjpeg", RATE, width=320, height=240, pix_fmt="yuvj420p")
        sound = container.add_stream("pcm_s16le", 8000, layout="mono")
        if video:
            packet = picture.encode(av.VideoFrame.from_ndarray(noise))[0]
            data = bytes(packet)
            for i in range(frames):
                copy = av.Packet(data)
                copy.stream, copy.pts, copy.dts, copy.time_base = picture, i, i, packet.time_base
                copy.is_keyframe = True
                container.mux(copy)
        tone = (np.sin(np.arange(frames * 8000 // RATE)) * 9000).astype(np.int16)[None]
        samples = av.AudioFrame.from_ndarray(tone, "s16", "mono")
        samples.rate, samples.pts = 8000, 0
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames, with sound."""
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv")


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only sound."""
    return write_clip(tmp_path_factory.mktemp("clips") / "sound.mkv", video=False)


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More frames than a slow preset encodes while a test runs."""
    return write_clip(tmp_path_factory.mktemp("clips") / "long.mkv", frames=1000)


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write a bundle without a real graph and with a changed manifest; return the path of its .onnx."""

    def write(**altered: object) -> Path:
        onnx = tmp_path / "odd.onnx"
        onnx.write_bytes(b"no graph")
        manifest = {
            "format_version": 1,
            "name": "odd",
            "sha256": "0" * 64,
            "architecture": {"generator": "unet"},
            "stride": 8,
            "precision": "fp32",
            "dropout": "off",
            "licence": "MIT",
        }
        onnx.with_suffix(".json").write_text(json.dumps(manifest | altered))
        return onnx

    return write


@pytest.fixture
def fails(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the program in this process; expect exactly one line, an error, and return it."""

    def fails(*args: object, exit_code: int = 1) -> str:
        assert main([str(arg) for arg in args]) == exit_code
        said = capfd.readouterr()
        assert said.out == ""
        assert said.err.startswith("rtdeblur: error: ")
        assert said.err.endswith("\n")
        assert said.err.count("\n") == 1
        return said.err

    return fails


@pytest.fixture
def program() -> Callable[..., subprocess.Popen[str]]:
    """Start the program as a user would, in its own process."""

    def start(*args: object, **options: Any) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "rtdeblur", *map(str, args)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(words, **{"cwd": ROOT, "text": True} | pipes | options)

    return start


@pytest.fixture
def interrupted(
    program: Callable[..., subprocess.Popen[str]],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program, and press Ctrl-C when its first segment is finished."""

    def run(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
        with program(*args) as process:
            deadline = time.monotonic() + 60
            while not list(folder.glob("*/*.segment")):
                assert process.poll() is None
                assert time.monotonic() < deadline, "no segment was finished"
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run
