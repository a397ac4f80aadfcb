from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from exports import (
    Exported,
    exported_deblurgan,
    narrow_deblurgan,
    narrow_fast,
    newly_exported_fast,
    use_ready_made,
)
from numpy.typing import NDArray

from rtdeblur.backends import openvino
from rtdeblur.backends.tensorrt.builder import build
from rtdeblur.backends.tensorrt.flavours import RTX, log_of
from rtdeblur.backends.tensorrt.spec import EngineSpec, Shape, ShapeProfile, Target
from rtdeblur.dropout import INPUTS as DROPOUT_INPUTS
from rtdeblur.frames import Colour, Matrix
from rtdeblur.model import DEFAULT_MODEL, INPUTS, Model
from train.errors import ParityError
from train.export.bundle import (
    Bundle,
    Feed,
    compare_with_full,
    compare_with_pytorch,
    export_checkpoint,
    to_feed,
    write_bundles,
)
from train.export.graph import VideoGraph, export_onnx
from train.networks.generators import FastGenerator, Generator

Planes = list[NDArray[np.uint8]]
CHROMA = {"4:2:0": (2, 2), "4:2:2": (1, 2), "4:4:4": (1, 1)}
MATRICES: tuple[Matrix, ...] = ("bt601", "bt709", "bt2020")


@pytest.fixture(scope="session")
def fast(donor: Exported, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The donor, whose float32 graph is of the newer exporter."""
    return replace(donor, full=newly_exported_fast(tmp_path_factory))


@pytest.fixture(scope="session")
def deblurgan(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A generator with dropout, whose half-precision graph is of the newer exporter."""
    generator, path = narrow_deblurgan(), tmp_path_factory.mktemp("deblurgan") / "half.onnx"
    export_onnx(copy.deepcopy(generator).half(), path)
    return replace(exported_deblurgan(tmp_path_factory), generator=generator, half=path)


def feed_of(
    size: tuple[int, int], chroma: str = "4:2:0", batch: int = 1, colour: Colour | None = None
) -> Feed:
    """Random planes with every code value, out-of-range ones too."""
    colour = colour or Colour()
    rng = np.random.default_rng(size[0])
    down, right = CHROMA[chroma]
    small = (-(-size[0] // down), -(-size[1] // right))
    planes = [rng.integers(0, 256, (batch, 1, *s), np.uint8) for s in (size, small, small)]
    values = [*planes, colour.yuv_to_rgb(), colour.rgb_to_yuv(), np.array([colour.peak], np.float32)]
    return dict(zip(INPUTS, values, strict=True))


def by_torch(generator: Generator, feed: Feed) -> Planes:
    with torch.inference_mode():
        planes = VideoGraph(generator).eval()(*(torch.from_numpy(value) for value in feed.values()))
    return [plane.numpy() for plane in planes]


def by_onnxruntime(path: Path, feed: Feed) -> Planes:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return list(ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, feed))


def by_openvino(path: Path, feed: Feed) -> Planes:
    core = openvino.core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled: Any = core.compile_model(core.read_model(path), "CPU", settings)
    result = compiled(feed)
    return [result[name] for name in ("y_out", "u_out", "v_out")]


RUNTIMES = {"onnxruntime": by_onnxruntime, "openvino": by_openvino}


def levels(a: Planes, b: Planes) -> int:
    return max(int(np.abs(x.astype(int) - y).max()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("size", "chroma", "batch"),
    [
        ((33, 33), "4:2:0", 1),
        ((33, 47), "4:2:2", 2),
        ((64, 80), "4:4:4", 3),
        ((121, 95), "4:2:0", 4),
        ((360, 641), "4:2:2", 1),
        ((720, 1280), "4:2:0", 1),
    ],
)
def test_the_graph_computes_what_pytorch_does(
    fast: Exported, runtime: str, size: tuple[int, int], chroma: str, batch: int
) -> None:
    feed = feed_of(size, chroma, batch)
    got, wanted = RUNTIMES[runtime](fast.full, feed), by_torch(fast.generator, feed)
    assert [plane.shape for plane in got] == [feed[name].shape for name in "yuv"]
    assert all(plane.dtype == np.uint8 for plane in got)
    # Another order of summation may round a value half-way to the other side.
    assert levels(got, wanted) <= 1
    assert levels(wanted, [feed[name] for name in "yuv"]) > 5  # the generator did something


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_generator_that_adds_nothing_returns_the_planes_bit_for_bit(
    matrix: Matrix, full_range: bool
) -> None:
    generator = FastGenerator((4, 4, 4, 4), (1, 1, 1), 1, (1, 1, 1)).eval()
    for chroma in CHROMA:
        feed = feed_of((49, 67), chroma, 2, Colour(matrix, full_range))
        for name, plane in zip("yuv", by_torch(generator, feed), strict=True):
            assert np.array_equal(plane, feed[name]), (chroma, name)


def scaled(path: Path, to: Path, factors: dict[str, float]) -> Path:
    """A graph with some of its generator's weights multiplied."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        factor = factors.get(tensor.name.removeprefix("generator."))
        if factor is not None:
            values = onnx.numpy_helper.to_array(tensor)
            product = (values * factor).astype(values.dtype)
            tensor.CopyFrom(onnx.numpy_helper.from_array(product, tensor.name))
    onnx.save_model(model, to)
    return to


def test_the_exported_identity_is_bit_for_bit_too(fast: Exported, tmp_path: Path) -> None:
    scaled(fast.full, tmp_path / "identity.onnx", {"head.weight": 0, "head.bias": 0})
    for matrix in MATRICES:
        feed = feed_of((49, 67), "4:2:0", 2, Colour(matrix, True))
        for run in RUNTIMES.values():
            for name, plane in zip("yuv", run(tmp_path / "identity.onnx", feed), strict=True):
                assert np.array_equal(plane, feed[name])


def test_the_graph_serves_ten_bits(fast: Exported) -> None:
    eight, colour = feed_of((64, 64), "4:2:0"), Colour(bit_depth=10)
    ten: Feed = {name: eight[name].astype(np.float32) * 4 for name in "yuv"}
    ten |= {"yuv_to_rgb": colour.yuv_to_rgb(), "rgb_to_yuv": colour.rgb_to_yuv()}
    ten["peak"] = np.array([1023], np.float32)
    coarse, fine = by_torch(fast.generator, eight), by_torch(fast.generator, ten)
    for a, b in zip(coarse, fine, strict=True):
        # Four codes of ten bits are one of eight; 1023 is a little more than 4 × 255.
        assert np.abs(a * 4.0 - b).max() <= 3 + 2
        assert b.max() <= 1023


@pytest.mark.parametrize("size", [(33, 37), (64, 64)])
def test_half_precision_is_at_most_a_level_off(
    fast: Exported, deblurgan: Exported, size: tuple[int, int]
) -> None:
    for model in (fast, deblurgan):
        feed = feed_of(size)
        if model.generator.sites:
            tables = model.generator.sites.draw(0, *size)
            feed |= dict(zip(DROPOUT_INPUTS, tables, strict=True))
        assert levels(by_onnxruntime(model.half, feed), by_onnxruntime(model.full, feed)) <= 1


def tensor_types(path: Path) -> Iterator[tuple[str, set[int]]]:
    """Every node's operation and the types of its inputs, as shape inference finds them."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.input]}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        yield node.op_type, {types[name] for name in node.input if name in types}


def test_half_precision_convolves_in_fp16_and_normalises_in_float32(deblurgan: Exported) -> None:
    operations = list(tensor_types(deblurgan.half))
    convolutions = [types for name, types in operations if name in ("Conv", "ConvTranspose")]
    assert len(convolutions) == 10
    assert all(types == {onnx.TensorProto.FLOAT16} for types in convolutions)
    norms = [types for name, types in operations if name == "InstanceNormalization"]
    assert len(norms) == 9
    assert all(types == {onnx.TensorProto.FLOAT} for types in norms)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_dropout_s_mask_comes_in_by_its_tables(deblurgan: Exported, runtime: str) -> None:
    size, sites = (61, 83), deblurgan.generator.sites
    assert sites
    seen = []
    for tables in (sites.draw(1, *size), sites.draw(1, *size), sites.draw(2, *size), sites.off(*size)):
        feed = feed_of(size) | dict(zip(DROPOUT_INPUTS, tables, strict=True))
        got = RUNTIMES[runtime](deblurgan.full, feed)
        assert levels(got, by_torch(deblurgan.generator, feed)) <= 1
        seen.append(got)
    assert levels(seen[0], seen[1]) == 0  # the same seed, the same bytes: a still scene stays still
    assert levels(seen[0], seen[2]) > 2
    assert levels(seen[3], by_torch(deblurgan.generator, feed_of(size))) <= 1


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_graph_with_dropout_becomes_an_engine(deblurgan: Exported, dynamic: bool) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install 'rtdeblur[rtx]'")
    shapes = [Shape.of(1, 48, 80), Shape.of(2, 72, 96)] if dynamic else [Shape.of(1, 48, 80)]
    stride = deblurgan.generator.stride
    profile, target = ShapeProfile.spanning(shapes), Target.of(RTX)
    spec = EngineSpec("tiny", "0" * 64, "fp16", stride, profile, target)
    with log_of(RTX).listening() as messages:
        assert build(deblurgan.half.read_bytes(), spec)
    text = next(text for _, text in messages if text.startswith("Engine Layer Information"))
    for table in DROPOUT_INPUTS:
        assert f"{table} (Half[" in text


@pytest.fixture
def ready_made(donor: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    use_ready_made(donor, monkeypatch)


@pytest.mark.usefixtures("ready_made")
def test_bundles_can_be_read_by_the_runtime(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    files = write_bundles(narrow_fast(), Bundle("tiny", "MIT"), tmp_path, [picture])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tiny-fp16.json", "tiny-fp16.onnx", "tiny.json", "tiny.onnx",
    ]  # fmt: skip
    for path, precision in zip(files, ("fp32", "fp16"), strict=True):
        manifest = Model.load(str(path)).manifest
        assert (manifest.precision, manifest.stride, manifest.dropout) == (precision, 16, "off")


@pytest.mark.usefixtures("ready_made")
def test_the_float32_bundle_can_be_skipped(tmp_path: Path) -> None:
    (path,) = write_bundles(narrow_fast(), Bundle("tiny", "MIT", half_only=True), tmp_path, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-fp16.json", "tiny-fp16.onnx"]
    assert Model.load(str(path)).manifest.precision == "fp16"


def test_only_a_graph_with_dropout_takes_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[bool] = []
    for name in ("compare_with_pytorch", "compare_with_full"):
        monkeypatch.setattr(f"train.export.bundle.{name}", lambda *_: [])
    monkeypatch.setattr(
        "train.export.bundle.export_onnx",
        lambda generator, path: (path.write_bytes(b""), exported.append(generator.sites is not None)),
    )
    generator = narrow_deblurgan()
    for dropout, tables in (("off", False), ("paper", True)):
        path, _ = write_bundles(generator, Bundle("tiny", "MIT", dropout), tmp_path, [])
        assert set(exported) == {tables}
        manifest = json.loads(path.with_suffix(".json").read_text())
        assert manifest.get("dropout_sites") == ({"count": 2, "channels": 16} if tables else None)
        exported.clear()


@pytest.mark.parametrize("known", [False, True])
def test_a_manifest_describes_training_without_local_paths(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"step": 7, "options": {"pairs": ["/home/me/gopro"], "batch": 4, "note": "a/b"}}
    written: list[Bundle] = []
    monkeypatch.setattr("train.export.bundle.load_generator", lambda *_: (narrow_fast(), state))
    monkeypatch.setattr("train.export.bundle.list_pictures", lambda _: [])
    monkeypatch.setattr(
        "train.export.bundle.write_bundles", lambda _, bundle, *__: written.append(bundle) or []
    )
    earlier = Model.load(DEFAULT_MODEL)
    manifest = earlier.path.with_suffix(".json") if known else None
    export_checkpoint(Path("c"), tmp_path, tmp_path, None, Bundle("tiny", "MIT"), manifest)
    bundle = written[0]
    assert bundle.architecture["parameters"] < 100_000
    if known:
        assert (bundle.training, bundle.scores) == (earlier.manifest.training, earlier.manifest.scores)
    else:
        config = {"pairs": ["gopro"], "batch": 4, "note": "a/b"}
        assert bundle.training == {"steps": 7, "examples": 28, "config": config}


def louder(generator: Generator, stem: float, head: float) -> Generator:
    """The generator with the weights of its ends multiplied."""
    factors = {"stem.weight": stem, "stem.bias": stem, "head.weight": head}
    with torch.no_grad():
        for name, weight in generator.named_parameters():
            weight.mul_(factors.get(name, 1))
    return generator


@pytest.mark.usefixtures("ready_made")
def test_graphs_of_other_weights_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"the fp32 graph is \d+ levels off PyTorch"):
        write_bundles(louder(narrow_fast(), 2, 1), Bundle("bad", "MIT"), tmp_path, [])
    assert not list(tmp_path.iterdir())


def test_an_fp16_graph_that_overflows_is_refused(fast: Exported, tmp_path: Path) -> None:
    # Float32 takes a first layer a hundred thousand times louder; the largest half is 65504.
    generator = louder(narrow_fast(), 1e5, 1e-5)
    factors = {"stem.weight": 1e5, "stem.bias": 1e5, "head.weight": 1e-5}
    full = scaled(fast.full, tmp_path / "full.onnx", factors)
    half = scaled(
        fast.half, tmp_path / "half.onnx", {"stem.weight": 6e4, "stem.bias": 6e4, "head.weight": 1e-5}
    )
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    feeds = [to_feed(generator, picture)]
    exact = compare_with_pytorch(generator, full, feeds)
    with pytest.raises(ParityError, match=r"the fp16 graph has .* dB PSNR against fp32"):
        compare_with_full(half, feeds, exact)
