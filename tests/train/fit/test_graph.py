"""Steps as CUDA graphs; the CPU stands in for a GPU, and a function that is called again for a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from interrupted_run import interrupted_at
from safetensors.torch import load_file
from training_tables import GAN

from train.fit import learner
from train.fit import step as module
from train.fit.config import Config
from train.fit.graph import undone
from train.fit.run import fit, launch
from train.fit.step import Step
from train.networks.generators import DeblurGanOptions

Tiny = Callable[..., Config]
ADAMW = '[optimizer]\nkind = "adamw"\nlearning_rate = 1e-3\n'


class Again:
    """Calls the function again instead of replaying it; its results lie at the same addresses."""

    def __init__(self, function: Callable[..., dict[str, torch.Tensor]], *inputs: torch.Tensor) -> None:
        self.function, self.inputs, self.replays = function, inputs, 0
        for _ in range(4):
            self.results = {name: value.clone() for name, value in function(*inputs).items()}

    def __call__(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        for mine, new in zip(self.inputs, inputs, strict=True):
            mine.copy_(new)
        for name, value in self.function(*self.inputs).items():
            self.results[name].copy_(value)
        self.replays += 1
        return self.results


@pytest.fixture(autouse=True)
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the CPU as a device that computes while the host continues."""
    monkeypatch.setattr(learner, "ASYNCHRONOUS", {"cpu"})


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Again]:
    """The stand-ins for graphs, as they are made."""
    made: list[Again] = []

    def make(*words: Any) -> Again:
        made.append(Again(*words))
        return made[-1]

    monkeypatch.setattr(module, "Graph", make)
    return made


def without(config: Config) -> Config:
    runtime = replace(config.runtime, graphs=False)
    return replace(config, runtime=runtime, output=f"{config.output}-eager")


def test_a_run_of_replayed_steps_is_the_run_without_bit_for_bit(tiny: Tiny, graphs: list[Again]) -> None:
    config = tiny(ADAMW)
    weights = load_file(fit(config))
    assert [graph.replays for graph in graphs] == [6]
    eager = load_file(fit(without(config)))
    assert len(graphs) == 1
    assert weights.keys() == eager.keys()
    for name, tensor in eager.items():
        assert torch.equal(tensor, weights[name]), name


def test_replayed_steps_keep_the_losses_of_each(tiny: Tiny, graphs: list[Again]) -> None:
    def losses(config: Config) -> list[dict[str, float]]:
        step = Step(config, launch(config.runtime))
        assert step.capture() == ""
        for number in range(4):
            x = torch.full((2, 3, 32, 32), number / 4)
            assert step(number, x, -x) == []
        return step.read()

    replayed = losses(tiny(ADAMW))
    assert len(graphs) == 1
    assert len({row["generator"] for row in replayed}) == 4
    assert replayed == losses(without(tiny(ADAMW)))


def test_a_resumed_run_of_replayed_steps_is_the_straight_run(tiny: Tiny, graphs: list[Again]) -> None:
    config = tiny(ADAMW)
    straight = load_file(fit(replace(config, output=f"{config.output}-straight")))
    interrupted_at(config, 5)
    resumed = load_file(fit(config))
    assert [graph.replays for graph in graphs] == [6, 5, 2]
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.mark.parametrize("change", [
    lambda config: without(config),
    lambda config: replace(config, generator=DeblurGanOptions(width=4, blocks=1)),
    lambda config: replace(config, optimizer=replace(config.optimizer, kind="rmsprop")),
], ids=["option", "dropout", "rmsprop"])  # fmt: skip
def test_other_runs_have_no_graph(
    tiny: Tiny, graphs: list[Again], change: Callable[[Config], Config]
) -> None:
    config = change(tiny())
    assert Step(config, launch(config.runtime)).capture() == ""
    assert not graphs


def test_a_game_has_no_graph(tiny: Tiny, graphs: list[Again]) -> None:
    config = tiny(GAN)
    assert Step(config, launch(config.runtime)).capture() == ""
    assert not graphs


def test_a_capture_that_fails_is_noted_and_leaves_no_trace(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(function: Callable[..., object], *inputs: torch.Tensor) -> None:
        function(*inputs)
        try:
            raise RuntimeError("not permitted when\nstream is capturing")
        finally:
            raise RuntimeError("failed due to a previous error during capture")

    monkeypatch.setattr(module, "Graph", fails)
    config = tiny(ADAMW)
    weights = load_file(fit(config))
    note = "steps are taken without a CUDA graph: RuntimeError: not permitted when stream is capturing"
    assert note in capsys.readouterr().err
    eager = load_file(fit(without(config)))
    assert "CUDA graph" not in capsys.readouterr().err
    for name, tensor in eager.items():
        assert torch.equal(tensor, weights[name]), name


def test_what_a_block_does_to_weights_and_moments_is_undone() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(network.parameters())
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def descend() -> None:
        network(torch.randn(4, 2)).square().sum().backward()
        optimizer.step()

    with undone({"network": network, "optimizer": optimizer}):
        descend()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(not value.any() for entry in optimizer.state.values() for value in entry.values())
    descend()
    moments = [value.clone() for entry in optimizer.state.values() for value in entry.values()]
    with undone({"network": network, "optimizer": optimizer}):
        descend()
    after = [value for entry in optimizer.state.values() for value in entry.values()]
    assert all(torch.equal(a, b) for a, b in zip(moments, after, strict=True))
