"""Training loop of the fusion."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from rtdeblur.model import Model
from train.errors import ConfigError, DivergedError
from train.fit.average import MovingAverage
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from train.fit.clock import Clock
from train.fit.config import ScheduleOptions
from train.fit.run import LAST
from train.networks.temporal import FusionNetwork
from train.temporal.crops import Crops, Group, batches, to_floats
from train.temporal.examples import Report, prepare
from train.temporal.fusion import CURRENT, SHARP, fuse
from train.temporal.measure import measure
from train.temporal.sequences import RealSequences, Sequences
from train.temporal.synthetic import SyntheticSequences

PART = "fusion"
"""Prefix of the weights in a checkpoint."""
_SECOND = ", second pass"
"""Added to the name of what is measured."""
_RATE = 2e-3
_WEIGHT_DECAY = 1e-4
_AVERAGE = 0.998
_CLIP = 1.0
_FLOOR = 1e-5
"""Added to the mean squared error before the logarithm, so that perfect crops do not dominate."""
_LOG_EVERY, _SAVE_EVERY = 60.0, 180.0
"""Seconds."""


@dataclass(frozen=True)
class TemporalOptions:
    """A training run.

    Attributes:
        output: folder of the run.
        models: names or paths of the models whose frames are fused; each restores all frames.
        schedule: length of the run and learning rate.
        pairs: folders of real pairs of consecutive frames, with their weights among each other.
        exclude: patterns of names of pictures not to train on.
        sharp: folders of photographs, of which sequences are made.
        sequences: number of sequences made of them.
        real: share of the crops from real pairs, if there are photographs, too.
        validate: folders of real pairs to measure on; of a folder that is among the pairs, only the excluded
            pictures.
        every: minutes between two measurements.
        cache: folder of examples; in the output folder by default.
        start: weights to start from.
        first_pass: weights of the first pass; half of the examples are then of the second one.
        crop: side of the crops, pixels; a multiple of 4.
        batch: crops per step.
        seed: seed of every random choice.
        workers: processes that draw crops; 0 draws them in the training process, which takes 4 % of the time
            of a step on a CPU.
    """

    output: Path
    models: tuple[str, ...]
    schedule: ScheduleOptions
    pairs: tuple[tuple[Path, float], ...] = ()
    exclude: tuple[str, ...] = ()
    sharp: tuple[Path, ...] = ()
    sequences: int = 800
    real: float = 0.6
    validate: tuple[Path, ...] = ()
    every: float = 10.0
    cache: Path | None = None
    start: Path | None = None
    first_pass: Path | None = None
    crop: int = 96
    batch: int = 24
    seed: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        if not (self.pairs or self.sharp):
            raise ConfigError("no training data; add --pairs or --sharp")
        if not self.models:
            raise ConfigError("no model to restore the frames; add --model, e.g. --model fast")
        both = self.trained & {folder.resolve() for folder in self.validate}
        if both and not self.exclude:
            raise ConfigError(
                f"{min(both)} is under --pairs and --validate; --exclude the pictures to measure on"
            )

    @property
    def trained(self) -> set[Path]:
        """Absolute paths of the folders of pairs."""
        return {folder.resolve() for folder, _ in self.pairs}


class Trainer:
    """A fusion network in training.

    Args:
        network: the network.
    """

    def __init__(self, network: FusionNetwork) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.to(self._device).train()
        self._average = MovingAverage(self._network, _AVERAGE)
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)

    @property
    def averaged(self) -> FusionNetwork:
        """The network with averaged weights."""
        return cast(FusionNetwork, self._average.module)

    def step(self, codes: Tensor, gains: Tensor, factor: float) -> Tensor:
        """Take a step on a batch of `train.temporal.crops.Crops`.

        Args:
            codes: code values of the crops.
            gains: factors of the crops.
            factor: factor of the learning rate.

        Returns:
            mean gain over the restored crops in dB, of before the step.

        Raises:
            DivergedError: the loss is not finite; the network is unchanged.
        """
        pictures = to_floats(codes.to(self._device), gains.to(self._device))
        loss = _decibels(fuse(self._network, pictures), pictures[:, SHARP])
        if not math.isfinite(value := loss.item()):
            raise DivergedError(f"the loss is {value}; start from earlier weights or another seed")
        for group in self._optimizer.param_groups:
            group["lr"] = _RATE * factor
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), _CLIP)
        self._optimizer.step()
        self._average.update_parameters(self._network)
        return _decibels(pictures[:, CURRENT], pictures[:, SHARP]) - loss.detach()


def _decibels(pictures: Tensor, sharp: Tensor) -> Tensor:
    """Mean squared error of each picture in dB, averaged: a negative PSNR."""
    return 10 * torch.log10((pictures - sharp).square().mean((1, 2, 3)) + _FLOOR).mean()


def fit(options: TemporalOptions, report: Report) -> Path:
    """Restore the sequences, train a fusion network on them, and measure it.

    Args:
        options: the run.
        report: prints a line about the progress.

    Returns:
        path of the checkpoint with the averaged weights. It is also written every few minutes, and when the
        run is interrupted.

    Raises:
        CheckpointError: the weights to start from, or of the first pass, belong to another network.
        DataError: pictures are missing, damaged or not consecutive.
        DivergedError: a loss is not finite; the checkpoint is from before.
    """
    torch.manual_seed(options.seed)
    network = FusionNetwork()
    earlier = load_checkpoint(options.start, {PART: network}) if options.start else {}
    passes: dict[str, FusionNetwork | None] = {"": None}
    if options.first_pass:
        passes[_SECOND] = first_pass = FusionNetwork()
        load_checkpoint(options.first_pass, {PART: first_pass})
    models = [Model.load(name) for name in options.models]
    cache = options.cache or options.output / "cache"
    training, validation = _sources(options)
    groups = [
        Group(
            share / len(passes),
            [path for model in models for path in prepare(sequences, model, cache, report, first_pass)],
        )
        for sequences, share in training
        for first_pass in passes.values()
    ]
    judged = {
        f"{sequences.name}, {model.name}{suffix}": prepare(sequences, model, cache, report, first_pass)
        for sequences in validation
        for model in models
        for suffix, first_pass in passes.items()
    }
    crops = Crops(groups, options.crop, options.batch, options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    trainer, last = Trainer(network), options.output / LAST
    state: dict[str, Any] = {
        "step": 0,
        "examples": 0,
        "seconds": 0.0,
        "models": {model.name: model.manifest.sha256 for model in models},
        "data": [sequences.name for sequences, _ in training],
        "gains": {},
    }

    def save() -> None:
        counted = {key: state[key] + earlier.get(key, 0) for key in ("step", "examples", "seconds")}
        save_checkpoint(last, {PART: trainer.averaged}, state | counted)

    def score() -> None:
        for name, paths in judged.items():
            gains = measure(trainer.averaged, paths)
            state["gains"][name] = {key: round(value, 3) for key, value in gains._asdict().items()}
            given = f"{gains.restored:+.2f} dB{' (after the first pass)' if name.endswith(_SECOND) else ''}"
            report(f"{name}: restored {given}, fused {gains.fused:+.2f} dB, {len(paths)} frames")

    logs, saves, scores = Clock(_LOG_EVERY), Clock(_SAVE_EVERY), Clock(60 * options.every)
    began, recent = time.perf_counter(), list[Tensor]()
    schedule = options.schedule
    try:
        for step, (codes, gains) in enumerate(batches(crops, options.workers)):
            seconds = time.perf_counter() - began
            passed = seconds / 60 / schedule.minutes if schedule.minutes else step / schedule.steps
            if passed >= 1:
                break
            recent.append(trainer.step(codes, gains, schedule.factor(step, passed)))
            state |= {"step": step + 1, "examples": (step + 1) * options.batch, "seconds": round(seconds, 1)}
            if since := logs.due():
                rate = len(recent) * options.batch / since
                gain = float(torch.stack(recent).mean())
                report(f"{passed:.0%}, step {step + 1}: crops {gain:+.3f} dB, {rate:.0f} crops/s")
                recent.clear()
            if saves.due():
                save()
            if scores.due():
                score()
    finally:
        save()
    score()
    save()
    return last


def _sources(options: TemporalOptions) -> tuple[list[tuple[Sequences, float]], list[Sequences]]:
    """Open the sequences to train on, with their shares, and those to measure on."""
    training: list[tuple[Sequences, float]] = []
    total = sum(weight for _, weight in options.pairs)
    real = options.real if options.sharp else 1.0
    for folder, weight in options.pairs:
        training.append((RealSequences(folder, options.exclude), real * weight / total))
    if options.sharp:
        share = 1 - real if options.pairs else 1.0
        training.append((SyntheticSequences(options.sharp, options.sequences, options.seed), share))
    validation: list[Sequences] = [
        RealSequences(folder, options.exclude, only_excluded=True)
        if folder.resolve() in options.trained
        else RealSequences(folder)
        for folder in options.validate
    ]
    return training, validation
