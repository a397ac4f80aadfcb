"""Adversarial games for configurations, each a pair of losses and possibly a constraint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from train.fit import losses
from train.networks.critics import Critic


@dataclass(frozen=True)
class WganGp:
    """Wasserstein GAN with gradient penalty, the paper's; `penalty` is λ."""

    kind: Literal["wgan-gp"] = "wgan-gp"
    penalty: float = 10.0

    def critic_loss(self, critic: Critic, sharp: Tensor, restored: Tensor, blurred: Tensor) -> Tensor:
        """Loss of the critic, for (N, 3, H, W) in [-1, 1]."""
        wasserstein = losses.wgan_critic(critic(sharp, blurred), critic(restored, blurred))
        penalty = losses.gradient_penalty(lambda mixed: critic(mixed, blurred), sharp, restored)
        return wasserstein + self.penalty * penalty

    def generator_loss(self, score: Tensor) -> Tensor:
        """Loss of the generator, from the critic's score of the restored pictures."""
        return losses.wgan_generator(score)

    def constrain(self, critic: Critic) -> None:
        """Do nothing: the penalty is part of the loss."""


@dataclass(frozen=True)
class Wgan:
    """Wasserstein GAN with weights clipped to ±`clip` after each critic step; made for RMSProp."""

    kind: Literal["wgan"] = "wgan"
    clip: float = 0.01

    def critic_loss(self, critic: Critic, sharp: Tensor, restored: Tensor, blurred: Tensor) -> Tensor:
        """See `WganGp`."""
        return losses.wgan_critic(critic(sharp, blurred), critic(restored, blurred))

    def generator_loss(self, score: Tensor) -> Tensor:
        """See `WganGp`."""
        return losses.wgan_generator(score)

    @torch.no_grad()
    def constrain(self, critic: Critic) -> None:
        """Clip the weights (Arjovsky et al., ICML 2017, algorithm 1)."""
        for weight in critic.parameters():
            weight.clamp_(-self.clip, self.clip)


@dataclass(frozen=True)
class Lsgan:
    """Least squares; codings of the paper: a = -1, b = 1, c = 0 (Pearson χ²), or a = 0, b = c = 1."""

    kind: Literal["lsgan"] = "lsgan"
    a: float = 0.0
    b: float = 1.0
    c: float = 1.0

    def critic_loss(self, critic: Critic, sharp: Tensor, restored: Tensor, blurred: Tensor) -> Tensor:
        """See `WganGp`."""
        return losses.lsgan_critic(critic(sharp, blurred), critic(restored, blurred), self.a, self.b)

    def generator_loss(self, score: Tensor) -> Tensor:
        """See `WganGp`."""
        return losses.lsgan_generator(score, self.c)

    def constrain(self, critic: Critic) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Gan:
    """The original GAN: the minimax game if `saturating`, else its authors' practical heuristic."""

    kind: Literal["gan"] = "gan"
    saturating: bool = False

    def critic_loss(self, critic: Critic, sharp: Tensor, restored: Tensor, blurred: Tensor) -> Tensor:
        """See `WganGp`."""
        return losses.gan_critic(critic(sharp, blurred), critic(restored, blurred))

    def generator_loss(self, score: Tensor) -> Tensor:
        """See `WganGp`."""
        if self.saturating:
            return losses.gan_minimax_generator(score)
        return losses.gan_nonsaturating_generator(score)

    def constrain(self, critic: Critic) -> None:
        """Do nothing."""


Game = WganGp | Wgan | Lsgan | Gan
