"""GANs of eight points on a ring, which show what each loss does (Metz et al., ICLR 2017, 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from train.measure.chart import scatter
from train.networks.critics import Critic
from train.recipes.run import Examples, Recipe, Scores, device_of

MODES = 8
RADIUS = 2.0
DEVIATION = 0.05
_NOISE = 2
_SAMPLES = 500
_HIT = 4 * DEVIATION
_EXTENT = 3.5


class RingGenerator(nn.Sequential):
    """(N, 2) noise to (N, 2, 1, 1) points; two hidden layers."""

    def __init__(self, width: int) -> None:
        super().__init__(*_hidden(_NOISE, width), nn.Linear(width, 2), nn.Unflatten(1, (2, 1, 1)))


class RingCritic(Critic):
    """Score of (N, 2, 1, 1) points; two hidden layers."""

    def __init__(self, width: int) -> None:
        super().__init__(conditional=False)
        self.layers.extend([nn.Flatten(), *_hidden(2, width), nn.Linear(width, 1)])


def _hidden(inputs: int, width: int) -> list[nn.Module]:
    return [nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)]


@dataclass(frozen=True, kw_only=True)
class Ring(Recipe):
    """Options of the ring; `width` is that of the hidden layers."""

    kind: str = "ring"
    width: int = 128
    batch: int = 128
    rate: float = 1e-3
    every: int = 100

    def build_generator(self) -> RingGenerator:
        """Build the generator with new weights."""
        return RingGenerator(self.width)

    def build_critic(self) -> RingCritic:
        """Build the critic with new weights."""
        return RingCritic(self.width)

    def open_examples(self, folder: Path) -> RingExamples:
        """Points of the ring."""
        return RingExamples(self.loss)

    def generate(self, generator: nn.Module, condition: Tensor) -> Tensor:
        """Make a point for each row of the condition, which is empty."""
        return generator(torch.randn(len(condition), _NOISE, device=condition.device))  # type: ignore[no-any-return]


class RingExamples(Examples):
    """Points around eight modes.

    Args:
        title: title of the sheets.
    """

    def __init__(self, title: str) -> None:
        angles = torch.arange(MODES) * (2 * math.pi / MODES)
        self._modes = RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1)
        self._title = title

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Draw points, (N, 2, 1, 1), each with an empty condition."""
        places = self._modes[torch.from_numpy(rng.integers(MODES, size=count))]
        noise = torch.from_numpy(rng.normal(0, DEVIATION, (count, 2)).astype(np.float32))
        return (places + noise)[..., None, None], torch.empty(count, 0)

    def score(self, generator: nn.Module) -> Scores:
        """Number of modes that 500 samples hit, the share that hits one, and a picture."""
        real = self.draw(np.random.default_rng(0), _SAMPLES)[0].flatten(1)
        made = generator(torch.randn(_SAMPLES, _NOISE).to(device_of(generator))).flatten(1).cpu()
        distance, nearest = torch.cdist(made, self._modes).min(1)
        hits = nearest[distance < _HIT]
        # A mode counts from a quarter of its fair share of the samples.
        modes = int((torch.bincount(hits, minlength=MODES) >= _SAMPLES / MODES / 4).sum())
        points = {"real": real.tolist(), "made": made.tolist()}
        return {"modes": modes, "hits": len(hits) / _SAMPLES}, scatter(self._title, _EXTENT, points)
