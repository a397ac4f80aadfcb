"""The scripts that measure live sessions, in short runs; long ones are started by hand."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Load a script as a module."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # where dataclasses look
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("value", [0, 1, 0xABCDEF, (1 << 24) - 1])
@pytest.mark.parametrize("size", [(360, 640), (180, 320), (717, 1283)])
def test_the_clock_is_readable_after_compression_and_scaling(
    script: Callable[[str], ModuleType], value: int, size: tuple[int, int]
) -> None:
    clock = script("live_clock")
    luma = clock.scene(5, 360, 640)
    clock.draw_clock(luma, value)
    picture = av.VideoFrame.from_ndarray(luma, "gray").reformat(size[1], size[0], "yuvj420p")
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt, context.time_base = (
        size[1],
        size[0],
        "yuvj420p",
        Fraction(1, 25),
    )
    context.bit_rate, context.qmin, context.qmax = 100_000, 31, 31
    (packet,) = context.encode(picture)
    (decoded,) = av.CodecContext.create("mjpeg", "r").decode(packet)
    assert clock.read_clock(decoded.to_ndarray(format="gray")) == value


def test_a_picture_without_a_clock_has_none(script: Callable[[str], ModuleType]) -> None:
    clock = script("live_clock")
    assert clock.read_clock(np.full((360, 640), 128, np.uint8)) is None
    assert clock.age(5, 3) == (1 << 24) - 2


def test_the_soak_notices_leaks_and_missed_reconnects(script: Callable[[str], ModuleType]) -> None:
    soak = script("soak")

    def samples(rss: float, threads: int, files: int) -> list[object]:
        return [soak.Sample(0, 0, 100.0, 20, 6)] * 10 + [soak.Sample(60, 9, rss, threads, files)]

    good = {"reconnects": 9}
    assert soak.faults(samples(104.0, 20, 6), good, 9) == []
    assert len(soak.faults(samples(106.0, 20, 6), good, 9)) == 1
    assert len(soak.faults(samples(100.0, 21, 6), good, 9)) == 1
    assert len(soak.faults(samples(100.0, 20, 7), good, 9)) == 1
    assert len(soak.faults(samples(100.0, 20, 6), {"reconnects": 8}, 9)) == 1


@pytest.mark.needs_ffmpeg
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_a_short_soak_runs_through(script: Callable[[str], ModuleType]) -> None:
    samples, summary = script("soak").soak(minutes=0.18, kills=1, size="160x96", rate=15)
    assert len(samples) >= 3
    assert samples[-1].kills == 1
    assert summary["shown"] > 0
