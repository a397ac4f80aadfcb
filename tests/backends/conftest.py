"""A fake GPU (`fake_gpu`), and backends on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from brighten import Gpu, brighten
from fake_gpu import FakeDriver

from rtdeblur.model import Manifest, Model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    manifest = Manifest(1, "brighten", "0" * 64, {}, 16, "fp16", "off", "MIT")
    return Model(manifest, brighten(), tmp_path_factory.mktemp("model") / "brighten.onnx")


@pytest.fixture
def make_gpu(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gpu]:
    def make(driver: FakeDriver | None = None, *, portable: bool = True) -> Gpu:
        gpu = Gpu(model, tmp_path / "engines", driver or FakeDriver(), portable=portable)
        monkeypatch.setattr("rtdeblur.backends.tensorrt.pool.build", gpu.trt.build)
        return gpu

    return make


@pytest.fixture
def gpu(make_gpu: Callable[..., Gpu]) -> Gpu:
    return make_gpu()
