"""Class-conditional GAN on Fashion-MNIST (Mirza & Osindero, Conditional GANs, 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from train.data.idx import DEBIAN, read_labelled
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from train.measure.classifier import Classifier, train_classifier
from train.networks.critics import Critic
from train.networks.layers import init_normal
from train.recipes.examples import LabelledExamples
from train.recipes.run import Recipe

NOISE = 100
"""Length of the noise vector."""
CLASSES = 10
_EMBEDDING = 50


class CganGenerator(nn.Module):
    """Generator of 28 × 28 grey pictures of a class; convolutions with LeakyReLU 0.2.

    ===========  =========================  =====================================
    stage        output (default width)     operation
    ===========  =========================  =====================================
    noise        100                        N(0, 1)
    base         128, 7, 7                  dense 6272, act
    label        1, 7, 7                    embedding 50, dense 49
    stacked      129, 7, 7                  base and label
    ups[0]       128, 14, 14                transposed conv 4×4 stride 2, act
    ups[1]       128, 28, 28                transposed conv 4×4 stride 2, act
    head         1, 28, 28                  conv 7×7, tanh
    ===========  =========================  =====================================

    Args:
        width: channels of the transposed convolutions.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.base = nn.Sequential(
            nn.Linear(NOISE, 128 * 7 * 7), nn.LeakyReLU(0.2), nn.Unflatten(1, (128, 7, 7))
        )
        self.label = nn.Sequential(
            nn.Embedding(CLASSES, _EMBEDDING), nn.Linear(_EMBEDDING, 49), nn.Unflatten(1, (1, 7, 7))
        )
        self.ups = nn.Sequential(
            *(nn.ConvTranspose2d(129, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.ConvTranspose2d(width, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
        )
        self.head = nn.Sequential(nn.Conv2d(width, 1, 7, padding=3), nn.Tanh())
        self.apply(init_normal)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """(N, 100) and (N,) int64 to (N, 1, 28, 28) in [-1, 1]."""
        stacked = torch.cat([self.base(noise), self.label(labels)], dim=1)
        return self.head(self.ups(stacked))  # type: ignore[no-any-return]


class CganCritic(Critic):
    """Critic of a picture and its label; convolutions with LeakyReLU 0.2.

    ===========  =========================  =====================================
    stage        output (default width)     operation
    ===========  =========================  =====================================
    picture      1, 28, 28
    label        1, 28, 28                  embedding 50, dense 784
    stacked      2, 28, 28                  picture and label
    1            128, 14, 14                conv 3×3 stride 2, act
    2            128, 7, 7                  conv 3×3 stride 2, act, dropout 0.4
    score        1                          dense
    ===========  =========================  =====================================

    Args:
        width: channels of the convolutions.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__(conditional=True)
        self.label = nn.Sequential(
            nn.Embedding(CLASSES, _EMBEDDING), nn.Linear(_EMBEDDING, 784), nn.Unflatten(1, (1, 28, 28))
        )
        self.layers.extend([nn.Conv2d(2, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2)])
        self.layers.extend([nn.Conv2d(width, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2)])
        self.layers.extend([nn.Flatten(), nn.Dropout(0.4), nn.Linear(width * 49, 1)])
        self.apply(init_normal)

    def forward(self, candidate: Tensor, labels: Tensor) -> Tensor:
        """Score (N, 1, 28, 28) pictures in [-1, 1], each with its label."""
        return super().forward(candidate, self.label(labels))


@dataclass(frozen=True, kw_only=True)
class Cgan(Recipe):
    """Options of the conditional GAN.

    Attributes:
        data: folder of idx files.
        width: channels of the generator's transposed and of the critic's convolutions.
    """

    kind: str = "cgan"
    data: str = str(DEBIAN)
    width: int = 128

    def build_generator(self) -> CganGenerator:
        """Build the generator with new weights."""
        return CganGenerator(self.width)

    def build_critic(self) -> CganCritic:
        """Build the critic with new weights."""
        return CganCritic(self.width)

    def open_examples(self, folder: Path) -> LabelledExamples:
        """Read the data, and train the classifier that judges samples, unless the folder has one."""
        pictures, labels = read_labelled(Path(self.data))
        judge, path = Classifier(), folder / "judge.safetensors"
        if path.exists():
            load_checkpoint(path, {"judge": judge})
        else:
            judge = train_classifier(pictures, labels)
            save_checkpoint(path, {"judge": judge}, {})
        return LabelledExamples(pictures, labels, NOISE, judge.eval())

    def generate(self, generator: nn.Module, condition: Tensor) -> Tensor:
        """Make a picture of each label."""
        noise = torch.randn(len(condition), NOISE, device=condition.device)
        return generator(noise, condition)  # type: ignore[no-any-return]
