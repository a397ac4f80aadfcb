"""The choice of `--backend auto`, on a fake GPU (`fake_gpu`)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from brighten import Gpu
from fake_gpu import FakeDriver

from rtdeblur.backends import BACKENDS, open_backend
from rtdeblur.backends.base import EngineOptions
from rtdeblur.errors import BackendError, CudaError, DependencyError, ModelError
from rtdeblur.model import Model


class TestChoice:
    """The choice of `auto`."""

    @pytest.fixture(autouse=True)
    def here(self, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gpu = gpu
        monkeypatch.setattr("rtdeblur.backends.tensorrt.open_driver", lambda name: gpu.driver)
        monkeypatch.setattr("rtdeblur.backends.tensorrt.choose", lambda name, capability: gpu.trt.flavour)

    def test_a_gpu_with_tensorrt_is_used(self, model: Model) -> None:
        backend = open_backend("auto", model)
        assert backend.name == "tensorrt"
        assert backend.description == (
            "tensorrt fp16, Fake TensorRT 1.7.1, Fake GPU (compute capability 8.9, fake)"
        )
        backend.close()

    def test_a_precision_of_the_cpu_is_refused_for_the_cpu_s_reason(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rtdeblur.backends.openvino._has_bf16", lambda core: False)
        with pytest.raises(BackendError, match="this processor has no bfloat16 arithmetic"):
            open_backend("auto", model, precision="bf16")

    def test_a_gpu_that_is_not_listed_falls_back_to_the_cpu(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.gpu.driver.device = replace(self.gpu.driver.device, compute_capability="9.0")
        backend = open_backend("auto", model)
        assert backend.name == "openvino"
        assert "not tensorrt: Fake TensorRT does not list compute capability 9.0" in backend.description
        monkeypatch.setattr("rtdeblur.backends.tensorrt.open_driver", lambda name: FakeDriver())
        asked = open_backend("tensorrt", model)
        assert asked.name == "tensorrt"
        asked.close()

    @pytest.mark.parametrize(
        "error",
        [CudaError("no NVIDIA driver found"), DependencyError("tensorrt_rtx", "rtx", "TensorRT-RTX")],
    )
    def test_no_gpu_or_no_tensorrt_falls_back_to_the_cpu(
        self, model: Model, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(name: str) -> None:
            raise error

        monkeypatch.setattr("rtdeblur.system.why_no_gpu", lambda: "")
        monkeypatch.setattr("rtdeblur.backends.tensorrt.open_driver", refuse)
        backend = open_backend("auto", model)
        assert backend.name == "openvino"
        assert f"not tensorrt: {str(error).partition(';')[0]}" in backend.description
        with pytest.raises(type(error)):
            open_backend("tensorrt", model)

    def test_no_package_is_recommended_without_a_gpu(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(name: str) -> None:
            raise DependencyError("cuda-bindings", "rtx", "running on an NVIDIA GPU")

        monkeypatch.setattr("rtdeblur.backends.tensorrt.open_driver", refuse)
        monkeypatch.setattr("rtdeblur.system.why_no_gpu", lambda: "no NVIDIA GPU")
        with pytest.raises(CudaError, match="no NVIDIA GPU; see `rtdeblur doctor`"):
            open_backend("tensorrt", model)
        assert "not tensorrt: no NVIDIA GPU" in open_backend("auto", model).description

    def test_half_precision_needs_tensorrt(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(BackendError, match=r"runs bf16, fp32 or int8, not fp16; try --precision auto"):
            open_backend("openvino", model, precision="fp16")

        def refuse(name: str) -> None:
            raise CudaError("no NVIDIA driver found")

        monkeypatch.setattr("rtdeblur.backends.tensorrt.open_driver", refuse)
        with pytest.raises(CudaError, match="no NVIDIA driver"):
            open_backend("auto", model, precision="fp16")

    def test_a_missing_variant_is_reported(self, tmp_path: Path) -> None:
        for suffix in (".onnx", ".json"):
            shutil.copy(Model.load("fast").path.with_suffix(suffix), tmp_path)
        alone = Model.load(str(tmp_path / "fast.onnx"))
        options = EngineOptions(notice=self.gpu.notices.append)
        backend = open_backend("tensorrt", alone, engines=options)
        assert backend.description.startswith("tensorrt fp32, ")
        assert self.gpu.notices == ["running fp32: model 'fast' has no fp16 variant"]
        backend.close()
        with pytest.raises(ModelError, match="'fast' has no fp16 variant"):
            open_backend("tensorrt", alone, precision="fp16")

    def test_identity_runs_on_no_backend(self) -> None:
        for name in BACKENDS:
            backend = open_backend(name, Model.load("identity"))
            assert (backend.name, backend.takes_device_frames) == ("identity", True)
        with pytest.raises(BackendError, match="no backend is called 'identity'"):
            open_backend("identity", None)

    def test_precision_takes_the_variant(self) -> None:
        for precision, graph in (("auto", "fp16"), ("fp16", "fp16"), ("fp32", "fp32")):
            self.gpu.driver.closed = 0
            backend = open_backend("tensorrt", Model.load("fast"), precision=precision)  # type: ignore[arg-type]
            assert backend.description.startswith(f"tensorrt {graph}, ")
            backend.close()
