"""Engines through torch-tensorrt: the calls, on a fake, and the error if it is missing."""

from __future__ import annotations

import copy
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rtdeblur.backends import openvino
from rtdeblur.backends.base import colour_inputs
from rtdeblur.backends.tensorrt import gate
from rtdeblur.dropout import INPUTS as DROPOUT_INPUTS
from rtdeblur.errors import EngineError
from rtdeblur.frames import Colour
from rtdeblur.model import INPUTS, OUTPUTS
from rtdeblur.parity import LEAST_PSNR, worst_psnr
from train.__main__ import main
from train.errors import ConfigError
from train.export.engine import export_engine
from train.export.graph import export_onnx
from train.networks.generators import DeblurGanOptions


@pytest.fixture(autouse=True)
def checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    narrow = DeblurGanOptions(width=4, blocks=1)
    monkeypatch.setattr("train.export.engine.load_generator", lambda *_: (narrow.build().eval(), {}))
    path = tmp_path / "last.safetensors"
    path.touch()
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A fake torch-tensorrt that records its calls."""
    noted: dict[str, Any] = {}

    def convert(  # named as in torch_tensorrt.dynamo of 2.5 to 2.14
        exported_program: torch.export.ExportedProgram,
        inputs: Any = None,
        *,
        arg_inputs: Any = None,
        kwarg_inputs: Any = None,
        use_explicit_typing: bool = True,
    ) -> bytes:
        assert inputs is None, "arg_inputs is its other name"
        noted.update(arg_inputs=arg_inputs, kwarg_inputs=kwarg_inputs, program=exported_program)
        noted["use_explicit_typing"] = use_explicit_typing
        return b"engine"

    module = ModuleType("torch_tensorrt")
    module.dynamo = SimpleNamespace(convert_exported_program_to_serialized_trt_engine=convert)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_tensorrt", module)
    return noted


def test_the_half_precision_graph_is_compiled_for_one_shape(
    asked: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    path = export_engine(checkpoint, tmp_path, "tiny", "2x35x50", dropout="paper")
    assert path == tmp_path / "tiny-fp16_2x35x50.engine"
    assert path.read_bytes() == b"engine"
    assert asked["use_explicit_typing"] is True
    shapes = [(tuple(t.shape), t.dtype) for t in asked["arg_inputs"]]
    byte, real = torch.uint8, torch.float32
    assert shapes == [
        ((2, 1, 35, 50), byte), ((2, 1, 18, 25), byte), ((2, 1, 18, 25), byte),
        ((3, 4), real), ((3, 4), real), ((1,), real),
    ]  # fmt: skip
    assert {name: tuple(t.shape) for name, t in asked["kwarg_inputs"].items()} == {
        "dropout_rows": (1, 16, 9),
        "dropout_columns": (1, 16, 13),
        "dropout_plane": (1, 9, 13),
    }
    program = asked["program"]
    names = [*("y", "u", "v", "yuv_to_rgb", "rgb_to_yuv", "peak"), *asked["kwarg_inputs"]]
    assert [name.removeprefix("signs_") for name in program.graph_signature.user_inputs] == names
    assert {p.dtype for p in program.module().parameters()} == {torch.float16}
    device = asked["arg_inputs"][0].device
    planes = program.module()(*asked["arg_inputs"], **asked["kwarg_inputs"])
    assert [(tuple(p.shape), p.dtype, p.device) for p in planes] == [
        (shape, byte, device) for shape, _ in shapes[:3]
    ]


def test_a_graph_without_dropout_takes_no_tables(
    asked: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    export_engine(checkpoint, tmp_path, "tiny", "1x32x32")
    assert asked["kwarg_inputs"] == {}


def test_a_missing_torch_tensorrt_is_a_one_line_error(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)  # as if it were not installed
    words = ["export", checkpoint, tmp_path, "--name", "tiny", "--engine", "1x32x32"]
    monkeypatch.setattr("sys.argv", ["train", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: --engine needs torch-tensorrt, which does not load here: ")
    assert "then `rtdeblur build`" in said
    assert said.count("\n") == 1
    assert list(tmp_path.glob("*.engine")) == []


def test_a_converters_exception_is_a_one_line_error(
    asked: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise RuntimeError("no converter\nfor aten.pad")

    sys.modules["torch_tensorrt"].dynamo.convert_exported_program_to_serialized_trt_engine = refuse
    with pytest.raises(EngineError, match=r"cannot compile 'tiny': no converter for aten\.pad"):
        export_engine(checkpoint, tmp_path, "tiny", "1x32x32")
    assert list(tmp_path.glob("*.engine")) == []


@pytest.mark.parametrize("shape", ["720p", "1x720", "0x720x1280", "1x-1x2"])
def test_an_invalid_shape_is_refused(checkpoint: Path, tmp_path: Path, shape: str) -> None:
    with pytest.raises(ConfigError, match=r"expected batch, height and width, e\.g\. 1x720x1280"):
        export_engine(checkpoint, tmp_path, "tiny", shape)


def test_bundles_still_need_pictures_and_a_licence(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train", "export", str(checkpoint), str(tmp_path), "--name", "tiny"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "A bundle needs --pictures and --licence." in capsys.readouterr().err


def run(trt: Any, engine: bytes, inputs: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """What an engine makes of named inputs on the GPU; its outputs have names of their own."""
    loaded = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(engine)
    context = loaded.create_execution_context()
    names = [loaded.get_tensor_name(index) for index in range(loaded.num_io_tensors)]
    outputs = [name for name in names if loaded.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
    assert {name.removeprefix("signs_") for name in names} - {*outputs} == {*inputs}
    held = {name: inputs[name.removeprefix("signs_")].cuda() for name in names if name not in outputs}
    for name, tensor in held.items():
        assert context.set_input_shape(name, tuple(tensor.shape))
    for name in outputs:
        held[name] = torch.empty(tuple(context.get_tensor_shape(name)), dtype=torch.uint8, device="cuda")
    for name, tensor in held.items():
        assert context.set_tensor_address(name, tensor.data_ptr())
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    assert context.execute_async_v3(stream.cuda_stream)
    stream.synchronize()
    return [held[name].cpu().numpy() for name in outputs]


@pytest.mark.needs_cuda
def test_an_engine_restores_like_the_onnx_path(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The half-precision engine of torch-tensorrt, and the float32 ONNX graph of the same weights."""
    try:
        import torch_tensorrt
    except Exception as error:
        pytest.skip(f"torch-tensorrt does not load: {error}")
    rtx = torch_tensorrt.ENABLED_FEATURES.tensorrt_rtx
    trt = importlib.import_module("tensorrt_rtx" if rtx else "tensorrt")
    generator, size = DeblurGanOptions(width=4, blocks=1).build().eval(), (64, 96)
    monkeypatch.setattr("train.export.engine.load_generator", lambda *_: (copy.deepcopy(generator), {}))
    path = export_engine(checkpoint, tmp_path, "tiny", "1x64x96", dropout="paper")
    picture = gate.test_picture(size, (32, 48), Colour())
    assert generator.sites
    tables = zip(DROPOUT_INPUTS, generator.sites.draw(3, *size), strict=True)
    planes = dict(zip(INPUTS, picture.planes, strict=False))
    feed = {**planes, **colour_inputs(Colour()), **dict(tables)}
    y, u, v = run(trt, path.read_bytes(), {name: torch.from_numpy(value) for name, value in feed.items()})
    onnx = tmp_path / "tiny.onnx"
    export_onnx(generator, onnx)
    compiled = openvino.core().compile_model(onnx, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    reference = tuple(compiled(feed)[name] for name in OUTPUTS)
    assert worst_psnr((y, u, v), reference, 255) >= LEAST_PSNR
