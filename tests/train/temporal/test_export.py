from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
import pytest
import torch

from rtdeblur.backends.openvino import retype_planes
from train.__main__ import main
from train.data.pictures import Picture
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from train.networks.temporal import FusionGraph, FusionNetwork, MotionGraph
from train.temporal.export import OUTPUTS
from train.temporal.fit import PART

MakeScene = Callable[..., Picture]

INPUTS = ("luma", "chroma", "blurred", "motion", "peak", "is_rgb")


@pytest.fixture(scope="module")
def network() -> FusionNetwork:
    """A network that changes something."""
    torch.manual_seed(1)
    network = FusionNetwork()
    for weight in network.parameters():
        weight.data += 0.03 * torch.randn_like(weight)
    return network


@pytest.fixture(scope="module")
def weights(network: FusionNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fusion") / "last.safetensors"
    save_checkpoint(path, {PART: network}, {"step": 5, "examples": 120, "models": {"fast": "ab"}})
    return path


@pytest.fixture(scope="module")
def graphs(weights: Path) -> Path:
    """The folder of the graphs."""
    folder = weights.parent / "new"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run(monkeypatch, "export-temporal", weights, "-o", folder, "--licence", "MIT") == 0
    assert sorted(path.name for path in folder.iterdir()) == ["temporal-fusion.onnx", "temporal-motion.onnx"]
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> object:
    monkeypatch.setattr("sys.argv", ["train", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def planes(scene: Picture, height: int, width: int, chroma: tuple[int, int], peak: int) -> dict[str, Any]:
    """Three frames, each moved by some pixels, as inputs of the graph."""
    dtype = np.uint8 if peak == 255 else np.uint16
    rng = np.random.default_rng(0)
    codes = scene.astype(np.float32) * peak / 255 + rng.uniform(0, peak / 255, scene.shape)
    codes = codes.clip(0, peak).astype(dtype).transpose(2, 0, 1)
    moved = [codes[:, y : y + height, x : x + width] for y, x in ((8, 8), (5, 12), (10, 3))]
    luma = np.stack([frame[:1] for frame in moved])
    return {
        "luma": luma,
        "chroma": np.stack([frame[1:, :: chroma[0], :: chroma[1]] for frame in moved]),
        "blurred": luma[:1] // 2 + luma[1:2] // 2,
        "peak": np.array([peak], np.float32),
    }


@pytest.mark.parametrize(
    ("size", "chroma", "peak", "reduced"),
    [((100, 132), (2, 2), 255, (25, 33)), ((96, 128), (1, 2), 1023, (48, 64))],
    ids=["4:2:0, 8 bits, odd reduced size", "4:2:2, 10 bits"],
)
def test_openvino_computes_what_pytorch_does(
    graphs: Path,
    network: FusionNetwork,
    make_scene: MakeScene,
    size: tuple[int, int],
    chroma: tuple[int, int],
    peak: int,
    reduced: tuple[int, int],
) -> None:
    feed = planes(make_scene(2, size[0] + 16, size[1] + 16), *size, chroma, peak)
    height, width = reduced
    squares = feed["luma"].reshape(3, 1, height, size[0] // height, width, size[1] // width)
    given = {"reduced": squares.mean((3, 5), np.float32) * np.float32(255 / peak)}
    feed["motion"] = compile_for(graphs / "temporal-motion.onnx", given)(given)["motion"]
    with torch.inference_mode():
        motion = MotionGraph()(torch.from_numpy(given["reduced"])).numpy()
    assert np.abs(feed["motion"] - motion).max() < 1e-4
    compiled = compile_for(graphs / "temporal-fusion.onnx", feed)
    for is_rgb in (0, 1):
        feed["is_rgb"] = np.array([is_rgb], np.float32)
        with torch.inference_mode():
            expected = FusionGraph(network).eval()(*(torch.from_numpy(feed[name]) for name in INPUTS))
        results = compiled(feed)
        for name, wanted in zip(OUTPUTS, expected, strict=True):
            assert results[name].dtype == feed["luma"].dtype
            assert np.abs(results[name].astype(int) - wanted.numpy().astype(int)).max() <= 1
        changed = expected[0].numpy().astype(int) - feed["luma"][:1]
        assert np.abs(changed).mean() > peak / 255  # the test would not notice a graph that does nothing


def compile_for(graph: Path, feed: dict[str, Any]) -> ov.CompiledModel:
    """Compile the graph for the shapes and the type of planes."""
    core = ov.Core()
    model = core.read_model(graph)
    if "luma" in feed:  # more than 8 bits are uint16, as for the models
        retype_planes(model, ("luma", "chroma", "blurred"), ov.Type(feed["luma"].dtype))
    model.reshape({name: array.shape for name, array in feed.items()})
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def test_the_graph_says_what_it_is(graphs: Path) -> None:
    graph = graphs / "temporal-fusion.onnx"
    proto = onnx.load(graph)
    facts = {item.key: item.value for item in proto.metadata_props}
    assert facts["licence"] == "MIT"
    assert json.loads(facts["training"]) == {"step": 5, "examples": 120, "models": {"fast": "ab"}}
    assert [value.name for value in proto.graph.output] == list(OUTPUTS)
    assert str(graphs.parent).encode() not in graph.read_bytes()


def test_weights_round_trip(weights: Path, network: FusionNetwork) -> None:
    loaded = FusionNetwork()
    load_checkpoint(weights, {PART: loaded})
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), network.parameters(), strict=True))


def test_other_weights_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, {PART: torch.nn.Linear(2, 2)}, {})
    assert run(monkeypatch, "export-temporal", path, "-o", tmp_path / "new") == 1
    assert not (tmp_path / "new").exists()
    error = capsys.readouterr().err
    assert error.startswith(f"error: the checkpoint {path} belongs to another network")
    assert error.count("\n") == 1


def test_a_run_without_consecutive_pairs_fails_in_one_line(
    tmp_path: Path,
    make_pairs: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs, words = make_pairs(2), ("--model", "identity", "-o", tmp_path / "run")
    assert run(monkeypatch, "temporal", *words, "--pairs", f"{pairs}=2") == 1
    assert capsys.readouterr().err.startswith(f"error: no three consecutive pairs in {pairs}; expected ")
    assert run(monkeypatch, "temporal", *words, "--pairs", f"{pairs}=no") == 2
    assert "the weight is 'no', expected a positive number" in capsys.readouterr().err
    assert run(monkeypatch, "temporal", *words, "--pairs", tmp_path / "nowhere") == 1
    assert "nowhere does not exist" in capsys.readouterr().err
