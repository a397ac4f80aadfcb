"""Engines by torch-tensorrt: what it is asked for, by a stand-in; and that it is not here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from rtdeblur.errors import EngineError
from train.__main__ import main
from train.engine import export_engine
from train.errors import ConfigError
from train.generators import DeblurGanOptions


@pytest.fixture(autouse=True)
def checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    narrow = DeblurGanOptions(width=4, blocks=1)
    monkeypatch.setattr("train.engine.load_generator", lambda *_: (narrow.build().eval(), {}))
    path = tmp_path / "last.safetensors"
    path.touch()
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A torch-tensorrt that notes what it is asked for."""
    noted: dict[str, Any] = {}

    def convert(program: torch.export.ExportedProgram, **words: Any) -> bytes:
        noted.update(words, program=program)
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


def test_where_torch_tensorrt_is_not_one_line_says_so(
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


def test_what_a_converter_raises_is_one_line(asked: dict[str, Any], checkpoint: Path, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise RuntimeError("no converter\nfor aten.pad")

    sys.modules["torch_tensorrt"].dynamo.convert_exported_program_to_serialized_trt_engine = refuse
    with pytest.raises(EngineError, match=r"cannot compile 'tiny': no converter for aten\.pad"):
        export_engine(checkpoint, tmp_path, "tiny", "1x32x32")
    assert list(tmp_path.glob("*.engine")) == []


@pytest.mark.parametrize("shape", ["720p", "1x720", "0x720x1280", "1x-1x2"])
def test_a_shape_that_is_none(checkpoint: Path, tmp_path: Path, shape: str) -> None:
    with pytest.raises(ConfigError, match="expected batch, height and width, as 1x720x1280"):
        export_engine(checkpoint, tmp_path, "tiny", shape)


def test_bundles_still_need_pictures_and_a_licence(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train", "export", str(checkpoint), str(tmp_path), "--name", "tiny"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "A bundle needs --pictures and --licence." in capsys.readouterr().err
