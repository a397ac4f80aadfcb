"""Configuration of a training run: frozen dataclasses, read from TOML and validated."""

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
    """A PyTorch optimizer; RMSProp has no betas."""

    kind: Literal["adam", "adamw", "rmsprop"] = "adam"
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0

    def build(self, parameters: Iterable[nn.Parameter], fused: bool = False) -> torch.optim.Optimizer:
        """The optimizer of some parameters.

        Args:
            parameters: on their device.
            fused: whether to use PyTorch's fused kernels, not available for RMSProp, with the learning rate
                on the device. They can be captured in a CUDA graph.
        """
        if self.kind == "rmsprop":
            return torch.optim.RMSprop(parameters, self.learning_rate, weight_decay=self.weight_decay)
        kind = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
        if not fused:
            return kind(parameters, self.learning_rate, self.betas, weight_decay=self.weight_decay)
        weights = list(parameters)
        rate = torch.tensor(self.learning_rate, device=weights[0].device)
        return kind(weights, rate, self.betas, weight_decay=self.weight_decay, fused=True, capturable=True)


@dataclass(frozen=True)
class LossOptions:
    """Weights of the generator's losses, apart from the adversarial one; 0 disables a loss.

    Attributes:
        l1: mean absolute difference.
        charbonnier: L1, smooth at zero.
        frequency: L1 of the spectra.
        psnr: -PSNR / 10 of each picture, to fine-tune a network that already restores; from new weights it
            stays at the identity.
        perceptual: mean squared difference of VGG's conv3_3; 100 in the paper.
        vgg: safetensors file of VGG's weights, which `perceptual` needs.
        vgg_input: input convention of these weights (see `train.networks.vgg`).
    """

    l1: float = 0.0
    charbonnier: float = 0.0
    frequency: float = 0.0
    psnr: float = 0.0
    perceptual: float = 0.0
    vgg: str = ""
    vgg_input: Convention = "torchvision"

    def __post_init__(self) -> None:
        if self.perceptual and not self.vgg:
            raise ConfigError(f"perceptual is {self.perceptual}, but vgg is not set to a file of weights")

    def build_vgg(self) -> Vgg | None:
        """Load the feature network, if the perceptual loss is enabled."""
        return Vgg(self.vgg, self.vgg_input) if self.perceptual else None


@dataclass(frozen=True)
class AdversarialOptions:
    """Adversarial game between generator and critic.

    Attributes:
        game: its losses.
        critic: the critic network.
        critic_steps: critic steps per generator step.
        weight: weight of the adversarial loss.
        optimizer: optimizer of the critic.
    """

    game: Game = field(default_factory=WganGp)
    critic: PatchCriticOptions | DenseCriticOptions = field(default_factory=PatchCriticOptions)
    critic_steps: int = 5
    weight: float = 1.0
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)

    def __post_init__(self) -> None:
        if isinstance(self.game, WganGp) and self.critic.norm == "batch":
            raise ConfigError(
                "wgan-gp needs per-sample gradients, which norm = 'batch' mixes; try 'instance'"
            )
        _at_least(1, critic_steps=self.critic_steps)


@dataclass(frozen=True)
class ScheduleOptions:
    """Length of a run and learning rate schedule: linear warm-up, constant, linear decay to zero.

    With `decay_steps` 0 the rate stays constant: the trunk of `python -m train decay`.

    Attributes:
        steps: total generator steps.
        minutes: wall time, instead of `steps`.
        warmup_steps: steps of warm-up, which also initialise the optimizer's moments when starting from
            existing weights.
        decay_steps: steps of decay.
        decay_share: the same of a timed run, as a fraction of its minutes.
    """

    steps: int = 0
    minutes: float = 0.0
    warmup_steps: int = 0
    decay_steps: int = 0
    decay_share: float = 0.2

    def __post_init__(self) -> None:
        if not self.minutes:
            _at_least(1, steps=self.steps)
        elif self.minutes < 0:
            raise ConfigError(f"minutes is {self.minutes}, expected a positive number")
        elif self.steps or self.decay_steps:
            raise ConfigError(
                f"minutes is {self.minutes}, so steps and decay_steps cannot be set; remove them or minutes"
            )
        if not 0 < self.decay_share <= 1:
            raise ConfigError(f"decay_share is {self.decay_share}, expected more than 0 and at most 1")

    def factor(self, step: int, passed: float = 0.0) -> float:
        """Return the factor of the learning rate.

        Args:
            step: counted from 0.
            passed: elapsed fraction of a timed run.
        """
        rise = (step + 1) / max(1, self.warmup_steps)
        if self.minutes:
            fall = max(0.0, 1 - passed) / self.decay_share
        else:
            fall = (self.steps - step) / max(1, self.decay_steps)
        return min(1.0, rise, fall)


@dataclass(frozen=True)
class ValidationOptions:
    """Periodic validation on whole pictures.

    Attributes:
        pairs: a folder of real pairs; empty for none.
        suite: a folder with the sets of `train.measure.suite`, instead of `pairs`.
        every: steps between validations.
        count: number of pairs, spread evenly over the folder.
    """

    pairs: str = ""
    suite: str = ""
    every: int = 1000
    count: int = 8

    def __post_init__(self) -> None:
        if self.pairs and self.suite:
            raise ConfigError("validation has both pairs and suite; expected only one")


@dataclass(frozen=True)
class RuntimeOptions:
    """Devices and speed options; results differ only by rounding.

    Attributes:
        accelerator: auto, cpu, cuda or mps.
        devices: processes on this machine; ignored under torchrun. "auto" measures which number is
            fastest, and splits `batch` among the processes.
        precision: arithmetic of the networks; weights and losses are float32. "auto" measures which is
            fastest, and also sets `channels_last` and `winograd` (see `train.fit.speed`).
        channels_last: memory layout preferred by bf16 convolutions.
        compile: whether to run the generator through torch.compile.
        graphs: whether to capture each step of the generator as a CUDA graph, where that is possible: on one
            GPU, in float32 or bf16, with Adam or AdamW, without an adversarial game, and without dropout.
        winograd: whether its convolutions use Winograd's algorithm (`train.networks.winograd`), for CPUs that
            are not faster in bf16.
        workers: processes that make examples, per device; "auto" is one per core. They sleep while the pool
            is full.
    """

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int | Literal["auto"] = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "auto"] = "32-true"
    channels_last: bool = False
    compile: bool = False
    graphs: bool = True
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
        data: training data.
        pool: size of the example pool, and how often each example is used.
        loss: losses apart from the adversarial one.
        schedule: length and learning rate schedule.
        generator: the network, by its `kind`.
        optimizer: optimizer of the generator.
        adversarial: adversarial game; None trains only with `loss`.
        validation: periodic validation.
        runtime: devices and speed options.
        crop: side of the square crops, pixels; a multiple of 16.
        batch: crops per step and process.
        seed: seed of data, weights and all random choices.
        start: a checkpoint, or a bundle's `.onnx`, to initialise the generator from; empty for new weights.
        ema: decay of the averaged weights, which are exported; 0 exports the last weights.
        clip: largest norm of the generator's gradient; 0 disables clipping.
        save_every: steps between checkpoints.
        weights: file for the weights to export, written every minute for machines that may disappear; empty
            for none.
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
        if not (loss.l1 or loss.charbonnier or loss.frequency or loss.psnr or loss.perceptual or game):
            raise ConfigError("no loss has a weight; set one under [loss], or add an [adversarial] game")
        if game and isinstance(game.critic, DenseCriticOptions) and game.critic.size != self.crop:
            raise ConfigError(f"the dense critic's size is {game.critic.size} but crop is {self.crop}")


def load_config(path: Path, changes: Iterable[str] = ()) -> Config:
    """Read a configuration.

    Args:
        path: the TOML file.
        changes: lines of TOML that override the file, such as `runtime.workers = 15`.

    Raises:
        ConfigError: it cannot be read, or is invalid.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from None
    return from_table(Config, read_changes(table, changes), path.name)


def read_changes(table: dict[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """Override a table by lines of TOML.

    Raises:
        ConfigError: a line cannot be read.
    """
    for change in changes:
        try:
            table = _merged(table, tomllib.loads(change))
        except ValueError as error:
            raise ConfigError(
                f"cannot read {change!r}: {error}; expected TOML such as batch=4 or start='a.onnx'"
            ) from None
    return table


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
