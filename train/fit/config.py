"""What a training run is: frozen dataclasses, read from a TOML file and checked as they are made."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from train.data.pairs import DataOptions
from train.data.pool import PoolOptions
from train.errors import ConfigError
from train.fit.adversarial import Game, WganGp
from train.fit.options import from_table
from train.networks.critics import DenseCriticOptions, PatchCriticOptions
from train.networks.generators import DeblurGanOptions, FastOptions
from train.networks.vgg import Convention, Vgg


@dataclass(frozen=True)
class OptimizerOptions:
    """An optimizer of PyTorch; RMSProp has no betas."""

    kind: Literal["adam", "adamw", "rmsprop"] = "adam"
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of some parameters."""
        if self.kind == "rmsprop":
            return torch.optim.RMSprop(parameters, self.learning_rate, weight_decay=self.weight_decay)
        kind = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
        return kind(parameters, self.learning_rate, self.betas, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class LossOptions:
    """Weights of the generator's losses beside the adversarial one; 0 leaves one out.

    Attributes:
        l1: mean absolute difference.
        charbonnier: L1 that is smooth at zero.
        frequency: L1 of the spectra.
        perceptual: mean squared difference of VGG's conv3_3; the paper has 100.
        vgg: safetensors file of VGG's weights, which `perceptual` needs.
        vgg_input: the input that these weights were trained for (see `train.networks.vgg`).
    """

    l1: float = 0.0
    charbonnier: float = 0.0
    frequency: float = 0.0
    perceptual: float = 0.0
    vgg: str = ""
    vgg_input: Convention = "torchvision"

    def __post_init__(self) -> None:
        if self.perceptual and not self.vgg:
            raise ConfigError(f"perceptual is {self.perceptual} but vgg names no file of weights")

    def build_vgg(self) -> Vgg | None:
        """The feature network, where the perceptual loss is asked for."""
        return Vgg(self.vgg, self.vgg_input) if self.perceptual else None


@dataclass(frozen=True)
class AdversarialOptions:
    """The game between generator and critic.

    Attributes:
        game: its losses.
        critic: the other network.
        critic_steps: of the critic to one of the generator.
        weight: of the adversarial loss beside the others.
        optimizer: of the critic.
    """

    game: Game = field(default_factory=WganGp)
    critic: PatchCriticOptions | DenseCriticOptions = field(default_factory=PatchCriticOptions)
    critic_steps: int = 5
    weight: float = 1.0
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)

    def __post_init__(self) -> None:
        if isinstance(self.game, WganGp) and self.critic.norm == "batch":
            raise ConfigError(
                "wgan-gp takes each sample's gradient, which norm = 'batch' mixes; try 'instance'"
            )
        _at_least(1, critic_steps=self.critic_steps)


TIMED_DECAY = 0.2
"""Share of a timed run over which its learning rate falls to zero."""


@dataclass(frozen=True)
class ScheduleOptions:
    """How long, and the shape of the learning rate: linear rise, flat, linear fall to zero.

    With `decay_steps` 0 the rate stays flat: the trunk of `python -m train decay`.

    Attributes:
        steps: of the generator, in all.
        minutes: of wall time, instead of `steps`; the rate falls over the last fifth of them.
        warmup_steps: the first ones. They also warm up the optimizer's moments, which weights to start from
            do not bring along.
        decay_steps: the last ones.
    """

    steps: int = 0
    minutes: float = 0.0
    warmup_steps: int = 0
    decay_steps: int = 0

    def __post_init__(self) -> None:
        if not self.minutes:
            _at_least(1, steps=self.steps)
        elif self.minutes < 0:
            raise ConfigError(f"minutes is {self.minutes}, expected a positive number")
        elif self.steps or self.decay_steps:
            raise ConfigError(
                f"minutes is {self.minutes}, which excludes steps and decay_steps; remove those or minutes"
            )

    def factor(self, step: int, passed: float = 0.0) -> float:
        """Factor of the learning rate.

        Args:
            step: counted from 0.
            passed: share of a timed run that is over.
        """
        rise = (step + 1) / max(1, self.warmup_steps)
        if self.minutes:
            fall = max(0.0, 1 - passed) / TIMED_DECAY
        else:
            fall = (self.steps - step) / max(1, self.decay_steps)
        return min(1.0, rise, fall)


@dataclass(frozen=True)
class ValidationOptions:
    """Whole pictures that are restored and scored now and then.

    Attributes:
        pairs: a folder of real pairs; empty for none.
        suite: a folder with the sets of `train.measure.suite`, instead of `pairs`.
        every: steps between validations.
        count: how many pairs, spread evenly over the folder.
    """

    pairs: str = ""
    suite: str = ""
    every: int = 1000
    count: int = 8

    def __post_init__(self) -> None:
        if self.pairs and self.suite:
            raise ConfigError("validation has both pairs and suite; expected one of them")


@dataclass(frozen=True)
class RuntimeOptions:
    """Where and how fast it runs; results differ by rounding alone.

    Attributes:
        accelerator: auto, cpu, cuda or mps.
        devices: processes on this machine; under torchrun, its own number counts. "auto" measures what is
            fastest, and shares `batch` among the processes.
        precision: of the networks' arithmetic; weights and losses are float32. "auto" measures what is
            fastest, and sets `channels_last` and `winograd` too (see `train.fit.speed`).
        channels_last: memory layout that bf16 convolutions like.
        compile: whether to run the generator through torch.compile.
        winograd: whether its convolutions use Winograd's algorithm (`train.networks.winograd`), for CPUs that
            are no faster in bf16.
        workers: processes that make examples, for each device; "auto" is one per core. They sleep while the
            pool is full.
    """

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int | Literal["auto"] = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "auto"] = "32-true"
    channels_last: bool = False
    compile: bool = False
    winograd: bool = False
    workers: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.winograd and self.precision != "32-true":
            raise ConfigError(f"winograd needs precision = '32-true', not {self.precision!r}; change one")
        if self.devices != "auto":
            _at_least(1, devices=self.devices)
        if self.workers != "auto":
            _at_least(0, workers=self.workers)


@dataclass(frozen=True)
class Config:
    """A training run.

    Attributes:
        output: folder of checkpoints, logs and picture sheets.
        data: what is trained on.
        pool: how many examples are held ready, and how often each is used.
        loss: beside the adversarial one.
        schedule: how long.
        generator: which network, by its `kind`.
        optimizer: of the generator.
        adversarial: the game; without it the generator trains by `loss` alone.
        validation: whole pictures, scored now and then.
        runtime: where and how fast.
        crop: side of the square crops, pixels; a multiple of 16.
        batch: crops a step and process.
        seed: of data, weights and everything drawn.
        start: a checkpoint, or an exported bundle's `.onnx`, to start the generator from; empty for fresh
            weights.
        ema: decay of the averaged weights, which are what is exported; 0 exports the last ones.
        clip: largest norm of the generator's gradient; 0 for any.
        save_every: steps between checkpoints.
        weights: file to which only the weights that would be exported are written every minute, for a machine
            that may be taken away; empty for none.
    """

    output: str
    data: DataOptions
    loss: LossOptions
    schedule: ScheduleOptions
    generator: DeblurGanOptions | FastOptions = field(default_factory=DeblurGanOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    adversarial: AdversarialOptions | None = None
    validation: ValidationOptions = field(default_factory=ValidationOptions)
    pool: PoolOptions = field(default_factory=PoolOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    crop: int = 256
    batch: int = 1
    seed: int = 1
    start: str = ""
    ema: float = 0.0
    clip: float = 0.0
    save_every: int = 1000
    weights: str = ""

    def __post_init__(self) -> None:
        _at_least(1, batch=self.batch, save_every=self.save_every)
        if self.crop < 32 or self.crop % 16:
            raise ConfigError(f"crop is {self.crop}, expected a multiple of 16 from 32 up")
        loss, game = self.loss, self.adversarial
        if not (loss.l1 or loss.charbonnier or loss.frequency or loss.perceptual or game):
            raise ConfigError("no loss has a weight; name one under [loss], or an [adversarial] game")
        if game and isinstance(game.critic, DenseCriticOptions) and game.critic.size != self.crop:
            raise ConfigError(f"the dense critic's size is {game.critic.size} but crop is {self.crop}")


def load_config(path: Path, changes: Iterable[str] = ()) -> Config:
    """Read a configuration.

    Args:
        path: of the TOML file.
        changes: lines of TOML that rule over the file's, such as `runtime.workers = 15`.

    Raises:
        ConfigError: it cannot be read, or makes no sense; one line says where.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from None
    for change in changes:
        try:
            table = _merged(table, tomllib.loads(change))
        except ValueError as error:
            raise ConfigError(
                f"cannot read {change!r}: {error}; expected TOML such as batch=4 or start='a.onnx'"
            ) from None
    return from_table(Config, table, path.name)


def _merged(table: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    inner = {
        key: _merged(table[key], value)
        for key, value in change.items()
        if isinstance(value, dict) and isinstance(table.get(key), dict)
    }
    return table | change | inner


def _at_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"{name} is {value}, expected at least {least}")
