"""Training of a recipe: the trainer's learners, losses, countdown, checkpoints and journal on small data."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from train.data.pictures import Picture
from train.errors import ConfigError
from train.fit.adversarial import Game, Gan, Lsgan, Wgan, WganGp
from train.fit.checkpoint import Parts, load_checkpoint, save_checkpoint
from train.fit.config import AdversarialOptions, OptimizerOptions, RuntimeOptions, ScheduleOptions
from train.fit.countdown import Countdown
from train.fit.journal import Journal
from train.fit.learner import Learner
from train.fit.readings import Readings
from train.fit.run import LAST, launch
from train.fit.step import Rate, Rival
from train.fit.stopwatch import Stopwatch
from train.networks.critics import Critic

Loss = Literal["minimax", "non-saturating", "lsgan", "lsgan-pearson", "wgan", "wgan-gp"]
"""Names of the games."""
GAMES: dict[Loss, Game] = {
    "minimax": Gan(saturating=True),
    "non-saturating": Gan(),
    "lsgan": Lsgan(a=0, b=1, c=1),
    "lsgan-pearson": Lsgan(a=-1, b=1, c=0),
    "wgan": Wgan(),
    "wgan-gp": WganGp(),
}
RUNTIME = RuntimeOptions(channels_last=True)
"""Devices and memory layout; on a CPU, channels_last takes two thirds of the time."""
Scores = tuple[dict[str, float], Picture]
"""Scores of a generator by name, and a sheet of samples."""


class Examples(ABC):
    """Data of a recipe, with the losses and measures that suit it."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Draw real pictures, (N, C, H, W) in [-1, 1], and their conditions: labels, or small pictures."""

    def content(self, fake: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Weighted losses other than the adversarial one, by name."""
        return {}

    @abstractmethod
    def score(self, generator: nn.Module) -> Scores:
        """Measure a generator in evaluation mode."""


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """Options that the recipes share; a checkpoint contains them as JSON.

    Attributes:
        kind: name of the recipe.
        loss: name of the game.
        critic_steps: critic steps per generator step.
        weight: weight of the adversarial loss.
        rate: learning rate of generator and critic.
        critic_rate: learning rate of the critic, if another.
        batch: pictures per step.
        seed: seed of the weights and of all random choices.
        every: steps between checkpoints, scores and sheets.
        schedule: length of the run.
    """

    kind: str
    loss: Loss = "non-saturating"
    critic_steps: int = 1
    weight: float = 1.0
    rate: float = 2e-4
    critic_rate: float = 0.0
    batch: int = 64
    seed: int = 1
    every: int = 500
    schedule: ScheduleOptions = field(default_factory=lambda: ScheduleOptions(steps=10_000))

    def __post_init__(self) -> None:
        for name in ("batch", "critic_steps", "every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")

    @property
    def adversarial(self) -> AdversarialOptions | None:
        """The game, or None to train without a critic."""
        optimizer = _optimizer(self.loss, self.critic_rate or self.rate)
        return AdversarialOptions(
            GAMES[self.loss], critic_steps=self.critic_steps, weight=self.weight, optimizer=optimizer
        )

    @abstractmethod
    def build_generator(self) -> nn.Module:
        """Build the generator with new weights."""

    @abstractmethod
    def build_critic(self) -> Critic:
        """Build the critic with new weights."""

    @abstractmethod
    def open_examples(self, folder: Path) -> Examples:
        """Read the data; `folder` is the run's, for what should be kept for the next start."""

    @abstractmethod
    def generate(self, generator: nn.Module, condition: Tensor) -> Tensor:
        """Make a picture for each condition, (N, C, H, W) in [-1, 1]."""

    def start(self, generator: nn.Module) -> None:  # noqa: B027 (only some start from other weights)
        """Prepare a new generator before the first step."""


class RecipeStep:
    """The networks of a recipe and their training step.

    Args:
        recipe: the recipe.
        examples: its data.
        fabric: launched.
        rate: factor of the learning rate at a step.
    """

    def __init__(self, recipe: Recipe, examples: Examples, fabric: Fabric, rate: Rate) -> None:
        torch.manual_seed(recipe.seed)
        self._recipe, self._examples, self._fabric = recipe, examples, fabric
        generator, runtime = recipe.build_generator(), RUNTIME
        recipe.start(generator)
        optimizer = _optimizer(recipe.loss, recipe.rate)
        self._readings = Readings()
        self._learner = Learner("generator", generator, optimizer, runtime, fabric, rate, self._readings)
        game = recipe.adversarial
        self._rival = (
            Rival(game, recipe.build_critic(), runtime, fabric, rate, self._readings) if game else None
        )

    @property
    def parts(self) -> Parts:
        """Contents of a checkpoint."""
        parts: dict[str, nn.Module | torch.optim.Optimizer] = {
            "generator": self._learner.network,
            "optimizer": self._learner.optimizer,
        }
        if self._rival:
            parts |= {"critic": self._rival.critic, "critic_optimizer": self._rival.learner.optimizer}
        return parts

    def __call__(self, step: int) -> dict[str, float]:
        """Take a step; return the losses and the norm of the generator's gradient.

        Raises:
            DivergedError: a loss or a gradient is not finite; the generator is unchanged.
        """
        # Data and noise depend only on the step, so that a resumed run draws the same values.
        entropy = np.random.SeedSequence([self._recipe.seed, step, self._fabric.global_rank])
        torch.manual_seed(int(entropy.generate_state(1)[0]))
        drawn = self._examples.draw(np.random.default_rng(entropy), self._recipe.batch)
        real, condition = (self._fabric.to_device(part) for part in drawn)
        generator = self._learner.network.train()
        fake = self._recipe.generate(generator, condition)
        terms = self._examples.content(fake, real)
        if self._rival:
            self._rival.train(step, real, fake.detach(), condition)
            terms["adversarial"] = self._rival.judge(fake, condition)
        self._learner.descend(step, torch.stack(list(terms.values())).sum(), terms)
        self._readings.read()
        (values,) = self._readings.take()
        gradients = [p.grad for p in generator.parameters() if p.grad is not None]
        return values | {"gradient": float(torch.nn.utils.get_total_norm(gradients))}

    def score(self) -> Scores:
        """Measure the generator."""
        generator = self._learner.network.eval()
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(self._recipe.seed)
            return self._examples.score(generator)


def train(recipe: Recipe, folder: Path, began: float | None = None) -> Path:
    """Train a recipe, or continue from the checkpoint in the folder.

    Args:
        recipe: the recipe.
        folder: output folder, for checkpoint, journal, curves and sheets.
        began: `time.perf_counter()` at which a timed run starts; now by default.

    Returns:
        path of the checkpoint.

    Raises:
        CheckpointError: the checkpoint belongs to other networks.
        DataError: the data are missing or damaged.
        DivergedError: a loss is not finite; the checkpoint is from before.
        SystemExit: SIGTERM stopped the run, which has been saved.
    """
    began = time.perf_counter() if began is None else began
    folder.mkdir(parents=True, exist_ok=True)
    last, examples = folder / LAST, recipe.open_examples(folder)
    state: dict[str, Any] = load_checkpoint(last, {}) if last.exists() else {"step": 0}
    fabric, stopwatch = launch(RUNTIME), Stopwatch()
    countdown = Countdown(recipe.schedule, fabric, stopwatch, began - state.get("seconds", 0.0))
    step = RecipeStep(recipe, examples, fabric, countdown.rate)
    done = int(state["step"])

    def save(finished: bool = False) -> None:
        facts = {"step": done, "seconds": countdown.seconds, "recipe": asdict(recipe), "finished": finished}
        with stopwatch.time("save"):
            save_checkpoint(last, step.parts, facts)

    def score() -> None:
        with stopwatch.time("validation"):
            scores, sheet = step.score()
        journal.scores(done, scores, sheet)

    with Journal(folder, done, recipe.batch, stopwatch, recipe.schedule.steps or None) as journal:
        if done:
            load_checkpoint(last, step.parts)
        else:  # also so that a timed run knows how long these take
            save()
            score()
        if countdown.over(state):
            return last
        for number in countdown.steps(done):
            with stopwatch.time("network"):
                values = step(number)
            done = number + 1
            journal.losses(done, [values], countdown.passed)
            if done % recipe.every == 0:
                save()
                score()
        journal.flush(done)
        save(finished=not countdown.stopped)
        if countdown.stopped:
            journal.note(f"stopped after step {done}; the same command continues the run")
        elif done % recipe.every:
            score()
    countdown.exit_if_stopped()
    return last


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's weights; the CPU if it has none."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def _optimizer(loss: Loss, rate: float) -> OptimizerOptions:
    """Return the optimizer of a game; momentum destabilises a clipped critic (Arjovsky et al., 2017)."""
    if loss == "wgan":
        return OptimizerOptions("rmsprop", rate)
    return OptimizerOptions("adam", rate, (0.0, 0.9) if loss == "wgan-gp" else (0.5, 0.999))
