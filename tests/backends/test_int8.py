"""The choice of int8 by `auto`: measured once, with a clear margin. The measurement is injected."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import openvino as ov
import pytest

from rtdeblur import Deblurrer, cache, system
from rtdeblur.backends import int8, open_backend
from rtdeblur.backends.openvino import core, is_fast_in_bf16
from rtdeblur.errors import BackendError, InterruptedRunError, ModelError
from rtdeblur.frames import Colour
from rtdeblur.model import BEST_MODEL, DEFAULT_MODEL, Model

FLOAT = "bf16" if is_fast_in_bf16(core()) else "fp32"


@pytest.fixture
def fast() -> Model:
    return Model.load("fast")


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Start with an empty cache, and set what is measured; return a list of the models measured."""

    def measured(ratio: float, psnr: float = 60.0, meanwhile: Callable[[], None] = lambda: None) -> list[str]:
        calls: list[str] = []

        def measure(core: ov.Core, model: Model, *_: object) -> tuple[float, float]:
            calls.append(model.manifest.name)
            meanwhile()
            return ratio, psnr

        monkeypatch.setattr(int8, "measure", measure)
        return calls

    monkeypatch.setenv("RTDEBLUR_CACHE_DIR", str(tmp_path / "cache"))
    return measured


def chosen(model: Model) -> str:
    with open_backend("openvino", model) as backend:
        assert backend.fingerprint["precision"] in backend.description
        return backend.fingerprint["precision"]


def test_a_graph_is_measured_in_the_thread_that_restores(fast: Model) -> None:
    picture = int8.test_picture((192, 192), (96, 96), Colour())
    graph = int8._Graph(core(), fast, picture, FLOAT == "bf16")
    graph.restore()
    began = time.process_time(), time.thread_time()
    graph.restore()
    all_threads, this_one = time.process_time() - began[0], time.thread_time() - began[1]
    assert this_one > 0.9 * all_threads


@pytest.mark.parametrize(
    ("ratio", "psnr", "precision", "reason"),
    [
        (1.15, 40.0, "int8", "int8 is 1.15 times as fast as"),
        (1.14, 60.0, FLOAT, "int8 is 1.14 times as fast as"),
        (2.0, 38.0, FLOAT, "int8 restores a test picture at only 38 dB of"),
        (0.0, float("inf"), FLOAT, "int8 does not run here"),
    ],
)
def test_auto_takes_int8_if_it_is_clearly_faster_and_restores_alike(
    fast: Model, measured: Callable[..., list[str]], ratio: float, psnr: float, precision: str, reason: str
) -> None:
    measured(ratio, psnr)
    with open_backend("openvino", fast) as backend:
        assert backend.fingerprint["precision"] == precision
        assert backend.description.startswith(f"openvino {precision} ({reason}")
    with Deblurrer(fast) as deblurrer:
        assert deblurrer.description.startswith(f"openvino {precision} ({reason}")


def test_it_is_measured_once_for_each_processor_and_version(
    fast: Model, measured: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = measured(1.5)
    assert [chosen(fast), chosen(fast)] == ["int8", "int8"]
    assert calls == ["fast"]
    for change in (
        (system, "cpu_name", lambda: "another"),
        (system, "cpu_flags", lambda: frozenset({"avx2"})),
        (ov, "__version__", "another"),
    ):
        calls = measured(1.0)
        with monkeypatch.context() as patch:
            patch.setattr(*change)
            assert chosen(fast) == ("fp32" if change[1] == "cpu_flags" and FLOAT == "fp32" else FLOAT)
        assert calls == ["fast"]
        assert chosen(fast) == "int8"


@pytest.mark.parametrize("mode", ["throughput", "latency"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_explicit_precision_measures_nothing(
    fast: Model, measured: Callable[..., list[str]], mode: str, precision: str
) -> None:
    calls = measured(1.0)
    with open_backend("openvino", fast, precision=precision, mode=mode) as backend:  # type: ignore[arg-type]
        assert backend.fingerprint["precision"] == precision
    assert calls == []


def test_live_video_and_files_choose_alike(fast: Model, measured: Callable[..., list[str]]) -> None:
    calls = measured(1.5)
    for mode in ("latency", "throughput"):
        with open_backend("openvino", fast, mode=mode) as backend:  # type: ignore[arg-type]
            assert backend.fingerprint["precision"] == "int8"
    assert calls == ["fast"]


def test_a_cache_that_cannot_be_written_costs_a_measurement_per_start(
    fast: Model, measured: Callable[..., list[str]], tmp_path: Path
) -> None:
    calls = measured(1.5)
    (tmp_path / "cache").write_text("not a folder")
    assert [chosen(fast), chosen(fast)] == ["int8", "int8"]
    assert calls == ["fast", "fast"]


@pytest.mark.needs_posix
@pytest.mark.parametrize("how", ["damaged", "wrong type", "writable by others", "a link"])
def test_a_cache_that_cannot_be_trusted_is_not(
    fast: Model, measured: Callable[..., list[str]], tmp_path: Path, how: str
) -> None:
    measured(1.5)
    assert chosen(fast) == "int8"
    path = tmp_path / "cache" / int8.FILE
    if how == "damaged":
        path.write_bytes(path.read_bytes()[:-5])
    elif how == "wrong type":
        path.write_text(path.read_text().replace("1.5", '"fast"'))
    elif how == "writable by others":
        path.chmod(0o666)
    else:
        path.rename(tmp_path / "real.json")
        path.symlink_to(tmp_path / "real.json")
    calls = measured(1.0)
    assert chosen(fast) == FLOAT
    assert calls == ["fast"]
    assert not path.is_symlink()
    calls = measured(1.5)
    assert chosen(fast) == FLOAT
    assert calls == []


def test_two_processes_choose_alike(fast: Model, measured: Callable[..., list[str]]) -> None:
    """The first to finish decides for both."""

    def another() -> None:
        quantised = fast.quantised
        assert quantised is not None
        key = int8.key_of(quantised.sha256, bf16=FLOAT == "bf16")
        cache.add(int8.FILE, key, int8.Measurement(1.0, 60.0, "2026-01-31"))

    measured(2.0, meanwhile=another)
    assert chosen(fast) == FLOAT


def test_a_failure_is_not_kept(fast: Model, measured: Callable[..., list[str]]) -> None:
    measured(0.0)
    assert chosen(fast) == FLOAT
    measured(1.5)
    assert chosen(fast) == "int8"


def test_an_int8_graph_of_other_weights_is_not_used(
    fast: Model, measured: Callable[..., list[str]], tmp_path: Path
) -> None:
    for name in ("fast", "fast-int8"):
        for suffix in (".onnx", ".json"):
            shutil.copy(fast.path.with_name(f"{name}{suffix}"), tmp_path)
    calls = measured(1.5)
    model = Model.load(str(tmp_path / "fast.onnx"))
    assert chosen(model) == "int8"
    manifest = tmp_path / "fast-int8.json"
    facts = json.loads(manifest.read_text())
    facts["architecture"]["quantised_from"] = ["0" * 64]
    manifest.write_text(json.dumps(facts))
    assert chosen(model) == FLOAT
    with pytest.raises(ModelError, match=r"fast-int8\.onnx was made from other weights.*train quantize"):
        open_backend("openvino", model, precision="int8")
    manifest.with_suffix(".onnx").unlink()
    assert chosen(model) == FLOAT
    assert calls == ["fast"]


def test_an_int8_graph_serves_a_bundle_of_half_precision(
    fast: Model, measured: Callable[..., list[str]], tmp_path: Path
) -> None:
    for name in ("fast-fp16", "fast-int8"):
        for suffix in (".onnx", ".json"):
            shutil.copy(fast.path.with_name(f"{name}{suffix}"), tmp_path)
    measured(1.5)
    assert chosen(Model.load(str(tmp_path / "fast-fp16.onnx"))) == "int8"


def test_bf16_needs_a_processor_that_has_it(fast: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtdeblur.backends.openvino._has_bf16", lambda _: True)
    with open_backend("openvino", fast, precision="bf16") as backend:
        assert backend.description.startswith("openvino bf16, throughput")
    monkeypatch.setattr("rtdeblur.backends.openvino._has_bf16", lambda _: False)
    with pytest.raises(BackendError, match=r"no bfloat16 arithmetic; try --precision auto"):
        open_backend("openvino", fast, precision="bf16")


@pytest.mark.parametrize("name", [DEFAULT_MODEL, BEST_MODEL])
def test_the_graphs_are_measured(name: str) -> None:
    """For real; how fast they are here is not the test's business."""
    model = Model.load(name)
    quantised = model.variant("int8")
    ratio, psnr = int8.measure(core(), model, quantised, FLOAT == "bf16", lambda: False)
    assert ratio > 0
    assert psnr >= int8.LEAST_PSNR
    with pytest.raises(InterruptedRunError):
        int8.measure(core(), model, quantised, FLOAT == "bf16", lambda: True)
