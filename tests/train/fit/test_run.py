from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exports import NARROW, Exported
from import_path import import_path
from interrupted_run import interrupted_at
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from training_tables import GAN

from train.data.pairs import TrainingPairs
from train.data.pool import ExamplePool, Place
from train.errors import CheckpointError, DataError, DivergedError
from train.fit.checkpoint import load_checkpoint, load_generator, mix_checkpoints, save_checkpoint
from train.fit.config import Config, ScheduleOptions
from train.fit.run import fit, launch, open_pool
from train.fit.step import Step
from train.networks.generators import FastOptions

Tiny = Callable[..., Config]

PAPER = (
    GAN
    + """
[optimizer]
learning_rate = 1e-3
"""
)
MODERN = """
[optimizer]
kind = "adamw"
betas = [0.9, 0.99]
weight_decay = 1e-4
"""
QUICK = """
[optimizer]
kind = "adamw"
learning_rate = 1e-3
"""


def deblurgan(config: Config) -> Config:
    from train.networks.generators import DeblurGanOptions

    return replace(config, generator=DeblurGanOptions(width=4, blocks=1))


def on_channels_last(config: Config) -> Config:
    return replace(config, runtime=replace(config.runtime, channels_last=True, precision="bf16-mixed"))


def with_winograd(config: Config) -> Config:
    generator = FastOptions(widths=(16, 48, 48, 48))
    return replace(config, generator=generator, runtime=replace(config.runtime, winograd=True))


def same(config: Config) -> Config:
    return config


@pytest.mark.parametrize(("recipe", "change"), [
    (PAPER, deblurgan), (MODERN, on_channels_last), (GAN, same), (QUICK, with_winograd),
])  # fmt: skip
def test_a_resumed_run_is_the_straight_run_bit_for_bit(
    recipe: str, change: Callable[[Config], Config], tiny: Tiny, tmp_path: Path
) -> None:
    config = change(tiny(recipe))
    straight = load_file(fit(replace(config, output=str(tmp_path / "straight"))))
    broken = replace(config, output=str(tmp_path / "broken"))
    interrupted_at(broken, 5)
    with safe_open(tmp_path / "broken" / "last.safetensors", "pt") as file:
        assert json.loads(file.metadata()["state"])["step"] == 4  # save_every is 2
    resumed = load_file(fit(broken))
    assert straight.keys() == resumed.keys()
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name


def test_the_learning_rate_rises_stays_and_falls() -> None:
    factor = ScheduleOptions(steps=100, warmup_steps=10, decay_steps=50).factor
    assert [factor(s) for s in (0, 4, 9, 30, 50, 75, 99)] == pytest.approx([0.1, 0.5, 1, 1, 1, 0.5, 0.02])


def test_a_nan_loss_stops_the_run_and_reports_the_step(tiny: Tiny) -> None:
    config = tiny()
    whole = Step.__call__

    def poisoned(self: Step, step: int, *batch: torch.Tensor) -> list[dict[str, float]]:
        return whole(self, step, *(b * float("nan") if step == 3 else b for b in batch))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "__call__", poisoned)
        with pytest.raises(DivergedError, match="the generator's loss is nan at step 3"):
            fit(config)
    _, state = load_generator(Path(config.output, "last.safetensors"))
    assert state["step"] == 2


def test_a_nan_gradient_stops_the_run_before_it_reaches_the_weights(tiny: Tiny) -> None:
    config = tiny()
    step = Step(config, launch(config.runtime))
    before = [w.clone() for w in step.generator.parameters()]
    next(step.generator.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        step.generator.head.weight.normal_()  # type: ignore[union-attr,operator]
        before = [w.clone() for w in step.generator.parameters()]
    with pytest.raises(DivergedError, match=r"the generator's gradient norm is (nan|inf) at step 7"):
        step(7, x, -x)
    assert all(torch.equal(a, b) for a, b in zip(before, step.generator.parameters(), strict=True))


def test_ema_follows_the_weights_slowly(tiny: Tiny) -> None:
    config = replace(tiny(), ema=0.75)
    step = Step(config, launch(config.runtime))
    x = torch.rand(2, 3, 32, 32)
    step(0, x, -x)
    weight = step.generator.state_dict()["head.bias"]
    first = weight.clone()
    step(1, x, -x)
    averaged = step.restorer.state_dict()["head.bias"]
    assert torch.allclose(averaged, 0.75 * first + 0.25 * weight, atol=1e-7)
    assert not torch.equal(first, weight)


def test_the_critic_takes_several_steps_per_generator_step(tiny: Tiny) -> None:
    config = replace(tiny(GAN.replace("critic_steps = 2", "critic_steps = 5")))
    step = Step(config, launch(config.runtime))
    x = torch.rand(2, 3, 32, 32)
    (values,) = step(0, x, -x)
    counts = {
        name: {int(s["step"]) for s in part.state_dict()["state"].values()}
        for name, part in step.parts.items()
        if not isinstance(part, nn.Module)
    }
    assert counts == {"optimizer": {1}, "critic_optimizer": {5}}
    assert set(values) == {"critic", "generator", "adversarial", "charbonnier"}
    assert values["generator"] == pytest.approx(values["adversarial"] + values["charbonnier"])


def test_a_checkpoint_of_another_network_is_refused(tiny: Tiny) -> None:
    config = tiny()
    fit(config)
    with pytest.raises(CheckpointError, match=r"last\.safetensors belongs to another network"):
        fit(deblurgan(config))


def test_a_damaged_checkpoint_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"short")
    with pytest.raises(CheckpointError, match="cannot read the checkpoint"):
        load_checkpoint(path, {})


def test_a_checkpoint_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, network = tmp_path / "last.safetensors", nn.Linear(2, 2)
    save_checkpoint(path, {"network": network}, {"step": 1})

    def half(tensors: object, file: Path, metadata: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("train.fit.checkpoint.save_file", half)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, {"network": network}, {"step": 2})
    assert load_checkpoint(path, {"network": network}) == {"step": 1}


def test_bad_data_stop_a_run_before_its_first_step(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny()
    (tmp_path / "pairs" / "blur" / "000.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"000\.png"):
        fit(config)


def test_a_run_leaves_logs_and_sheets(tiny: Tiny, tmp_path: Path) -> None:
    from train.data.pictures import read_picture

    config = tiny(f'[validation]\npairs = "{tmp_path}/pairs"\nevery = 3\n')
    fit(config)
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    sheets = sorted((tmp_path / "run" / "sheets").iterdir())
    assert [sheet.name for sheet in sheets] == ["00000003.jpg", "00000006.jpg"]
    assert read_picture(sheets[0]).shape == (2 * 96, 3 * 112, 3)


def test_two_processes_share_weights_and_match_one_with_twice_the_batch(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(MODERN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": import_path()}
    subprocess.run(
        [*command, "-m", "train", "fit", str(tmp_path / "tiny.toml")],
        check=True, env=environment, cwd=tmp_path, timeout=200,
    )  # fmt: skip
    _, state = load_generator(tmp_path / "run" / "last.safetensors")
    assert (state["step"], state["examples"]) == (6, 6 * 2 * 2)
    two = load_file(tmp_path / "run" / "last.safetensors")
    pairs = TrainingPairs(config.data, config.crop, config.seed)
    pools = [ExamplePool(pairs, config.pool, config.batch, place=Place(rank, 2)) for rank in (0, 1)]
    step = Step(replace(config, batch=4), launch(config.runtime))
    for number in range(6):
        batches = [pool.draw(number) for pool in pools]
        step(number, *(torch.cat(crops) for crops in zip(*batches, strict=True)))
    save_checkpoint(tmp_path / "one.safetensors", step.parts, {})
    one = load_file(tmp_path / "one.safetensors")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        # A mean of two means against one mean: rounding of float32, six times through Adam.
        assert torch.allclose(tensor, two[name], atol=2e-5), name


def test_moments_come_back_in_the_memory_layout_of_their_weights(tiny: Tiny) -> None:
    # A fused optimizer walks both side by side, whatever their strides say.
    config = on_channels_last(tiny(MODERN))
    fit(config)
    step = Step(config, launch(config.runtime))
    load_checkpoint(Path(config.output, "last.safetensors"), step.parts)
    optimizer = step.parts["optimizer"]
    assert not isinstance(optimizer, nn.Module)
    for weight, state in optimizer.state.items():
        assert state["exp_avg"].stride() == weight.stride()


def test_a_finished_run_is_left_alone(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny()
    before = fit(config).read_bytes()
    capsys.readouterr()
    assert fit(config).read_bytes() == before
    steps = config.schedule.steps
    assert capsys.readouterr().err == f"{config.output} is a finished run of {steps} steps: nothing to do\n"


@pytest.mark.parametrize(("end", "rounding"), [("", 0.0), ("-fp16", 1e-3)])
def test_a_run_starts_from_an_exported_bundle(end: str, rounding: float, tiny: Tiny, donor: Exported) -> None:
    shorter = replace(NARROW, encoder_blocks=(0, 0, 0))
    start = donor.full.with_stem(f"donor{end}")
    started = replace(tiny(), start=str(start), generator=shorter)
    weights = Step(started, launch(started.runtime)).generator.state_dict()
    given = donor.generator.state_dict()
    assert 0 < len(weights) < len(given)
    for name, weight in weights.items():
        assert torch.allclose(weight, given[name], rtol=rounding, atol=1e-4 * rounding), name


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_run_starts_from_a_checkpoint(ema: float, tiny: Tiny, tmp_path: Path) -> None:
    config = replace(tiny(), ema=ema)
    donor, _ = load_generator(fit(config))
    started = replace(config, start=str(Path(config.output, "last.safetensors")))
    weights = Step(started, launch(started.runtime)).generator.state_dict()
    for name, weight in donor.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_a_start_that_does_not_fit_is_refused(tiny: Tiny, donor: Exported, tmp_path: Path) -> None:
    narrower = replace(NARROW, widths=(4, 8, 8, 6))
    started = replace(tiny(), start=str(donor.full), generator=narrower)
    with pytest.raises(CheckpointError, match=r"downs.2.weight is \[8, 8, 3, 3\], expected \[6, 8, 3, 3\]"):
        Step(started, launch(started.runtime))
    for name in ("donor.onnx", "donor.safetensors"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(CheckpointError, match="cannot read the weights of"):
            Step(replace(started, start=str(tmp_path / name)), launch(started.runtime))


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_mixed_checkpoint_is_between_the_two(ema: float, tiny: Tiny, tmp_path: Path) -> None:
    config = replace(tiny(), ema=ema, output=str(tmp_path / "first"))
    first = fit(config)
    second = fit(replace(config, start=str(first), output=str(tmp_path / "second")))
    mixed = tmp_path / "second" / "mixed.safetensors"
    mix_checkpoints(first, second, 0.25, mixed)
    networks = [load_generator(path)[0].state_dict() for path in (first, second, mixed)]
    for one, other, between in zip(*(network.values() for network in networks), strict=True):
        assert torch.allclose(between, 0.75 * one + 0.25 * other, atol=1e-6)
    assert any(not torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
    assert load_generator(mixed)[1]["mixed"] == ["last.safetensors", 0.25]


@pytest.mark.parametrize(("steps", "capacity"), [(2, 4), (100, 8)])
def test_a_pool_holds_no_more_examples_than_are_drawn(steps: int, capacity: int, tiny: Tiny) -> None:
    config = replace(tiny(), schedule=ScheduleOptions(steps=steps))
    with open_pool(config, launch(config.runtime), 0) as pool:
        assert pool.capacity == capacity
