"""The check of frames that stay on the GPU, on a fake GPU (`fake_gpu`, `fake_nvcodec`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import fake_nvcodec
import numpy as np
import pytest
from brighten import Gpu, brighten
from click.testing import CliRunner
from fake_gpu import FakeDriver

from rtdeblur.model import Manifest, Model

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_zerocopy.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_zerocopy", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("wrong", [False, True], ids=["right", "another picture"])
def test_the_check_passes_equal_frames_and_fails_others(
    script: ModuleType,
    make_clip: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: bool,
) -> None:
    clip = make_clip(".mkv", size="192x128", sound=False)
    manifest = Manifest(1, "brighten", "0" * 64, {}, 16, "fp16", "off", "MIT")
    gpu = Gpu(Model(manifest, brighten(), tmp_path / "brighten.onnx"), tmp_path, FakeDriver())
    fake_nvcodec.install(monkeypatch, gpu.driver)
    monkeypatch.setattr("rtdeblur.backends.tensorrt.pool.build", gpu.trt.build)
    monkeypatch.setattr(script, "open_backend", lambda *_, **__: gpu.backend())
    monkeypatch.setattr(script, "NVENC", "h264_nvenc")
    if wrong:
        runs = gpu.trt.module.Runtime.deserialize_cuda_engine

        def spoil(runtime: object, data: bytes) -> object:
            gpu.trt.restore = lambda plane, peak: np.minimum(plane + 1 + (b"nv12" in data), peak)
            return runs(runtime, data)

        monkeypatch.setattr(gpu.trt.module.Runtime, "deserialize_cuda_engine", spoil)
        monkeypatch.setattr("rtdeblur.backends.tensorrt.pool.LEAST_PSNR", 40.0)
    done = CliRunner().invoke(script.main, [str(clip)])
    assert "decoded: 12 frames, 12 identical" in done.output, done.output
    if wrong:
        assert done.exit_code == 1
        assert "pictures differ" in done.output
        return
    assert done.exit_code == 0, done.output
    assert "restored: 12 frames, 12 identical" in done.output
    assert "encoded: 12 frames, 12 identical" in done.output
    assert "frames stay in GPU memory" in done.output
    assert "engine alone" in done.output
