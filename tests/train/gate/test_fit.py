"""Training of the estimate of how much tiles need restoration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
import torch

from rtdeblur.backends.need import BLOCK
from rtdeblur.model import Model
from train.errors import CheckpointError, ConfigError, DivergedError
from train.fit.checkpoint import load_checkpoint
from train.fit.config import ScheduleOptions
from train.gate import fit as fit_module
from train.gate.examples import Example, energy_of, prepare
from train.gate.fit import PART, Crops, NeedOptions, export, fit, loss_of, need_graph
from train.networks.need import FLOOR, NeedGraph, NeedNetwork

MakePairs = Callable[..., Path]


@pytest.fixture
def options(make_pairs: MakePairs, tmp_path: Path) -> NeedOptions:
    schedule = ScheduleOptions(steps=3, decay_steps=2)
    return NeedOptions(tmp_path / "run", "fast", schedule, pairs=(make_pairs(2),), seeds=1)


def blurry(seed: int, size: tuple[int, int] = (160, 224)) -> Example:
    """Noise, of which the left half is smooth and changes by as much as its number says."""
    rng = np.random.default_rng(seed)
    luma = rng.integers(16, 236, size).astype(np.uint8)
    energy = np.zeros((size[0] // BLOCK, size[1] // BLOCK), np.float32)
    middle = size[1] // 2 // BLOCK
    luma[:, : middle * BLOCK] = np.linspace(60, 180, middle * BLOCK)
    energy[:, :middle] = 40
    return Example(f"kind {seed % 3}", luma, energy)


def test_the_energy_is_that_of_the_change_of_each_block() -> None:
    before = np.full((2 * BLOCK, 3 * BLOCK), 100, np.uint8)
    after = before.copy()
    after[BLOCK:, BLOCK : BLOCK + BLOCK // 2] += 4
    assert np.array_equal(energy_of(before, after), [[0, 0, 0], [0, 8, 0]])


def test_examples_are_made_once(options: NeedOptions, tmp_path: Path) -> None:
    lines: list[str] = []
    folder, model = tmp_path / "frames", Model.load("fast")
    made = prepare(model, options.pairs, (), 1, folder, lines.append)
    assert {example.kind for example in made} == {
        f"{options.pairs[0].name}{suffix}" for suffix in ("", ", sharp")
    }
    for example in made:
        assert example.luma.shape == tuple(BLOCK * side for side in example.energy.shape)
        assert example.luma.dtype == np.uint8
    assert max(float(example.energy.max()) for example in made) > 0
    again = prepare(Model.load("identity"), (), (), 1, folder, lines.append)
    assert [example.kind for example in again] == [example.kind for example in made]


def test_an_interrupted_preparation_starts_again(options: NeedOptions, tmp_path: Path) -> None:
    unfinished = tmp_path / "frames.part"
    unfinished.mkdir()
    (unfinished / "000000.npz").write_bytes(b"half")
    assert len(prepare(Model.load("fast"), options.pairs, (), 1, tmp_path / "frames", print)) == 4
    assert not unfinished.exists()


def test_crops_keep_luma_and_energy_together() -> None:
    """Flipped, turned, lighter or inverted: the smooth half is the one that changes."""
    crops = Crops([blurry(seed) for seed in range(6)], np.random.default_rng(0))
    luma, energy = crops.batch()
    assert luma.shape[2:] == tuple(BLOCK * side for side in energy.shape[1:])
    blocks = luma[:, 0].unfold(1, BLOCK, BLOCK).unfold(2, BLOCK, BLOCK)
    roughness = blocks.std((3, 4))
    assert (roughness[energy == 40] < 10).all()
    assert (roughness[energy == 0] > 40).all()


def test_crops_of_a_batch_have_one_size_which_frames_of_other_sizes_have_too() -> None:
    small, large = blurry(0, (144, 160)), blurry(1, (480, 640))
    crops = Crops([small, large], np.random.default_rng(0))
    shapes = {crops.batch()[1].shape for _ in range(20)}
    assert {shape[1:] for shape in shapes} == {(9, 10), (10, 9), (26, 34), (34, 26)}
    assert all(shape[0] * shape[1] * shape[2] > 4000 for shape in shapes)


def test_the_border_counts_only_in_tiles() -> None:
    energy = torch.full((1, 13, 13), 5.0)
    right = (energy + FLOOR).log()
    assert float(loss_of(right, energy)) == pytest.approx(0, abs=1e-4)
    outside, inside = right.clone(), right.clone()
    outside[:, 0, 0] += 1
    inside[:, 6, 6] += 1
    assert 0 < float(loss_of(outside, energy)) < 0.5 * float(loss_of(inside, energy))


@pytest.mark.parametrize("far", [-300.0, -20.0, -3.0, 3.0, 20.0, 300.0])
def test_the_loss_pulls_from_anywhere_towards_the_truth(far: float) -> None:
    energy = torch.full((1, 13, 13), 5.0)
    found = (energy + FLOOR).log() + far
    found.requires_grad_()
    loss_of(found, energy).backward()  # type: ignore[no-untyped-call]
    assert found.grad is not None
    inner = found.grad[:, 1:-1, 1:-1]
    assert (inner * far > 0).all()
    assert torch.isfinite(found.grad).all()


def test_a_tile_is_worth_the_mean_of_those_that_look_like_it() -> None:
    """One of ten tiles has an energy of 40, the others of 1: the mean is 4.9, the median 1."""
    energy = torch.ones(10, 8, 8)
    energy[0] = 40
    logarithm = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([logarithm], lr=0.03)
    for _ in range(400):
        found = logarithm.expand(10, 8, 8)
        tiles = loss_of(found, energy) - torch.nn.functional.smooth_l1_loss(
            found[:, 1:-1, 1:-1], (energy + FLOOR).log()[:, 1:-1, 1:-1]
        )
        optimizer.zero_grad()
        tiles.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert 2 < float(logarithm.detach().exp()) < 8


def test_the_network_learns_what_changes() -> None:
    torch.manual_seed(0)
    network = NeedNetwork()
    crops = Crops([blurry(seed) for seed in range(6)], np.random.default_rng(0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(40):
        luma, energy = crops.batch()
        loss = loss_of(network(luma), energy)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    unseen = blurry(9)
    with torch.no_grad():
        found = NeedGraph(network)(torch.from_numpy(unseen.luma).float()[None, None])[0].numpy()
    inner = (slice(2, -2), slice(2, 5)), (slice(2, -2), slice(9, -2))
    assert found[inner[0]].min() > 5 * found[inner[1]].max()


def test_a_run_trains_and_exports(options: NeedOptions) -> None:
    lines: list[str] = []
    graph = fit(options, lines.append)
    assert graph == options.output / "need.onnx"
    network = NeedNetwork()
    state = load_checkpoint(options.output / "last.safetensors", {PART: network})
    assert (state["step"], state["frames"]) == (3, 4)
    luma = torch.rand(1, 1, 5 * BLOCK, 7 * BLOCK) * 200 + 20
    (energy,) = ov.Core().compile_model(str(graph), "CPU")([luma.numpy()]).values()
    with torch.no_grad():
        np.testing.assert_allclose(energy, NeedGraph(network)(luma).numpy(), rtol=1e-3, atol=1e-3)
    further = replace(options, start=options.output / "last.safetensors")
    fit(further, lines.append)
    assert load_checkpoint(options.output / "last.safetensors", {PART: NeedNetwork()})["step"] == 6


def test_an_interrupted_run_leaves_its_weights(options: NeedOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = fit_module.loss_of, []

    def interrupted(*args: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(fit_module, "loss_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(options, print)
    assert load_checkpoint(options.output / "last.safetensors", {PART: NeedNetwork()})["step"] == 2
    assert (options.output / "need.onnx").exists()


def test_a_loss_that_is_not_finite_ends_the_run(
    options: NeedOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "loss_of", lambda found, energy: found.sum() * float("nan"))
    with pytest.raises(DivergedError, match="the loss is nan"):
        fit(options, print)


def test_a_run_needs_data_and_weights_of_this_network(options: NeedOptions, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no training data; add --pairs or --photos"):
        replace(options, pairs=())
    with pytest.raises(CheckpointError):
        fit(replace(options, start=tmp_path / "missing.safetensors"), print)


def test_the_bundled_graph_says_whose_change_it_estimates(tmp_path: Path) -> None:
    """And it is what the trainer exports."""
    from importlib import resources

    bundled = onnx.load_from_string(resources.files("rtdeblur.models").joinpath("need.onnx").read_bytes())
    facts = {prop.key: prop.value for prop in bundled.metadata_props}
    assert facts["licence"] == "MIT"
    assert {"step", "model", "frames"} <= set(json.loads(facts["training"]))
    ours = need_graph(NeedNetwork())
    assert [node.op_type for node in bundled.graph.node] == [node.op_type for node in ours.graph.node]


def test_export_needs_a_checkpoint_of_the_network(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        export(tmp_path / "missing.safetensors", tmp_path / "need.onnx", "MIT")
