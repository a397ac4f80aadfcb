"""Training on an NVIDIA GPU."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from interrupted_run import interrupted_at
from safetensors import safe_open
from torch import nn
from training_tables import GAN

from train.data.pairs import TrainingPairs
from train.data.pool import ExamplePool, Place
from train.errors import ConfigError, DivergedError
from train.fit import losses
from train.fit.checkpoint import load_checkpoint
from train.fit.config import Config
from train.fit.graph import Graph
from train.fit.run import fit, launch
from train.fit.speed import settle
from train.fit.step import Step

pytestmark = pytest.mark.needs_cuda

Tiny = Callable[..., Config]
DEVICE = "cuda"
LONGER = '[optimizer]\nkind = "adamw"\nlearning_rate = 1e-3\n'


def on_gpu(config: Config, **options: object) -> Config:
    runtime = replace(config.runtime, accelerator=DEVICE, **options)  # type: ignore[arg-type]
    schedule = replace(config.schedule, steps=20)
    return replace(config, runtime=runtime, schedule=schedule)


def losses_of(config: Config, count: int = 4) -> list[float]:
    """Losses of the first steps, captured as a graph where that is possible."""
    fabric = launch(config.runtime)
    step = Step(config, fabric)
    assert step.capture() == ""
    pairs = TrainingPairs(config.data, config.crop, config.seed)
    with ExamplePool(pairs, config.pool, config.batch, place=Place(device=fabric.device)) as pool:
        rows = [row for number in range(count) for row in step(number, *pool.draw(number))]
    return [row["generator"] for row in [*rows, *step.read()]]


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in float32, not TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[Graph[object]]:
    """A graph for each of its replays."""
    seen: list[Graph[object]] = []
    whole = Graph.__call__

    def counted(self: Graph[object], *inputs: torch.Tensor) -> object:
        seen.append(self)
        return whole(self, *inputs)

    monkeypatch.setattr(Graph, "__call__", counted)
    return seen


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("more", ["", GAN], ids=["pixels", "game"])
def test_the_gpu_takes_the_steps_of_the_cpu(tiny: Tiny, more: str) -> None:
    config = tiny(more)
    # Sums in another order, and their effect on the steps before.
    assert losses_of(on_gpu(config)) == pytest.approx(losses_of(config), rel=1e-3)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_run_finishes_in_every_precision(tiny: Tiny, precision: str, channels_last: bool) -> None:
    config = on_gpu(tiny(LONGER), precision=precision, channels_last=channels_last)
    last = fit(config)
    with safe_open(last, "pt") as file:
        assert json.loads(file.metadata()["state"])["step"] == 20
        for name in file.keys():  # noqa: SIM118
            assert torch.isfinite(file.get_tensor(name).float()).all(), name


def test_half_precision_stays_near_float32(tiny: Tiny) -> None:
    config = tiny()
    plain = losses_of(on_gpu(config))
    half = losses_of(on_gpu(config, precision="bf16-mixed", channels_last=True))
    assert half == pytest.approx(plain, rel=0.02)  # bf16 has 8 bits


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_a_graph_takes_the_steps_without(tiny: Tiny, replays: list[object], kind: str) -> None:
    config = on_gpu(tiny(f'[optimizer]\nkind = "{kind}"\nlearning_rate = 1e-3\n'))
    eager = losses_of(on_gpu(config, graphs=False), 12)
    assert not replays
    assert losses_of(config, 12) == pytest.approx(eager, rel=1e-3)
    assert len(replays) == 12


def test_a_capture_that_fails_leaves_a_run_without_graph(
    tiny: Tiny, replays: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = losses.charbonnier

    def waiting(restored: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
        restored.sum().item()  # waits for the GPU, which no capture permits
        return whole(restored, sharp)

    monkeypatch.setattr(losses, "charbonnier", waiting)
    last = fit(on_gpu(tiny(LONGER)))
    assert "steps are taken without a CUDA graph: " in capsys.readouterr().err
    assert not replays
    assert load_checkpoint(last, {})["step"] == 20
    assert losses_in(last.parent)
    assert torch.rand(1, device=DEVICE) < 1  # random numbers as before


@pytest.mark.parametrize("graphs", [False, True])
def test_a_nan_loss_on_the_gpu_stops_the_run_and_changes_no_weight(
    tiny: Tiny, replays: list[object], graphs: bool
) -> None:
    config = on_gpu(tiny(LONGER), graphs=graphs)
    step = Step(config, launch(config.runtime))
    assert step.capture() == ""
    x = torch.rand(config.batch, 3, config.crop, config.crop, device=DEVICE)
    step(0, x, -x)
    before = [weight.clone() for weight in step.generator.parameters()]
    step(1, x * float("nan"), -x)
    assert all(torch.equal(a, b) for a, b in zip(before, step.generator.parameters(), strict=True))
    step(2, x, -x)
    with pytest.raises(DivergedError, match="the generator's loss is nan at step 1"):
        step.read()
    assert len(replays) == 3 * graphs


@pytest.mark.filterwarnings("default")  # the compiler's own
def test_a_compiled_run_stays_near_the_plain_one(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    from torch._inductor import config as inductor

    config = on_gpu(tiny(LONGER), precision="bf16-mixed", channels_last=True)
    found = []
    for compiles in (False, True):
        runtime = replace(config.runtime, compile=compiles)
        # The compiler sets environment variables, and its processes would outlive the test.
        with mock.patch.dict(os.environ), inductor.patch(compile_threads=1):
            last = fit(replace(config, runtime=runtime, output=f"{config.output}-{compiles}"))
        found.append(losses_in(last.parent))
    printed = capsys.readouterr().err
    assert "uncompiled" not in printed
    assert "without a CUDA graph" not in printed
    assert found[0]
    assert found[1] == pytest.approx(found[0], rel=0.05)  # fused operations round differently, for 20 steps


def losses_in(folder: Path) -> list[float]:
    """Losses in a run's journal."""
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [line["generator"] for line in lines if "generator" in line]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pool_on_the_gpu_draws_the_batches_of_one_on_the_cpu(tiny: Tiny, workers: int) -> None:
    config = tiny()
    pairs = TrainingPairs(config.data, config.crop, config.seed)
    place = Place(device=torch.device(DEVICE), layout=torch.channels_last)
    with ExamplePool(pairs, config.pool, 4, workers=workers, place=place) as ours:
        theirs = ExamplePool(pairs, config.pool, 4)
        ours.fill()
        for number in range(12):
            for mine, other in zip(ours.draw(number), theirs.draw(number), strict=True):
                assert mine.device.type == DEVICE
                assert mine.is_contiguous(memory_format=torch.channels_last)
                assert torch.allclose(mine.cpu(), other, rtol=0, atol=1e-6)  # division may round differently


def test_a_pool_larger_than_the_gpu_s_memory_is_one_line(tiny: Tiny) -> None:
    config = tiny()
    pairs = TrainingPairs(config.data, config.crop, config.seed)
    huge = replace(config.pool, capacity=1 << 30)
    with pytest.raises(ConfigError, match=r"on cuda.*where .* GiB are free; try pool\.capacity = \d+"):
        ExamplePool(pairs, huge, 4, place=Place(device=torch.device(DEVICE)))


@pytest.mark.parametrize("graphs", [False, True])
def test_an_interrupted_run_continues_on_the_gpu(tiny: Tiny, replays: list[object], graphs: bool) -> None:
    config = on_gpu(tiny(LONGER), precision="bf16-mixed", channels_last=True, graphs=graphs)
    interrupted_at(config, 11)
    last = Path(config.output, "last.safetensors")
    step = Step(config, launch(config.runtime))
    assert load_checkpoint(last, step.parts)["step"] == 10
    optimizer = step.parts["optimizer"]
    assert not isinstance(optimizer, nn.Module)
    for weight, state in optimizer.state.items():
        assert state["exp_avg"].device == weight.device
        assert state["exp_avg"].stride() == weight.stride()
    fit(config)
    assert load_checkpoint(last, {})["step"] == 20
    assert len(replays) == (11 + 10) * graphs


def test_a_run_validates_on_the_gpu(tiny: Tiny, tmp_path: Path) -> None:
    config = on_gpu(tiny(f'[validation]\npairs = "{tmp_path}/pairs"\nevery = 10\n'))
    fit(config)
    assert len(list((tmp_path / "run" / "sheets").iterdir())) == 2


def test_auto_is_half_precision_on_the_gpu(tiny: Tiny) -> None:
    config = on_gpu(tiny(), precision="auto")
    choice = settle(config, {})
    assert choice.config.runtime.precision == "bf16-mixed"
    assert choice.config.runtime.channels_last
    assert choice.reason.startswith("chosen for the GPU")
    fit(config)
