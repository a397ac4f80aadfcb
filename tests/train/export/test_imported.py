"""Public checkpoints and plain ONNX files become bundles that every backend runs as PyTorch does."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exports import narrow_fast
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from rtdeblur.backends import open_backend
from rtdeblur.backends.base import colour_inputs
from rtdeblur.errors import ModelError
from rtdeblur.frames import Colour, FrameBatch
from rtdeblur.model import Model
from rtdeblur.parity import LEAST_PSNR, worst_psnr
from train.__main__ import cli
from train.data.pictures import read_picture
from train.errors import CheckpointError, ConfigError, ExportError
from train.export.graph import PlainGraph, VideoGraph
from train.export.imported import Import, Imported, import_network
from train.measure.demo_scene import blurred_scene
from train.networks import public
from train.networks.public import ARCHITECTURES, PublicGenerator, load_network, read_weights

ROOT = Path(__file__).parents[3]

needs_spandrel = pytest.mark.skipif(find_spec("spandrel") is None, reason="needs spandrel")

TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "NAFNet": ("NAFNet", {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}),
    "KBNet": (
        "KBNet_s",
        {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
    ),
    "FFTformer": (
        "FFTformer",
        {"dim": 8, "num_blocks": [1, 1, 1], "num_refinement_blocks": 1, "ffn_expansion_factor": 2},
    ),
    "Restormer": (
        "Restormer",
        {"dim": 8, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1, "heads": [1, 1, 2, 2]},
    ),
    "MPRNet": ("MPRNet", {"n_feat": 8, "scale_unetfeats": 4, "scale_orsnetfeats": 4, "num_cab": 1}),
    "M3SNet": (
        "M3SNet",
        {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1, 1, 1], "dec_blk_nums": [1, 1, 1, 1]},
    ),
    "MIRNetv2": ("MIRNet2", {"n_feat": 16, "chan_factor": 1.5, "n_MRB": 1}),
}
"""Classes of spandrel and small configurations, by architecture."""
LAST = ("ending", "output", "tail", "conv_out")
"""Names of last layers, whose result is added to the picture."""


def tiny(name: str) -> nn.Module:
    """A network of random weights whose change is moderate, as a trained one's, and depends on all layers."""
    public._spandrel()
    torch.manual_seed(0)
    kind, options = TINY[name]
    module = importlib.import_module(ARCHITECTURES[name].module)
    network: nn.Module = getattr(module, kind)(**options)
    with torch.no_grad():
        for key, weight in network.named_parameters():
            if weight.ndim > 1 and not weight.any():  # what starts as zero hides other layers
                weight.normal_(0, 0.1)
            if key.partition(".")[0] in LAST:
                weight *= 0.1
    return network.eval()


@pytest.fixture(scope="module", params=TINY)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A network, its checkpoint and its bundles."""
    if find_spec("spandrel") is None:
        pytest.skip("needs spandrel")
    folder = tmp_path_factory.mktemp("imported")
    network = tiny(request.param)
    checkpoint = folder / "some.pth"
    torch.save({"params": network.state_dict()}, checkpoint)
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "NAFNet":  # for the others, strips of a quarter of 4K's length will do
            patch.setattr("train.export.bundle.STRIPS", ((64, 960), (960, 64)))
        done = import_network(Import(checkpoint, licence="Apache-2.0", folder=folder / "models"))
    return SimpleNamespace(name=request.param, network=network, checkpoint=checkpoint, done=done)


def test_the_manifest_names_network_file_and_licence(case: SimpleNamespace) -> None:
    manifest = Model.load(str(case.done.paths[0])).manifest
    assert manifest.name == case.done.name == "some"
    assert manifest.architecture["generator"] == case.name
    assert manifest.architecture["imported_from"] == "some.pth"
    assert manifest.architecture["gflop_256"] > 0
    assert manifest.licence == "Apache-2.0"
    assert manifest.scores == {}


def test_what_is_adapted_computes_the_same(case: SimpleNamespace) -> None:
    generator = load_network(read_weights(case.checkpoint), case.checkpoint)
    side = 2 * generator.stride
    x = torch.rand(2, 3, side, side + generator.stride)
    with torch.inference_mode():
        wanted = case.network(x)
        wanted = wanted[0] if isinstance(wanted, (list, tuple)) else wanted
        got = x + generator.residual(2 * x - 1) / 2
    assert (got - wanted).abs().max() < 1e-4


@needs_spandrel
def test_the_large_kbnet_computes_the_same(tmp_path: Path) -> None:
    public._spandrel()
    module = importlib.import_module(ARCHITECTURES["KBNet"].module)
    blocks = {"num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1, "heads": [1, 1, 2, 2]}
    network = module.KBNet_l(dim=24, **blocks).eval()
    path = tmp_path / "large.pth"
    torch.save(network.state_dict(), path)
    generator = load_network(read_weights(path), path)
    x = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        assert (x + generator.residual(2 * x - 1) / 2 - network(x)).abs().max() < 1e-4


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_every_backend_agrees_with_pytorch(case: SimpleNamespace, backend: str, count: int) -> None:
    batch = batch_of(count, (75, 93))
    reference = VideoGraph(load_network(read_weights(case.checkpoint), case.checkpoint)).eval()
    inputs = (*batch.planes, *colour_inputs(batch.colour).values())
    with torch.inference_mode():
        wanted = [plane.numpy() for plane in reference(*map(torch.from_numpy, inputs))]
    assert any((new != old).any() for new, old in zip(wanted, batch.planes, strict=True))
    with open_backend(backend, Model.load(str(case.done.paths[0])), precision="fp32") as opened:
        got = opened.infer(batch)
    for one, other in zip(got.planes, wanted, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_half_precision_is_written_only_if_it_is_near(case: SimpleNamespace) -> None:
    if case.done.without_half:
        assert len(case.done.paths) == 1
        assert "the fp16 graph" in case.done.without_half
        return
    full, half = (Model.load(str(path)) for path in case.done.paths)
    assert (full.manifest.precision, half.manifest.precision) == ("fp32", "fp16")
    assert len(half.onnx) < len(full.onnx)
    batch = batch_of(1, (75, 93))
    near, exact = (open_backend("openvino", model, precision="fp32").infer(batch) for model in (half, full))
    assert worst_psnr(near.planes, exact.planes, 255) >= LEAST_PSNR


def batch_of(count: int, size: tuple[int, int]) -> FrameBatch:
    """Smooth pictures as 4:2:0, in full range so that nothing is clipped."""
    rng = np.random.default_rng(3)
    colour = Colour(full_range=True)
    small = tuple(-(-side // 2) for side in size)

    def plane(shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
        coarse = rng.integers(low, high, (count, 1, -(-shape[0] // 8), -(-shape[1] // 8))).astype(np.uint8)
        fine = coarse.repeat(8, 2).repeat(8, 3)[:, :, : shape[0], : shape[1]]
        return np.ascontiguousarray(fine)

    planes = (plane(size, 60, 200), plane(small, 110, 146), plane(small, 110, 146))
    return FrameBatch(planes, tuple(range(count)), Fraction(1, 25), colour, (None,) * count)


def state() -> dict[str, Tensor]:
    return tiny("NAFNet").state_dict()


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[..., Imported]:
    """Import a file to a folder that must stay empty if it fails."""

    def attempt(path: Path, **options: Any) -> Imported:
        return import_network(Import(path, folder=tmp_path / "models", **options))

    return attempt


class Code:
    """A pickle that makes a file where it is loaded."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self._marker, "ran"))


@needs_spandrel
@pytest.mark.parametrize("ending", [".pth", ".pt", ".ckpt"])
@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
def test_a_pickle_that_holds_code_is_refused_and_not_run(
    form: str, ending: str, tmp_path: Path, attempt: Callable[..., Imported]
) -> None:
    marker, path = tmp_path / "ran", tmp_path / f"evil{ending}"
    content = {"params": {"intro.weight": torch.zeros(1)}, "more": Code(marker)}
    if form == "plain":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError, match=r"refused: .*nothing in it was run") as caught:
        attempt(path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    assert not (tmp_path / "models").exists()


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


@needs_spandrel
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("truncated", "cannot read the checkpoint .*cut off, download it again|is refused"),
        ("empty", "cannot read the checkpoint"),
        ("no checkpoint", "cannot read the checkpoint|is refused"),
        ("another network", r"is of a network that is not imported; expected one of NAFNet, KBNet"),
        ("known network", r"is of ESRGAN, which is not imported; expected one of NAFNet, KBNet"),
        ("missing key", r"does not fit NAFNet: it lacks middle_blks\.0\.conv1\.bias"),
        ("other size", r"does not fit NAFNet: wrong size of middle_blks\.0\.conv1\.bias"),
        ("not a number", r"has values that are not numbers in intro\.bias"),
        ("no weights", "holds no weights"),
        ("grey", "takes 1 channels and returns 1, expected RGB"),
    ],
)
def test_a_file_of_another_kind_is_one_line(
    spoil: str, message: str, ending: str, tmp_path: Path, attempt: Callable[..., Imported]
) -> None:
    weights = state()
    if spoil == "another network":
        weights = {"layer.weight": torch.zeros(3, 3)}
    if spoil == "known network":
        names = ("conv_first", "body.0.rdb1.conv1", "conv_body", "conv_last")
        weights = {f"model.{i}.weight": torch.zeros(3, 3, 3, 3) for i in (0, 3, 6, 8, 10)}
        weights |= {f"model.1.sub.0.RDB1.conv{i}.0.weight": torch.zeros(3, 3, 3, 3) for i in range(1, 6)}
        weights |= {f"{name}.weight": torch.zeros(3, 3, 3, 3) for name in names}
    if spoil == "missing key":
        del weights["middle_blks.0.conv1.bias"]
    if spoil == "other size":
        weights["middle_blks.0.conv1.bias"] = torch.zeros(3)
    if spoil == "not a number":
        weights["intro.bias"][0] = float("nan")
    if spoil == "no weights":
        weights = {}
    if spoil == "grey":
        public._spandrel()
        module = importlib.import_module(ARCHITECTURES["NAFNet"].module)
        weights = module.NAFNet(img_channel=1, **TINY["NAFNet"][1]).state_dict()
    path = tmp_path / f"odd{ending}"
    if ending == ".pth":
        torch.save(weights, path)
    else:
        save_file({key: value.contiguous() for key, value in weights.items()}, path)
    if spoil == "truncated":
        cut(path)
    if spoil in ("empty", "no checkpoint"):
        path.write_bytes(b"" if spoil == "empty" else b"hello, world. " * 9)
    with pytest.raises(CheckpointError, match=message) as caught:
        attempt(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "models").exists()


@needs_spandrel
def test_without_the_extra_architectures_the_others_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "some.pth"
    torch.save(tiny("MPRNet").state_dict(), path)
    monkeypatch.setattr(public, "_has_extra", lambda: False)
    assert public.imported() == ["NAFNet", "KBNet", "FFTformer"]
    with pytest.raises(CheckpointError, match="for more, pip install spandrel-extra-arches"):
        load_network(read_weights(path), path)
    torch.save(state(), path)
    assert load_network(read_weights(path), path).title == "NAFNet"


@needs_spandrel
def test_spandrel_loads_without_torchvision(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from train.networks import public\n"
        "print(public._spandrel().__version__, 'torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1:] == ["False"]


@needs_spandrel
@pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")  # of the network's own code
def test_uformer_is_refused_with_its_reason(tmp_path: Path, attempt: Callable[..., Imported]) -> None:
    public._spandrel()
    module = importlib.import_module(ARCHITECTURES["Uformer"].module)
    path = tmp_path / "uformer.pth"
    torch.save(module.Uformer(embed_dim=8, depths=[1] * 9, num_heads=[1] * 9).state_dict(), path)
    with pytest.raises(CheckpointError, match="Uformer cannot be imported: its code takes square pictures"):
        attempt(path)


@needs_spandrel
def test_wrappers_of_trainers_are_taken_off(tmp_path: Path) -> None:
    for wrapped in ({"state_dict": state()}, {f"module.{key}": value for key, value in state().items()}):
        path = tmp_path / "wrapped.pth"
        torch.save(wrapped, path)
        assert isinstance(load_network(read_weights(path), path), PublicGenerator)


@needs_spandrel
def test_padding_follows_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "some.pth"
    torch.save(state(), path)
    assert load_network(read_weights(path), path).stride == 4


@needs_spandrel
def test_sums_stay_exact_in_half_precision(tmp_path: Path) -> None:
    """A channel of 720p whose sum, and whose squares, overflow half precision."""
    path = tmp_path / "some.pth"
    torch.save(state(), path)
    generator = load_network(read_weights(path), path).half()
    block = generator.network.get_submodule("middle_blks")[0]
    assert block.norm1.weight.dtype == torch.float32
    assert block.conv1.weight.dtype == torch.float16
    big = torch.full((1, block.norm1.weight.shape[0], 8, 8), 300.0).half()
    big[:, ::2] = -300  # variance 90000
    assert block.norm1(big).isfinite().all()
    with public.ExactReductions():
        assert torch.full((1, 1, 720, 1280), 30.0).half().mean() == 30
    with torch.inference_mode():
        assert generator.residual(torch.zeros(1, 3, 64, 64).half()).isfinite().all()


@needs_spandrel
def test_a_graph_that_overflows_gets_no_fp16_variant(
    tmp_path: Path, attempt: Callable[..., Imported]
) -> None:
    weights = state()
    for name, factor in (("conv4", 2048), ("conv5", 2048**-2)):  # the gate's product is above 65504
        for kind in ("weight", "bias"):
            weights[f"middle_blks.0.{name}.{kind}"] *= factor if (name, kind) != ("conv5", "bias") else 1
    path = tmp_path / "loud.pth"
    torch.save(weights, path)
    done = attempt(path)
    assert [path.name for path in done.paths] == ["loud.onnx"]
    assert "the fp16 graph would overflow: values reach" in done.without_half


@needs_spandrel
def test_a_name_is_taken_only_once(tmp_path: Path, attempt: Callable[..., Imported]) -> None:
    path = tmp_path / "my net (v2).pth"
    torch.save(state(), path)
    assert attempt(path).name == "my-net-v2"
    with pytest.raises(
        ConfigError, match="has a model 'my-net-v2' already; choose another --name, or add -y"
    ):
        attempt(path)
    assert attempt(path, overwrite=True).name == "my-net-v2"
    with pytest.raises(ModelError, match="taken by a bundled model"):
        attempt(path, name="fast")


@needs_spandrel
def test_the_command_puts_a_model_where_the_program_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RTDEBLUR_MODEL_DIR", str(tmp_path / "own"))
    path = tmp_path / "nafnet.safetensors"
    save_file({key: value.contiguous() for key, value in state().items()}, path)
    cli.main(["import", str(path), "--name", "mine", "--licence", "MIT"], standalone_mode=False)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == str(tmp_path / "own/mine.onnx")
    assert "rtdeblur VIDEO --model mine" in printed.err
    assert Model.load("mine").manifest.licence == "MIT"


def plain_onnx(path: Path, *, scale: float = 1.0, **odd: Any) -> Path:
    """Write a graph that sharpens by a 3×3 kernel: x + scale · (x − blurred), in [0, 1] or [−1, 1]."""
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    for channel in range(3):
        kernel[channel, channel] = -scale / 9
        kernel[channel, channel, 1, 1] += scale + 1
    shape, domain = odd.get("shape", ["n", 3, "h", "w"]), odd.get("domain", "")
    kind = odd.get("dtype", TensorProto.FLOAT)
    x, second, y = (helper.make_tensor_value_info(name, kind, shape) for name in ("in", "in2", "out"))
    inputs = [x, second] if odd.get("two") else [x]
    nodes = [helper.make_node("Conv", ["in", "kernel"], ["out"], pads=[1, 1, 1, 1], domain=domain)]
    if odd.get("two"):
        nodes[0].output[0] = "between"
        nodes.append(helper.make_node("Add", ["between", "in2"], ["out"]))
    graph = helper.make_graph(nodes, "plain", inputs, [y], [numpy_helper.from_array(kernel, "kernel")])
    opsets = [helper.make_opsetid("", odd.get("opset", 17))]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.mark.parametrize(("signed", "opset"), [(False, 13), (True, 17), (False, 20)])
def test_a_plain_onnx_file_becomes_a_bundle(
    signed: bool, opset: int, tmp_path: Path, attempt: Callable[..., Imported]
) -> None:
    done = attempt(plain_onnx(tmp_path / "plain.onnx", opset=opset), signed=signed, licence="MIT", multiple=4)
    assert [path.name for path in done.paths] == ["plain.onnx", "plain-fp16.onnx"]
    model = Model.load(str(done.paths[0]))
    assert (model.manifest.architecture["generator"], model.manifest.stride) == ("ONNX", 4)
    assert model.manifest.architecture["parameters"] == 81
    batch = batch_of(3, (41, 54))
    results = [
        open_backend(name, model, precision="fp32").infer(batch) for name in ("openvino", "onnxruntime")
    ]
    # A grey edge grows by the kernel's overshoot, whatever the range of the values.
    luma = batch.planes[0].astype(float)
    blurred = sum(np.roll(luma, (i, j), (2, 3)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
    wanted = (2 * luma - blurred)[:, :, 2:-2, 2:-2].clip(0, 255)
    for result in results:
        error = np.abs(result.planes[0][:, :, 2:-2, 2:-2] - wanted)
        assert np.median(error) < 1.01  # but for clipped colours
    for one, other in zip(*(result.planes for result in results), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_a_plain_export_runs_elsewhere_and_comes_back_as_the_same_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    attempt: Callable[..., Imported],
) -> None:
    generator = narrow_fast(two_scales=False)
    monkeypatch.setattr("train.export.bundle.load_generator", lambda *_: (generator, {}))
    checkpoint = tmp_path / "last.safetensors"
    checkpoint.touch()
    words = ["export", str(checkpoint), str(tmp_path), "--name", "tiny", "--plain"]
    cli.main(words, standalone_mode=False)
    path = tmp_path / "tiny-plain.onnx"
    assert tuple(capfd.readouterr()) == (f"{path}\n", "")  # nothing of the exporter's

    picture = blurred_scene()[:83, :101]
    Image.fromarray(picture).save(tmp_path / "in.png")
    example = ROOT / "examples" / "plain_onnx.py"
    words = [sys.executable, str(example), str(path), str(tmp_path / "in.png"), str(tmp_path / "out.png")]
    subprocess.run(words, check=True)
    rgb = torch.from_numpy(picture.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    with torch.inference_mode():
        wanted = PlainGraph(generator.eval())(rgb)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(read_picture(tmp_path / "out.png") - wanted).max() <= 0.51
    assert np.abs(wanted - picture).max() > 2
    # VapourSynth's wheels are for Python 3.12 and later; the variable names an interpreter that has it.
    words[0] = os.environ.get("VAPOURSYNTH_PYTHON", sys.executable if find_spec("vapoursynth") else "")
    if words[0]:
        words[1] = str(ROOT / "examples" / "vapoursynth_filter.py")
        subprocess.run(words, check=True)
        assert np.abs(read_picture(tmp_path / "out.png") - wanted).max() <= 0.51

    model = Model.load(str(attempt(path, multiple=1).paths[0]))
    batch = batch_of(2, (75, 93))
    inputs = (*batch.planes, *colour_inputs(batch.colour).values())
    with torch.inference_mode():
        direct = [plane.numpy() for plane in VideoGraph(generator)(*map(torch.from_numpy, inputs))]
    with open_backend("openvino", model, precision="fp32") as backend:
        for one, other in zip(backend.infer(batch).planes, direct, strict=True):
            assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"shape": ["n", 3, 256, 256]}, "is fixed at 256×256; export it with a dynamic height and width"),
        ({"shape": ["n", 1, "h", "w"]}, r"FLOAT \['n', 1, 'h', 'w'\], expected float32 RGB"),
        ({"dtype": TensorProto.FLOAT16}, "FLOAT16"),
        ({"two": True}, "has 2 inputs and 1 outputs"),
        ({"domain": "com.example"}, "uses operators of com.example"),
        ({"opset": 9}, "is of opset 9, expected 11 or later"),
    ],
)
def test_another_kind_of_onnx_is_one_line(
    odd: dict[str, Any], message: str, tmp_path: Path, attempt: Callable[..., Imported]
) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        attempt(plain_onnx(tmp_path / "odd.onnx", **odd))
    assert "\n" not in str(caught.value)


def test_a_damaged_onnx_file_is_one_line(tmp_path: Path, attempt: Callable[..., Imported]) -> None:
    path = plain_onnx(tmp_path / "cut.onnx")
    cut(path)
    with pytest.raises(ExportError, match=r"cannot read .* as ONNX"):
        attempt(path)


def test_an_onnx_file_that_takes_one_picture_at_a_time_is_refused(
    tmp_path: Path, attempt: Callable[..., Imported]
) -> None:
    path = tmp_path / "one.onnx"
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, "h", "w"]) for n in ("in", "out"))
    size = helper.make_tensor("size", TensorProto.INT64, [4], [1, 3, 0, -1])
    nodes = [helper.make_node("Reshape", ["in", "size"], ["out"])]
    graph = helper.make_graph(nodes, "one", [x], [y], [size])
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    with pytest.raises(ExportError, match=r"does not run on 2 frames of 80×64") as caught:
        attempt(path)
    assert "\n" not in str(caught.value)
