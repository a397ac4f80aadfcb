from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from train.errors import CheckpointError, ConfigError
from train.fit.branch import decay
from train.fit.checkpoint import load_checkpoint, load_generator
from train.fit.config import Config, OptimizerOptions, ScheduleOptions, ValidationOptions
from train.fit.journal import read_rows
from train.fit.run import fit
from train.fit.step import Step

Tiny = Callable[..., Config]


def trunk_of(config: Config, steps: int) -> Config:
    return replace(config, schedule=ScheduleOptions(steps=steps, warmup_steps=2))


class Seen:
    """Records the steps of a run: batch and learning rate, and stops it at one."""

    def __init__(self, patch: pytest.MonkeyPatch, stop: int = -1) -> None:
        self.batches: dict[int, Tensor] = {}
        self.rates: dict[int, float] = {}
        whole = Step.__call__

        def watched(step: Step, number: int, blurred: Tensor, sharp: Tensor) -> list[dict[str, float]]:
            if number == stop:
                raise KeyboardInterrupt
            self.batches[number] = torch.cat([blurred, sharp])
            values = whole(step, number, blurred, sharp)
            optimizer = step.parts["optimizer"]
            assert isinstance(optimizer, torch.optim.Optimizer)
            self.rates[number] = optimizer.param_groups[0]["lr"]
            return values

        patch.setattr(Step, "__call__", watched)


def test_a_branch_continues_the_trunk_with_a_decaying_rate(tiny: Tiny, tmp_path: Path) -> None:
    config = replace(
        tiny('[optimizer]\nkind = "adamw"\nlearning_rate = 1e-3\n'),
        validation=ValidationOptions(pairs=str(tmp_path / "pairs"), every=100),
    )
    fit(trunk_of(config, 4))
    trunk = Path(config.output, "last.safetensors")
    before = trunk.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        branched = Seen(patch)
        last = decay(tmp_path / "run", 5, tmp_path / "new" / "branch")
    assert last == tmp_path / "new" / "branch" / "last.safetensors"
    assert trunk.read_bytes() == before
    assert list(branched.rates) == [4, 5, 6, 7, 8]
    assert list(branched.rates.values()) == pytest.approx([1e-3 * share / 5 for share in (5, 4, 3, 2, 1)])
    with pytest.MonkeyPatch.context() as patch:
        going_on = Seen(patch)
        fit(trunk_of(config, 6))
    for number in (4, 5):
        assert torch.equal(branched.batches[number], going_on.batches[number])
    assert going_on.rates == pytest.approx({4: 1e-3, 5: 1e-3})
    assert [row["step"] for row in read_rows(last.parent) if "psnr" in row] == [9]  # validated at its end
    _, state = load_generator(last)
    assert (state["step"], state["branched_at"], state["examples"]) == (9, 4, 18)


def test_an_interrupted_branch_is_continued_wherever_the_trunk_is(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny()
    fit(trunk_of(config, 4))
    straight = decay(tmp_path / "run", 4, tmp_path / "straight")
    with pytest.MonkeyPatch.context() as patch:
        Seen(patch, stop=7)
        with pytest.raises(KeyboardInterrupt):
            decay(tmp_path / "run", 4, tmp_path / "broken")
    assert load_checkpoint(tmp_path / "broken" / "last.safetensors", {})["step"] == 6
    fit(trunk_of(config, 6))
    resumed = decay(tmp_path / "run", 4, tmp_path / "broken")
    networks = [load_generator(path)[0].state_dict() for path in (straight, resumed)]
    for name, weight in networks[0].items():
        assert torch.equal(weight, networks[1][name]), name


def test_a_branch_can_start_from_a_timed_run(tiny: Tiny, tmp_path: Path) -> None:
    fit(replace(tiny(), schedule=ScheduleOptions(minutes=0.08)))
    began = load_checkpoint(tmp_path / "run" / "last.safetensors", {})["step"]
    last = decay(tmp_path / "run", 2, tmp_path / "branch")
    assert load_checkpoint(last, {})["step"] == began + 2


def test_a_folder_with_another_run_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny()
    fit(trunk_of(config, 4))
    with pytest.raises(
        ConfigError, match=r"run contains another run, expected one of 3; choose another folder"
    ):
        decay(tmp_path / "run", 3, tmp_path / "run")
    decay(tmp_path / "run", 2, tmp_path / "branch")
    with pytest.raises(ConfigError, match=r"branch contains a branch of 2 steps, expected one of 3"):
        decay(tmp_path / "run", 3, tmp_path / "branch")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"cannot read the checkpoint .*empty/last\.safetensors"):
        decay(tmp_path / "empty", 3, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_run_from_weights_has_no_moments_and_warms_up(tiny: Tiny, tmp_path: Path) -> None:
    config = replace(tiny(), optimizer=OptimizerOptions("adamw", 1e-3))
    donor = fit(config)
    started = replace(
        config, start=str(donor), output=str(tmp_path / "on"), schedule=ScheduleOptions(5, warmup_steps=4)
    )
    with pytest.MonkeyPatch.context() as patch:
        seen = Seen(patch)
        fit(started)
    assert list(seen.rates.values()) == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])
