from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rtdeblur.model import Model
from train.errors import CheckpointError, ConfigError, DataError, DivergedError
from train.fit.checkpoint import load_checkpoint
from train.fit.config import ScheduleOptions
from train.networks.temporal import FusionNetwork
from train.temporal import fit as fit_module
from train.temporal.crops import Crops, Group, batches, to_floats
from train.temporal.examples import move_onto, prepare
from train.temporal.fit import PART, TemporalOptions, Trainer, fit
from train.temporal.fusion import AFTER, BEFORE, BLURRED, CURRENT, SHARP, fuse
from train.temporal.measure import measure
from train.temporal.sequences import RealSequences

MakeClip = Callable[..., Path]

NAMES = [f"{number:06d}.png" for number in range(47, 53)]


@pytest.fixture
def examples(make_clip: MakeClip, tmp_path: Path) -> list[Path]:
    """Examples of four sequences, "restored" by a model that changes nothing."""
    return prepare(RealSequences(make_clip(NAMES)), Model.load("identity"), tmp_path / "cache", print)


@pytest.fixture
def options(make_clip: MakeClip, photos: Path, tmp_path: Path) -> TemporalOptions:
    clip = make_clip([f"{scene}_{number}.png" for scene in "ab" for number in range(9)])
    return TemporalOptions(
        tmp_path / "run",
        ("identity",),
        ScheduleOptions(steps=3, decay_steps=2),
        pairs=((clip, 2.0),),
        exclude=("b_*",),
        sharp=(photos,),
        sequences=1,
        validate=(clip,),
        crop=32,
        batch=2,
        workers=0,
    )


def test_an_example_has_its_neighbours_moved_onto_the_current_frame(
    examples: list[Path], make_clip: MakeClip
) -> None:
    example = np.load(examples[0])
    assert example.shape == (5, 80, 104, 3)
    assert np.array_equal(example[CURRENT], example[BLURRED])
    before, current, after = RealSequences(make_clip(NAMES, "again"))[0].blurred
    inner = (slice(8, -8), slice(8, -8))
    for neighbour, moved in ((before, BEFORE), (after, AFTER)):
        assert np.array_equal(example[moved], move_onto(current, neighbour))
        errors = [
            np.square(x[inner].astype(float) - current[inner]).mean() for x in (neighbour, example[moved])
        ]
        assert errors[1] < errors[0] / 4
        assert errors[1] < 110  # two noises of 6


def test_examples_are_kept(examples: list[Path], make_clip: MakeClip, tmp_path: Path) -> None:
    lines: list[str] = []
    times = [path.stat().st_mtime_ns for path in examples]
    sequences, model = RealSequences(tmp_path / "clip"), Model.load("identity")
    assert prepare(sequences, model, tmp_path / "cache", lines.append) == examples
    assert [path.stat().st_mtime_ns for path in examples] == times
    assert not lines
    examples[1].unlink()
    prepare(sequences, model, tmp_path / "cache", lines.append)
    assert lines == ["clip: identity restored 1 of 1 sequences"]


def test_a_model_restores_each_frame_once(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtdeblur import Deblurrer

    restored = []
    real = Deblurrer.restore
    monkeypatch.setattr(Deblurrer, "restore", lambda self, x: restored.append(1) or real(self, x))
    prepare(RealSequences(make_clip(NAMES)), Model.load("identity"), tmp_path / "cache", print)
    assert len(restored) == len(NAMES)


def test_a_batch_depends_only_on_its_step(examples: list[Path]) -> None:
    crops = Crops([Group(1.0, examples)], 32, 40, seed=2)
    codes, gains = crops[7]
    assert (codes.shape, codes.dtype) == ((40, 5, 3, 32, 32), torch.uint8)
    assert torch.equal(crops[7][0], codes)
    assert not torch.equal(crops[8][0], codes)
    pictures = to_floats(codes, gains)
    assert float(pictures.max()) <= 1
    assert 0.6 <= float(gains.min()) < float(gains.max()) <= 1.1
    spoiled = (pictures[:, CURRENT] == pictures[:, BEFORE]).flatten(1).all(1)
    unchanged = (pictures[:, BLURRED] == pictures[:, SHARP]).flatten(1).all(1)
    assert 0 < int(unchanged.sum()) < 10
    assert int(spoiled.sum()) < 10
    stream = batches(crops, 0)
    assert torch.equal(next(stream)[0], crops[0][0])
    assert torch.equal(next(stream)[0], crops[1][0])


def test_small_frames_are_refused(examples: list[Path]) -> None:
    with pytest.raises(DataError, match="a frame is 80×104"):
        Crops([Group(1.0, examples)], 96, 4, seed=2)


def test_a_few_steps_lower_the_loss(examples: list[Path]) -> None:
    batch = Crops([Group(1.0, examples)], 32, 8, seed=2)[0]
    trainer = Trainer(FusionNetwork())
    gains = [float(trainer.step(*batch, factor=0.1)) for _ in range(30)]
    assert gains == sorted(gains)
    assert gains[-1] > gains[0] + 0.3


def test_a_new_network_averages_noise(examples: list[Path]) -> None:
    scores = measure(FusionNetwork(), examples)
    assert scores.restored == 0
    assert scores.fused > 0.2


def test_fusing_without_weights_returns_the_restored_frames() -> None:
    network = FusionNetwork()
    network.tail.bias.data[4:] = -50
    pictures = torch.rand(2, 5, 3, 16, 24)
    with torch.inference_mode():
        assert torch.allclose(fuse(network, pictures), pictures[:, CURRENT])


def test_a_loss_that_is_not_finite_changes_nothing(examples: list[Path]) -> None:
    trainer = Trainer(FusionNetwork())
    codes, gains = Crops([Group(1.0, examples)], 32, 2, seed=2)[0]
    with pytest.raises(DivergedError, match="the loss is nan"):
        trainer.step(codes, gains * torch.nan, 1.0)
    assert all(bool(weight.isfinite().all()) for weight in trainer.averaged.parameters())


def test_a_run_is_measured_and_its_weights_start_the_next(options: TemporalOptions, tmp_path: Path) -> None:
    lines: list[str] = []
    last = fit(options, lines.append)
    assert lines[-1].startswith("clip, identity: restored +0.00 dB, fused +")
    assert lines[-1].endswith(" dB, 7 frames")
    network = FusionNetwork()
    state = load_checkpoint(last, {PART: network})
    assert (state["step"], state["examples"]) == (3, 6)
    assert state["data"] == ["clip", "photographs"]
    assert state["gains"]["clip, identity"]["restored"] == 0
    again = fit(replace(options, start=last, output=tmp_path / "again", cache=last.parent / "cache"), print)
    following = FusionNetwork()
    assert load_checkpoint(again, {PART: following})["examples"] == 12
    assert not torch.equal(following.tail.weight, network.tail.weight)
    assert not (tmp_path / "again" / "cache").exists()


def test_an_interrupted_run_is_saved(options: TemporalOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Trainer.step
    count = iter(range(9))

    def step(self: Trainer, *words: object) -> torch.Tensor:
        if next(count) == 2:
            raise KeyboardInterrupt
        return real(self, *words)

    monkeypatch.setattr(fit_module.Trainer, "step", step)
    with pytest.raises(KeyboardInterrupt):
        fit(options, print)
    assert load_checkpoint(options.output / "last.safetensors", {PART: FusionNetwork()})["step"] == 2


def test_bad_options_are_refused(options: TemporalOptions, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no training data; add --pairs or --sharp"):
        replace(options, pairs=(), sharp=())
    with pytest.raises(ConfigError, match="clip is under --pairs and --validate"):
        replace(options, exclude=())
    with pytest.raises(ConfigError, match="no model"):
        replace(options, models=())
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot read the checkpoint"):
        fit(replace(options, start=other), print)
