"""Quantised bundles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from exports import newly_exported_fast
from onnx import TensorProto, helper, numpy_helper

from rtdeblur.backends import open_backend
from rtdeblur.errors import BackendError, ModelError
from rtdeblur.frames import Colour, FrameBatch
from rtdeblur.model import Model
from train.data.pictures import Picture, write_picture
from train.errors import DataError, ExportError, ParityError
from train.export import quantize as module
from train.export.quantize import quantize

PLANES = ("y", "u", "v")


def network(convolutions: int = 5) -> bytes:
    """A video graph for 4:4:4 whose change is a few convolutions of the planes, scaled as in our exports."""
    rng = np.random.default_rng(0)
    infos = [helper.make_tensor_value_info(n, TensorProto.UINT8, ["n", 1, "h", "w"]) for n in PLANES]
    shapes = {"yuv_to_rgb": [3, 4], "rgb_to_yuv": [3, 4], "peak": [1]}
    infos += [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    outputs = [
        helper.make_tensor_value_info(f"{n}_out", TensorProto.UINT8, ["n", 1, "h", "w"]) for n in PLANES
    ]
    weights = {
        "ones": np.array([1, 1, 1, 0], np.float32), "tiny": np.float32(1e-6),
        "index": np.array(0), "split": np.array([1, 1, 1]),
    }  # fmt: skip
    nodes = [helper.make_node("Cast", [n], [f"{n}_f"], f"cast_{n}", to=TensorProto.FLOAT) for n in PLANES]
    nodes += [
        helper.make_node("Mul", ["rgb_to_yuv", "ones"], ["scaled"], "scaling"),
        helper.make_node("Gather", ["scaled", "index"], ["row"], "row", axis=0),
        helper.make_node("Gather", ["row", "index"], ["weight"], "weight", axis=0),
        helper.make_node("ReduceSum", ["yuv_to_rgb"], ["sum"], "sum", keepdims=0),
        helper.make_node("Mul", ["sum", "tiny"], ["nothing"], "nothing"),
        helper.make_node("Concat", [f"{n}_f" for n in PLANES], ["x0"], "planes", axis=1),
    ]
    for i in range(convolutions):
        shape = (3 if i == convolutions - 1 else 8, 3 if i == 0 else 8, 3, 3)
        scale = 0.15 if i < convolutions - 1 else 0.0003  # the change is multiplied by 47
        weights[f"w{i}"] = rng.normal(0, scale, shape).astype(np.float32)
        nodes.append(helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"c{i}"], f"conv{i}", pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu" if i % 2 else "Identity", [f"c{i}"], [f"x{i + 1}"], f"act{i}"))
    nodes += [
        helper.make_node("Mul", [f"x{convolutions}", "weight"], ["change"], "weighted"),
        helper.make_node("Split", ["change", "split"], [f"{n}_d" for n in PLANES], "parts", axis=1),
    ]
    for n in PLANES:
        nodes += [
            helper.make_node("Add", [f"{n}_f", f"{n}_d"], [f"{n}_s"], f"add_{n}"),
            helper.make_node("Add", [f"{n}_s", "nothing"], [f"{n}_t"], f"used_{n}"),
            helper.make_node("Round", [f"{n}_t"], [f"{n}_r"], f"round_{n}"),
            helper.make_node("Relu", [f"{n}_r"], [f"{n}_p"], f"positive_{n}"),
            helper.make_node("Min", [f"{n}_p", "peak"], [f"{n}_m"], f"most_{n}"),
            helper.make_node("Cast", [f"{n}_m"], [f"{n}_out"], f"back_{n}", to=TensorProto.UINT8),
        ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "net", infos, outputs, tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path, network())


def write_bundle(folder: Path, graph: bytes) -> Path:
    (folder / "net.onnx").write_bytes(graph)
    manifest = {
        "format_version": 1, "name": "net", "sha256": hashlib.sha256(graph).hexdigest(), "architecture": {},
        "stride": 16, "precision": "fp32", "dropout": "off", "licence": "MIT", "scores": {"kept": 1},
    }  # fmt: skip
    (folder / "net.json").write_text(json.dumps(manifest))
    return folder / "net.onnx"


@pytest.fixture
def pictures(tmp_path: Path, make_scene: Callable[..., Picture]) -> Path:
    (tmp_path / "pictures").mkdir()
    for i in range(2):
        write_picture(tmp_path / "pictures" / f"{i}.png", make_scene(i))
    return tmp_path / "pictures"


def batch(picture: Picture) -> FrameBatch:
    planes = tuple(np.ascontiguousarray(picture[None, None, ..., channel]) for channel in (1, 2, 0))
    return FrameBatch(planes, (0,), 1, Colour(), (None,))  # type: ignore[arg-type]


def test_a_graph_of_pytorch_s_older_exporter_is_quantised(tmp_path: Path, pictures: Path) -> None:
    proto = onnx.load_from_string(network())
    (ones,) = (tensor for tensor in proto.graph.initializer if tensor.name == "ones")
    proto.graph.initializer.remove(ones)
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["ones"], value=ones))
    path = quantize(write_bundle(tmp_path, proto.SerializeToString()), [pictures], crops=2)
    assert not any(
        node.op_type == "Mul" and "rgb_to_yuv" in node.input for node in onnx.load(path).graph.node
    )


def test_inner_convolutions_are_quantised_and_the_result_stays_close(
    bundle: Path, pictures: Path, make_scene: Callable[..., Picture]
) -> None:
    path = quantize(bundle, [pictures], crops=4)
    assert path.name == "net-int8.onnx"
    proto = onnx.load(path)
    made = {output: node for node in proto.graph.node for output in node.output}
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    integer = [all(made[name].op_type == "DequantizeLinear" for name in node.input if name in made)
               and node.input[1] in made for node in convolutions]  # fmt: skip
    assert integer == [False, True, True, True, False]
    model = Model.load(str(bundle))
    assert model.variant("int8").manifest.scores == {"kept": 1}
    assert model.variant("int8").manifest.architecture["quantised_from"] == [model.manifest.sha256]
    scene = batch(make_scene(5))
    results = []
    for precision in ("fp32", "int8"):
        with open_backend("openvino", model, precision=precision) as backend:  # type: ignore[arg-type]
            assert backend.fingerprint["precision"] == precision
            results.append(np.stack(backend.infer(scene).planes).astype(float))
    exact, coarse = results
    change = np.abs(exact - np.stack(scene.planes)).mean()
    # 8 bits in three layers, and rounding to whole levels, of a change of three levels.
    assert 0 < np.abs(coarse - exact).mean() < 0.1 * change


def test_the_ends_of_both_scales_stay_float32(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, pictures: Path
) -> None:
    graph = newly_exported_fast(tmp_path_factory).read_bytes()
    proto = onnx.load(quantize(write_bundle(tmp_path, graph), [pictures], crops=2))
    made = {output for node in proto.graph.node for output in node.output}
    integer = [node.input[1] in made for node in proto.graph.node if node.op_type == "Conv"]
    scale = len(integer) // 2
    ends = [False, *[True] * (scale - 2), False]
    assert integer == [*ends, False, *ends]  # the coarse change is doubled between them


def test_a_loss_on_the_suite_is_refused_and_leaves_nothing_behind(
    bundle: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_quantized", lambda proto, _: proto)
    monkeypatch.setattr(module, "losses", lambda *_: iter([("gopro-test", 0.05), ("gopro-clip", 0.11)]))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ParityError, match=r"loses 0\.110 dB on gopro-clip, expected at most 0\.10"):
        quantize(bundle, [pictures], tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_graph_without_inner_convolutions_is_refused(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(ExportError, match="has 2 convolutions, expected at least 3"):
        quantize(write_bundle(tmp_path, network(2)), [pictures], crops=1)


def test_every_fourth_crop_is_the_brightest_of_several(tmp_path: Path) -> None:
    picture = np.full((300, 500, 3), 40, np.uint8)
    picture[:150, :250] = 255
    write_picture(tmp_path / "a.png", picture)
    bright = [float((crop == 255).mean()) for crop in module._crops([tmp_path], 80)]
    assert np.mean(bright[::4]) > 1.3 * np.mean(bright)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        list(module._crops([tmp_path / "empty"], 1))


def test_a_model_without_int8_says_how_to_make_it(bundle: Path) -> None:
    with pytest.raises(ModelError, match=r"no int8 variant.*python -m train quantize"):
        open_backend("openvino", Model.load(str(bundle)), precision="int8")
    with pytest.raises(BackendError, match="bf16, fp32 or int8, not fp16"):
        open_backend("openvino", Model.load(str(bundle)), precision="fp16")


def test_a_graph_that_changes_sharp_pictures_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def restores(restore: Callable[[Picture], Picture]) -> None:
        monkeypatch.setattr(module, "open_restorer", lambda path: SimpleNamespace(restore=restore))

    restores(lambda picture: picture)
    module._check_harm(Path("net-int8.onnx"))
    restores(lambda picture: picture // 2)
    with pytest.raises(
        ParityError, match=r"changes a sharp picture \(rendered page: .* dB, expected at least"
    ):
        module._check_harm(Path("net-int8.onnx"))
