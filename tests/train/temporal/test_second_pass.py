from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from rtdeblur.model import Model
from train.errors import CheckpointError
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from train.fit.config import ScheduleOptions
from train.networks.temporal import FusionNetwork
from train.temporal import fit as fit_module
from train.temporal.crops import Crops, Group
from train.temporal.examples import move_onto, prepare
from train.temporal.fit import PART, TemporalOptions, fit
from train.temporal.fusion import AFTER, BEFORE, BLURRED, CURRENT, SHARP, fuse, fuse_frame
from train.temporal.sequences import RealSequences

MakeClip = Callable[..., Path]
Prepare = Callable[..., list[Path]]

NAMES = [f"{number:06d}.png" for number in range(3)]


@pytest.fixture
def prepared(make_clip: MakeClip, tmp_path: Path) -> Prepare:
    """Makes the example of a sequence "restored" by a model that changes nothing, with a first pass."""
    sequences, model = RealSequences(make_clip(NAMES)), Model.load("identity")
    return lambda first_pass=None: prepare(sequences, model, tmp_path / "cache", print, first_pass)


def network(before: float = 0.0, after: float = 0.0) -> FusionNetwork:
    """A new network takes 27 % of each neighbour; with a bias of -50, nothing."""
    network = FusionNetwork()
    network.tail.bias.data[4:8], network.tail.bias.data[8:] = before, after
    return network


def test_a_first_pass_that_takes_nothing_changes_nothing(prepared: Prepare) -> None:
    (first,), (second,) = prepared(), prepared(network(-50, -50))
    assert first != second
    assert np.array_equal(np.load(first), np.load(second))


def test_a_first_pass_lowers_the_noise(prepared: Prepare) -> None:
    first, second = (np.load(prepared(first_pass)[0]) for first_pass in (None, network()))
    assert np.array_equal(first[[BLURRED, SHARP]], second[[BLURRED, SHARP]])
    clean = cv2.blur(first[SHARP], (3, 1)).astype(float)

    def noise(example: np.ndarray, picture: int) -> float:
        return float(np.square(example[picture] - clean)[8:-8, 8:-8].mean())

    assert noise(second, CURRENT) < noise(first, CURRENT) / 2
    for neighbour in (BEFORE, AFTER):
        assert noise(second, neighbour) < noise(first, neighbour) * 0.8


def test_each_frame_is_fused_with_the_neighbours_that_exist(prepared: Prepare, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first_pass = network(before=-3)
    first_pass.tail.weight.data = 0.3 * torch.randn_like(first_pass.tail.weight)  # so that all inputs count
    example = np.load(prepared(first_pass)[0])
    before, current, after = RealSequences(tmp_path / "clip")[0].blurred
    fused = [
        fuse_frame(first_pass, np.stack(pictures))
        for pictures in (
            (before, before, move_onto(before, current), before),
            (current, move_onto(current, before), move_onto(current, after), current),
            (after, move_onto(after, current), after, after),
        )
    ]
    assert np.array_equal(example[CURRENT], fused[1])
    assert np.array_equal(example[BEFORE], move_onto(fused[1], fused[0]))
    assert np.array_equal(example[AFTER], move_onto(fused[1], fused[2]))


def test_the_cache_keeps_passes_and_their_weights_apart(prepared: Prepare) -> None:
    one = network()
    other, equal = deepcopy(one), deepcopy(one)
    other.body[0].first.weight.data[3, 2, 1, 0] += 1e-6
    paths = [prepared(first_pass)[0] for first_pass in (None, one, other)]
    assert len({*paths}) == 3
    times = [path.stat().st_mtime_ns for path in paths]
    assert [prepared(first_pass)[0] for first_pass in (None, equal, other)] == paths
    assert [path.stat().st_mtime_ns for path in paths] == times


def test_a_frame_of_any_size_is_continued_at_the_bottom_and_the_right() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4, 18, 23, 3), np.uint8)
    torch.manual_seed(1)
    changed = network()
    for weight in changed.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    padded = np.pad(pictures, ((0, 0), (0, 2), (0, 1), (0, 0)), mode="edge")
    with torch.inference_mode():
        expected = fuse(changed, torch.from_numpy(padded).permute(0, 3, 1, 2)[None].float() / 255)
    fused = fuse_frame(changed, pictures)
    assert fused.shape == (18, 23, 3)
    wanted = expected[0, :, :18, :23].clamp(0, 1).permute(1, 2, 0).numpy() * 255
    assert np.abs(fused - wanted).max() <= 0.501
    assert np.array_equal(fuse_frame(changed, padded)[:18, :23], fused)


@pytest.fixture
def options(make_clip: MakeClip, tmp_path: Path) -> TemporalOptions:
    clip = make_clip([f"{scene}_{number}.png" for scene in "ab" for number in range(4)])
    weights = tmp_path / "first.safetensors"
    save_checkpoint(weights, {PART: network()}, {"step": 5, "examples": 10, "seconds": 1.0})
    return TemporalOptions(
        tmp_path / "run",
        ("identity",),
        ScheduleOptions(steps=1, decay_steps=1),
        pairs=((clip, 1.0),),
        exclude=("b_*",),
        validate=(clip,),
        crop=32,
        batch=2,
        first_pass=weights,
    )


def test_a_run_with_a_first_pass_trains_on_both_and_reports_both(
    options: TemporalOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Group] = []

    def crops(groups: list[Group], *words: int) -> Crops:
        drawn.extend(groups)
        return Crops(groups, *words)

    monkeypatch.setattr(fit_module, "Crops", crops)
    lines: list[str] = []
    last = fit(options, lines.append)
    assert [(group.share, len(group.paths)) for group in drawn] == [(0.5, 2), (0.5, 2)]
    assert not {*drawn[0].paths} & {*drawn[1].paths}
    assert "clip: identity restored and once fused 2 of 2 sequences" in lines
    first, second = lines[-2:]
    assert first.startswith("clip, identity: restored +0.00 dB, fused +")
    assert second.startswith("clip, identity, second pass: restored +")
    assert " dB (after the first pass), fused +" in second
    # One step hardly changes the network, so the trained one gains as much as the first pass did.
    state = load_checkpoint(last, {PART: FusionNetwork()})
    assert state["examples"] == 2  # the first pass's own do not count
    gains = state["gains"]
    assert gains["clip, identity, second pass"]["restored"] == pytest.approx(
        gains["clip, identity"]["fused"], abs=0.05
    )


def test_a_first_pass_of_another_network_is_refused(options: TemporalOptions) -> None:
    assert options.first_pass is not None
    save_checkpoint(options.first_pass, {PART: FusionNetwork(width=8)}, {})
    with pytest.raises(CheckpointError, match=r"first\.safetensors belongs to another network"):
        fit(options, print)
