"""ONNX Runtime: its provider, precision, shapes and the comparison on first use."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from brighten import batch_of, brighten

from rtdeblur.backends import gate, onnxruntime, open_backend
from rtdeblur.backends.devices import Device
from rtdeblur.backends.onnxruntime import PROVIDERS, OnnxRuntimeBackend
from rtdeblur.errors import BackendError, DependencyError, InterruptedRunError
from rtdeblur.model import Model


class FakeOrt:
    """A build of ONNX Runtime with other providers; those in `broken` fall back to the processor."""

    __version__ = "9.9"
    SessionOptions = SimpleNamespace
    ExecutionMode = SimpleNamespace(ORT_SEQUENTIAL=0)

    def __init__(self, *providers: str, broken: tuple[str, ...] = (), raising: tuple[str, ...] = ()) -> None:
        self._providers, self._broken, self._raising = [*providers, "CPUExecutionProvider"], broken, raising
        self.opened: list[tuple[str, dict[str, str]]] = []

    def get_available_providers(self) -> list[str]:
        return self._providers

    def InferenceSession(  # noqa: N802 - its name
        self, graph: bytes, options: Any, *, providers: list[tuple[str, dict[str, str]]], enable_fallback: int
    ) -> SimpleNamespace:
        ((name, words),) = providers
        assert not enable_fallback
        self.opened.append((name, words))
        if name in self._raising:
            raise RuntimeError("no such\ndevice")
        used = "CPUExecutionProvider" if name in self._broken else name
        return SimpleNamespace(get_providers=lambda: [used])


def started(ort: FakeOrt, device: str = "auto", *, accelerated: bool = False) -> tuple[str, str]:
    provider, skipped = onnxruntime._start_provider(ort, Device.parse(device), accelerated)
    return provider.title, skipped


def test_the_first_provider_that_starts_is_taken() -> None:
    ort = FakeOrt("DmlExecutionProvider", "CUDAExecutionProvider", broken=("CUDAExecutionProvider",))
    assert started(ort) == (
        "DirectML",
        "; CUDA does not start: its libraries or driver are missing",
    )
    assert [name for name, _ in ort.opened] == ["CUDAExecutionProvider", "DmlExecutionProvider"]
    assert started(FakeOrt("CoreMLExecutionProvider")) == ("CoreML", "")
    assert started(FakeOrt()) == ("CPU", "")
    assert started(FakeOrt("CUDAExecutionProvider"), "cpu") == ("CPU", "")


def test_the_device_reaches_the_provider() -> None:
    for name in ("CUDAExecutionProvider", "DmlExecutionProvider", "MIGraphXExecutionProvider"):
        ort = FakeOrt(name)
        started(ort, "gpu.1")
        assert ort.opened[0][1]["device_id"] == "1"
    ort = FakeOrt("OpenVINOExecutionProvider")
    assert started(ort, "npu") == ("OpenVINO", "")
    assert ort.opened[0][1] == {"device_type": "NPU"}
    ort = FakeOrt("CoreMLExecutionProvider")
    started(ort, "npu")
    assert ort.opened[0][1]["MLComputeUnits"] == "CPUAndNeuralEngine"
    with pytest.raises(BackendError, match=r"no provider for a gpu\.1"):
        started(FakeOrt("WebGpuExecutionProvider"), "gpu.1")


def test_a_missing_provider_is_one_line() -> None:
    with pytest.raises(BackendError, match=r"no provider for a gpu, only CPU; install onnxruntime-gpu"):
        started(FakeOrt(), "gpu")
    with pytest.raises(BackendError, match="no provider for a GPU or NPU, only CPU"):
        started(FakeOrt(), accelerated=True)
    broken = FakeOrt("CUDAExecutionProvider", raising=("CUDAExecutionProvider",))
    with pytest.raises(BackendError, match=r"runs on no gpu here: CUDA does not start: no such device$"):
        started(broken, "gpu")


def test_every_provider_has_options_for_its_devices() -> None:
    for provider in PROVIDERS:
        assert provider.options.keys() <= {"cpu", "gpu", "npu"}
        for kind in provider.options:
            words = provider.session_options(Device.parse(kind))
            assert all("{" not in word for word in words.values())


def test_auto_prefers_it_only_on_an_accelerator(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_backend("auto", model) as backend:
        assert backend.name == "openvino"
    monkeypatch.setattr(onnxruntime, "accelerators", lambda: ["CUDA"])
    with open_backend("auto", model) as backend:
        assert backend.name == "openvino"
        assert "; not onnxruntime: this onnxruntime has no provider for a GPU or NPU" in backend.description


@pytest.mark.parametrize("package", ["onnxruntime", "onnx"])
def test_a_missing_package_names_the_install_command(
    package: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(onnxruntime, "find_spec", lambda name: None if name == package else real(name))
    with pytest.raises(DependencyError, match=rf"'{package}'.*pip install 'rtdeblur\[onnxruntime\]'"):
        open_backend("onnxruntime", model)


def test_batches_and_single_frames_agree(model: Model) -> None:
    batch = batch_of(3)
    with (
        open_backend("onnxruntime", model) as whole,
        open_backend("onnxruntime", model, mode="latency") as single,
    ):
        for one, other, old in zip(
            whole.infer(batch).planes, single.infer(batch).planes, batch.planes, strict=True
        ):
            np.testing.assert_array_equal(one, old + 1)
            np.testing.assert_array_equal(other, old + 1)


def test_the_processor_takes_the_exact_graph() -> None:
    for name in ("fast", "fast-fp16"):
        with open_backend("onnxruntime", Model.load(name)) as backend:
            assert backend.fingerprint["precision"] == "fp32"
            assert backend.device == "CPU"
    with pytest.raises(BackendError, match="not fp16"):
        open_backend("onnxruntime", Model.load("fast"), precision="fp16")


def test_the_first_use_is_compared_with_openvino(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gate, "_folder", lambda: tmp_path)
    asked = []
    real = OnnxRuntimeBackend._exact
    monkeypatch.setattr(
        OnnxRuntimeBackend, "_exact", lambda self, batch: asked.append(1) or real(self, batch)
    )
    for _ in range(2):
        with open_backend("onnxruntime", model) as backend:
            backend.infer(batch_of(1))
            backend.infer(batch_of(2))
    assert len(asked) == 1


def test_a_result_that_differs_is_refused(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gate, "_folder", lambda: tmp_path)
    real = onnxruntime._with_shapes
    monkeypatch.setattr(
        onnxruntime,
        "_with_shapes",
        lambda model, *rest: real(replace(model, onnx=brighten(by=3.0)), *rest),
    )
    with (
        open_backend("onnxruntime", model) as backend,
        pytest.raises(BackendError, match=r"on CPU restores the test picture at 42\.1 dB"),
    ):
        backend.infer(batch_of(1))


def test_a_stopped_run_is_given_up(model: Model) -> None:
    with (
        OnnxRuntimeBackend(Model.load("fast"), stopped=lambda: True) as backend,
        pytest.raises(InterruptedRunError),
    ):
        backend.infer(batch_of(1, size=(720, 1280)))


@pytest.mark.parametrize("onnx", [b"no onnx", b""])
def test_bytes_that_are_no_video_graph_are_refused(model: Model, onnx: bytes) -> None:
    with (
        open_backend("onnxruntime", replace(model, onnx=onnx or brighten()[:-9])) as backend,
        pytest.raises(BackendError, match=r"onnxruntime cannot run|is not a video graph"),
    ):
        backend.infer(batch_of(1))
