"""Losses that are read some steps later, as on a GPU; the CPU stands in for one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_tables import GAN

from train.errors import DivergedError
from train.fit import learner
from train.fit.average import MovingAverage
from train.fit.checkpoint import load_checkpoint
from train.fit.config import Config, ScheduleOptions
from train.fit.readings import NORM, Readings
from train.fit.run import fit, launch
from train.fit.step import Step

Tiny = Callable[..., Config]
Rows = list[dict[str, float]]
ADAMW = '[optimizer]\nkind = "adamw"\nlearning_rate = 1e-3\n'
X = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the CPU as a device that computes while the host continues."""
    monkeypatch.setattr(learner, "ASYNCHRONOUS", {"cpu"})


def steps_of(config: Config, count: int) -> tuple[Step, Rows]:
    """A step after some steps, and the losses that each of them returned."""
    step = Step(config, launch(config.runtime))
    return step, [row for number in range(count) for row in step(number, X, -X)]


def poison(patch: pytest.MonkeyPatch, *bad: int) -> list[int]:
    """Make the batches of some steps nan; returns the steps taken, as they are taken."""
    whole, taken = Step.__call__, []

    def poisoned(self: Step, step: int, *batch: torch.Tensor) -> Rows:
        taken.append(step)
        return whole(self, step, *(b * float("nan") if step in bad else b for b in batch))

    patch.setattr(Step, "__call__", poisoned)
    return taken


def losses_in(config: Config) -> Rows:
    """Rows of a run's journal, without times."""
    lines = Path(config.output, "journal.jsonl").read_text().splitlines()
    times = ("time", "crops/s", "crops/s per core", "network share", "wait share")
    return [{k: v for k, v in json.loads(line).items() if k not in times} for line in lines]


@pytest.mark.usefixtures("ahead")
def test_losses_are_read_every_ten_steps_or_when_asked_for(tiny: Tiny) -> None:
    step = Step(tiny(), launch(tiny().runtime))
    assert [len(step(number, X, -X)) for number in range(12)] == [0] * 9 + [10, 0, 0]
    assert len(step.read()) == 2
    assert step.read() == []


@pytest.mark.parametrize("more", [ADAMW, GAN], ids=["pixels", "game"])
def test_losses_read_late_are_those_read_at_once(
    tiny: Tiny, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, at_once = steps_of(tiny(more), 12)
    monkeypatch.setattr(learner, "ASYNCHRONOUS", {"cpu"})
    step, late = steps_of(tiny(more), 12)
    late += step.read()
    assert [row.keys() for row in late] == [row.keys() for row in at_once]
    for mine, theirs in zip(late, at_once, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)  # the fused optimizer rounds differently


def test_a_journal_has_the_same_rows_however_late_they_are_read(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(tiny(ADAMW), schedule=ScheduleOptions(steps=104), save_every=7)
    fit(config)
    monkeypatch.setattr(learner, "ASYNCHRONOUS", {"cpu"})
    late = replace(config, output=config.output + "-late")
    fit(late)
    rows = losses_in(late)
    assert [row["step"] for row in rows] == [100, 104]
    for mine, theirs in zip(rows, losses_in(config), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)


@pytest.mark.usefixtures("ahead")
def test_a_divergence_found_late_is_reported_with_its_first_step(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(tiny(ADAMW), schedule=ScheduleOptions(steps=30), save_every=20)
    taken = poison(monkeypatch, 3, 5)
    with pytest.raises(DivergedError, match="the generator's loss is nan at step 3, expected a finite"):
        fit(config)
    assert taken == list(range(10))
    assert losses_in(config) == []


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("weights", ["", "weights.safetensors"])
def test_nothing_is_saved_after_a_divergence(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    config = replace(
        tiny(ADAMW), schedule=ScheduleOptions(steps=8), weights=weights and str(tmp_path / weights)
    )
    monkeypatch.setattr("train.fit.record.WEIGHTS_SECONDS", -1.0)
    taken = poison(monkeypatch, 4)
    with pytest.raises(DivergedError, match="loss is nan at step 4"):
        fit(config)
    assert taken == list(range(6 if not weights else 5))
    for path in [Path(config.output, "last.safetensors"), *tmp_path.glob("weights.safetensors")]:
        assert load_checkpoint(path, {})["step"] == 4


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("kind", ["adam", "adamw", "rmsprop"])
def test_a_step_that_is_not_finite_changes_no_weight_and_no_moment(tiny: Tiny, kind: str) -> None:
    config = tiny(f'[optimizer]\nkind = "{kind}"\n')
    step, _ = steps_of(config, 2)
    optimizer = step.parts["optimizer"]
    assert isinstance(optimizer, torch.optim.Optimizer)

    def state() -> list[torch.Tensor]:
        moments = [value for entry in optimizer.state.values() for value in entry.values()]
        return [value.detach().clone() for value in (*step.generator.parameters(), *moments)]

    def diverge() -> None:
        step(2, X * float("nan"), X)
        step.read()

    before = state()
    with pytest.raises(DivergedError, match="nan at step 2"):
        diverge()
    assert len(before) > len(list(step.generator.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(before, state(), strict=True))


@pytest.mark.usefixtures("ahead")
def test_an_optimizer_that_cannot_skip_a_step_is_read_at_once(tiny: Tiny) -> None:
    _, rows = steps_of(tiny('[optimizer]\nkind = "rmsprop"\n'), 3)
    assert len(rows) == 3


@pytest.mark.usefixtures("ahead")
def test_a_run_continues_where_it_was_saved(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(tiny(ADAMW), schedule=ScheduleOptions(steps=6, warmup_steps=2))
    straight = fit(replace(config, output=config.output + "-straight"))
    with monkeypatch.context() as patch:
        poison(patch, 3)
        with pytest.raises(DivergedError):
            fit(config)
    resumed = fit(config)
    from safetensors.torch import load_file

    weights = load_file(resumed)
    for name, tensor in load_file(straight).items():
        assert torch.equal(tensor, weights[name]), name


def test_the_first_of_several_rows_that_are_not_finite_is_named() -> None:
    readings, one, bad = Readings(), torch.tensor(1.0), torch.tensor(float("inf"))
    readings.add(6, "critic", {"critic": one, NORM: one})
    readings.add(6, "generator", {"generator": one, NORM: bad})
    readings.add(7, "critic", {"critic": bad, NORM: one})
    with pytest.raises(DivergedError, match="the generator's gradient norm is inf at step 6"):
        readings.read()


def test_readings_are_copies_and_a_later_one_of_a_step_wins() -> None:
    readings, loss = Readings(), torch.tensor(1.0)
    for number in range(2):
        readings.add(0, "critic", {"critic": loss, NORM: loss})
        readings.add(number, "generator", {"generator": loss, "l1": loss})
        loss += 1
    readings.read()
    assert readings.take() == [{"critic": 2.0, "generator": 1.0, "l1": 1.0}, {"generator": 2.0, "l1": 2.0}]
    assert readings.take() == []


def test_a_moving_average_is_pytorch_s_bit_for_bit() -> None:
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    mine = MovingAverage(network, 0.9)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for _ in range(4):
        network(torch.randn(2, 3, 8, 8))
        with torch.no_grad():
            for weight in network.parameters():
                weight += torch.randn_like(weight)
        mine.update_parameters(network)
        theirs.update_parameters(network)
    expected = theirs.state_dict()
    assert mine.state_dict().keys() == expected.keys()
    for name, tensor in mine.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
