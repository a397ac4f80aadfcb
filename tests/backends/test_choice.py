"""What `--backend auto` takes, on a GPU that is none (`fake_gpu`)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from brighten import Gpu
from fake_gpu import FakeDriver

from rtdeblur.backends import open_backend
from rtdeblur.errors import CudaError, DependencyError
from rtdeblur.model import Model


class TestChoice:
    """What `auto` takes."""

    @pytest.fixture(autouse=True)
    def here(self, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gpu = gpu
        monkeypatch.setattr("rtdeblur.backends.tensorrt.open_driver", lambda name: gpu.driver)
        monkeypatch.setattr("rtdeblur.backends.tensorrt.choose", lambda name, capability: gpu.trt.flavour)

    def test_a_gpu_with_tensorrt(self, model: Model) -> None:
        backend = open_backend("auto", model)
        assert backend.name == "tensorrt"
        assert backend.description == (
            "tensorrt fp16, Fake TensorRT 1.7.1, Fake GPU (compute capability 8.9, fake)"
        )
        backend.close()

    def test_a_gpu_that_is_not_listed(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
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
        [CudaError("no NVIDIA driver was found"), DependencyError("tensorrt_rtx", "rtx", "TensorRT-RTX")],
    )
    def test_no_gpu_or_no_tensorrt(
        self, model: Model, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(name: str) -> None:
            raise error

        monkeypatch.setattr("rtdeblur.backends.tensorrt.open_driver", refuse)
        backend = open_backend("auto", model)
        assert backend.name == "openvino"
        assert f"not tensorrt: {str(error).partition(';')[0]}" in backend.description
        with pytest.raises(type(error)):
            open_backend("tensorrt", model)

    def test_precision_takes_the_variant(self) -> None:
        for precision, graph in (("auto", "fp16"), ("fp32", "fp32")):
            self.gpu.driver.closed = 0
            backend = open_backend("tensorrt", Model.load("fast"), precision=precision)  # type: ignore[arg-type]
            assert backend.description.startswith(f"tensorrt {graph}, ")
            backend.close()
