"""`rtdeblur bench` on small clips: its report and its waiting, not the machine's speed."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rtdeblur import bench, system
from rtdeblur.backends.base import Backend, Pending
from rtdeblur.cli import main
from rtdeblur.cuda.base import DeviceTimes
from rtdeblur.frames import FrameBatch

QUICK = ["--frames", "6", "--seconds", "0"]


def test_the_table_has_a_row_per_size_and_batch(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--size", "64x48", "--size", "96x64", "--batch", "1", "--batch", "4"]
    assert main(["bench", "--backend", "openvino", *sizes, *QUICK]) == 0
    title, way, headers, *rows = capsys.readouterr().out.splitlines()
    assert way == "decoded by cpu, encoded by libx264, frames in host memory (required by openvino)"
    assert title.startswith("fast on openvino")
    assert [tuple(row.split()[:2]) for row in rows] == [
        ("64x48", "1"), ("64x48", "4"), ("96x64", "1"), ("96x64", "4"),
    ]  # fmt: skip
    for column in ("median ms", "p95 ms", "inference fps", "whole fps", "limit fps", "memory MiB"):
        assert column in headers
    assert "GPU" not in headers  # nothing of what was not measured


def test_json_holds_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--model", "identity", "--size", "64x48", *QUICK, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (case,) = report["cases"]
    run, inference = case["run"], case["inference"]
    assert (report["backend"], report["gpu"], report["cores"]) == ("identity", None, system.usable_cores())
    assert run["frames"] == 6
    assert inference["calls"] >= bench.LEAST_CALLS
    assert 0 < inference["median_ms"] <= inference["p95_ms"]
    stages = [run[name] for name in ("decode", "inference", "encode")]
    cores = report["cores"] / sum(stage["core_seconds"] for stage in stages)
    assert run["limit_fps"] == pytest.approx(min(cores, *(stage["fps"] for stage in stages)))
    assert run["efficiency"] == pytest.approx(run["whole"]["fps"] / run["limit_fps"])


def test_a_video_can_be_benchmarked(
    make_clip: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    clip = make_clip(".mkv", size="98x66", frames=9)
    assert main(["bench", str(clip), "--model", "identity", "--batch", "4", "--seconds", "0", "--json"]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert (case["width"], case["height"], case["run"]["frames"]) == (98, 66, 9)


def test_zero_frames_measures_only_inference(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--model", "identity", "--size", "64x48", "--frames", "0", "--seconds", "0"]
    assert main(words) == 0
    assert "whole" not in capsys.readouterr().out


def test_a_video_and_a_size_exclude_each_other(
    make_clip: Callable[..., Path], fails: Callable[..., str]
) -> None:
    clip = make_clip(".mkv", size="98x66", frames=9)
    assert "already has a size" in fails("bench", clip, "--size", "720p", exit_code=2)


@pytest.mark.parametrize("command", ["bench", "build"])
def test_a_bad_size_is_wrong_usage(command: str, fails: Callable[..., str]) -> None:
    assert "'100x'; try WIDTHxHEIGHT" in fails(command, "--size", "100x", exit_code=2)


class Slow(Backend):
    """Takes long to compile, then returns at once; counts the batches in flight together."""

    name = description = "slow"
    slots = 2

    def __init__(self) -> None:
        self.calls = self.flying = self.most = 0

    def infer(self, batch: FrameBatch) -> FrameBatch:
        return self.submit(batch)()

    def submit(self, batch: FrameBatch) -> Pending:
        self.calls += 1
        self.flying += 1
        self.most = max(self.most, self.flying)
        if self.calls == 1:
            time.sleep(0.2)
        return partial(self._land, batch)

    def _land(self, batch: FrameBatch) -> FrameBatch:
        self.flying -= 1
        return batch

    def close(self) -> None:
        pass


def test_the_first_call_is_not_timed_and_slots_overlap() -> None:
    backend = Slow()
    measured = bench.time_inference(backend, bench.noise(3, 48, 64), seconds=0)
    assert measured.first_seconds > 0.19
    assert measured.median_ms < measured.first_seconds * 1000
    assert backend.calls == bench.WARM_UP + 2 * measured.calls
    assert (backend.most, backend.flying) == (2, 0)


def test_device_times_are_shown_if_the_backend_has_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Device(Slow):
        def _land(self, batch: FrameBatch) -> FrameBatch:
            self.device_times = DeviceTimes(1.5, 20.0 + self.calls % 2, 0.25)
            return super()._land(batch)

    monkeypatch.setattr("rtdeblur.backends.open_backend", lambda *_, **__: Device())
    words = ["bench", "--size", "64x48", "--frames", "0", "--seconds", "0"]
    assert main(words) == 0
    _, headers, row = capsys.readouterr().out.splitlines()
    figures = dict(zip(re.split("  +", headers), row.split(), strict=True))
    assert (figures["upload ms"], figures["download ms"]) == ("1.50", "0.25")
    assert 20 <= float(figures["GPU ms"]) <= 21
    assert main([*words, "--json"]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["inference"]["device"]["upload"] == 1.5


def test_all_backends_side_by_side(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--backend", "all", "--size", "64x48", "--frames", "0", "--seconds", "0"]
    assert main(words) == 0
    out, err = capfd.readouterr()
    rows = [line.split() for line in out.splitlines()[-3:]]
    assert rows[0][:2] == ["runtime", "size"]
    assert [row[:3] for row in rows[1:]] == [["openvino", "CPU", "64x48"], ["onnxruntime", "CPU", "64x48"]]
    assert re.search(r"not tensorrt on auto: .", err)
    assert main([*words, "--json"]) == 0
    reports = json.loads(capfd.readouterr().out)
    assert [report["backend"] for report in reports] == ["openvino", "onnxruntime"]
    assert all(report["cases"][0]["inference"]["fps"] > 0 for report in reports)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or system.usable_cores() < 2, reason="needs 2 cores")
def test_more_cores_are_predicted(capfd: pytest.CaptureFixture[str]) -> None:
    usable = os.sched_getaffinity(0)
    words = ["bench", "--predict", "--model", "identity", "--size", "64x48", *QUICK]
    assert main([*words, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [each["cores"] for each in found["predicted"]] == [1, 2, 4, 8, 16]
    assert found["one"]["frames"] == found["two"]["frames"] == 6
    assert all(each["whole"] > 0 for each in found["predicted"])
    assert os.sched_getaffinity(0) == usable


def test_a_prediction_is_of_one_size(fails: Callable[..., str]) -> None:
    sizes = ("--size", "64x48", "--size", "96x64")
    assert "--predict measures one size" in fails("bench", "--predict", *sizes, exit_code=2)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or system.usable_cores() < 2, reason="needs 2 cores")
def test_an_error_on_one_core_is_the_error(fails: Callable[..., str]) -> None:
    assert "no model is called 'nosuch'" in fails("bench", "--predict", "--model", "nosuch")


def test_cores_cannot_be_predicted_from_one(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "usable_cores", lambda: 1)
    assert "needs two cores" in fails("bench", "--predict")
