"""OpenVINO on devices other than the processor, which a fake core pretends to have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brighten import batch_of, brighten

from rtdeblur.backends import gate, open_backend, openvino
from rtdeblur.backends.devices import Device
from rtdeblur.errors import BackendError, UsageError
from rtdeblur.model import Model

ov = openvino.ov


class FakeCore:
    """Devices that do not exist: the processor runs what is compiled for them, or `another` graph instead."""

    def __init__(self, *devices: str, discrete: bool = True, another: bytes = b"") -> None:
        self.available_devices = ["CPU", *devices]
        self.compiled: list[str] = []
        self._real, self._discrete, self._another = openvino.core(), discrete, another

    def get_property(self, device: str, name: str) -> Any:
        if device == "CPU":
            return self._real.get_property(device, name)
        kind = "Type.DISCRETE" if self._discrete else "Type.INTEGRATED"
        return {"FULL_DEVICE_NAME": f"Fake {device}", "DEVICE_TYPE": kind}[name]

    def read_model(self, *args: Any) -> ov.Model:
        return self._real.read_model(*args)

    def compile_model(self, graph: ov.Model, device: str, config: dict[Any, Any]) -> ov.CompiledModel:
        self.compiled.append(device)
        if self._another and device != "CPU":
            other = self._real.read_model(self._another, b"")
            other.reshape({port.any_name: port.partial_shape for port in graph.inputs})
            graph = other
        return self._real.compile_model(graph, "CPU", {ov.properties.hint.inference_precision: ov.Type.f32})

    def import_model(self, blob: bytes, device: str, config: dict[Any, Any]) -> ov.CompiledModel:
        self.compiled.append(device)
        return self._real.import_model(blob, device, config)


Pretend = Callable[..., FakeCore]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pretend:
    def pretend(*devices: str, **options: Any) -> FakeCore:
        fake = FakeCore(*devices, **options)
        monkeypatch.setattr(openvino, "core", lambda: fake)
        return fake

    monkeypatch.setenv("RTDEBLUR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(gate, "_folder", lambda: tmp_path)
    return pretend


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("auto", Device()),
        ("cpu", Device("cpu")),
        ("gpu", Device("gpu")),
        ("gpu.0", Device("gpu")),
        ("gpu.1", Device("gpu", 1)),
        ("npu", Device("npu")),
    ],
)
def test_devices_have_names(text: str, device: Device) -> None:
    assert Device.parse(text) == device
    assert Device.parse(str(device)) == device


@pytest.mark.parametrize("text", ["", "GPU", "gpu.", "gpu.-1", "gpu.100", "cuda", "cpu.0", "gpu 1"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected auto, cpu, gpu, gpu\.1"):
        Device.parse(text)
    with pytest.raises(UsageError, match=r"expected auto, cpu, gpu, gpu\.1"):
        open_backend("auto", Model.load("identity"), device=text)


@pytest.mark.parametrize(
    ("devices", "wanted", "used"),
    [
        (("GPU.0", "GPU.1"), "gpu", "GPU.0"),
        (("GPU.0", "GPU.1"), "gpu.1", "GPU.1"),
        (("GPU", "NPU"), "gpu", "GPU"),
        (("GPU", "NPU"), "npu", "NPU"),
        (("GPU", "NPU"), "cpu", "CPU"),
        (("GPU",), "auto", "GPU"),
        (("NPU",), "auto", "CPU"),
    ],
)
def test_a_device_is_found(
    pretend: Pretend, model: Model, devices: tuple[str, ...], wanted: str, used: str
) -> None:
    pretend(*devices)
    with open_backend("openvino", model, device=wanted) as backend:
        assert backend.device == (used if used == "CPU" else f"Fake {used}")
        assert backend.device in backend.description or used == "CPU"
        batch = batch_of(2)
        for new, old in zip(backend.infer(batch).planes, batch.planes, strict=True):
            np.testing.assert_array_equal(new, old + 1)


def test_auto_leaves_the_integrated_gpu_to_those_who_ask(pretend: Pretend, model: Model) -> None:
    pretend("GPU", discrete=False)
    with open_backend("openvino", model) as backend:
        assert backend.device == "CPU"


@pytest.mark.parametrize("wanted", ["gpu", "gpu.1", "npu"])
def test_a_missing_device_is_one_line(model: Model, pretend: Pretend, wanted: str) -> None:
    pretend()
    with pytest.raises(BackendError, match=f"openvino finds no {wanted} here, only cpu; install the driver"):
        open_backend("openvino", model, device=wanted)
    with pytest.raises(
        BackendError, match=f"nothing runs on {wanted} here: .*openvino: .*; try --device auto"
    ):
        open_backend("auto", model, device=wanted)


def test_the_first_use_of_a_device_is_compared_with_the_processor(pretend: Pretend, model: Model) -> None:
    core = pretend("GPU")
    for first in (True, False):
        core.compiled.clear()
        with open_backend("openvino", model, device="gpu") as backend:
            backend.infer(batch_of(1))
            backend.infer(batch_of(1))
        assert core.compiled == (["GPU", "CPU"] if first else ["GPU"])


def test_a_device_that_differs_from_the_processor_is_refused(pretend: Pretend, model: Model) -> None:
    core = pretend("GPU", another=brighten(by=3.0))
    message = r"on Fake GPU restores the test picture at 42\.1 dB .* expected 50 dB.*try --precision fp32, or"
    with open_backend("openvino", model, device="gpu") as backend:
        for _ in range(2):  # it is not kept as passed
            with pytest.raises(BackendError, match=message):
                backend.infer(batch_of(1))
    assert core.compiled == ["GPU", "CPU"] * 2


def test_the_processor_runs_no_fp16(pretend: Pretend, model: Model) -> None:
    pretend("GPU")
    with open_backend("openvino", model, device="gpu", precision="fp16") as backend:
        assert "fp16" in backend.description
    with pytest.raises(BackendError, match="not fp16"):
        open_backend("openvino", model, device="cpu", precision="fp16")
