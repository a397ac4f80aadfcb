"""Critics, which score pictures: `nn.Module`s over RGB in [-1, 1] without a final sigmoid.

Losses that need a probability interpret the score as its logit (`train.fit.losses`). A conditional critic
also gets the blurred picture (Isola et al., pix2pix, CVPR 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from train.errors import ConfigError
from train.networks.layers import Norm, init_normal, norm_layer


@dataclass(frozen=True)
class PatchCriticOptions:
    """Arguments of `PatchCritic`: first width, normalisation, whether it also gets the blurred picture."""

    kind: Literal["patch"] = "patch"
    width: int = 64
    norm: Norm = "instance"
    conditional: bool = False

    def build(self) -> Critic:
        """Build the critic with new weights."""
        return PatchCritic(self)


@dataclass(frozen=True)
class DenseCriticOptions:
    """Arguments of `DenseCritic`: side of the crops in pixels; the others as for the PatchGAN."""

    kind: Literal["dense"] = "dense"
    size: int = 256
    norm: Norm = "instance"
    conditional: bool = False

    def build(self) -> Critic:
        """Build the critic with new weights."""
        return DenseCritic(self)


class Critic(nn.Module):
    """Base of both critics: `layers`, and optionally a second picture as input."""

    def __init__(self, conditional: bool) -> None:
        super().__init__()
        self.conditional = conditional
        self.layers = nn.Sequential()

    def forward(self, candidate: Tensor, blurred: Tensor) -> Tensor:
        """Score (N, 3, H, W) pictures in [-1, 1], restored or sharp, each made of its `blurred` one."""
        seen = torch.cat([blurred, candidate], dim=1) if self.conditional else candidate
        return self.layers(seen)  # type: ignore[no-any-return]


def _stage(conv: nn.Conv2d, norm: Norm) -> list[nn.Module]:
    return [conv, norm_layer(norm, conv.out_channels), nn.LeakyReLU(0.2)]


class PatchCritic(Critic):
    """PatchGAN over 70×70 patches (Isola et al., pix2pix, CVPR 2017); convolutions 4×4, LeakyReLU 0.2.

    ========  ===================  =========================
    stage     output               operation
    ========  ===================  =========================
    input     3 or 6, H, W
    1         64, H/2, W/2         conv stride 2, act
    2         128, H/4, W/4        conv stride 2, norm, act
    3         256, H/8, W/8        conv stride 2, norm, act
    4         512, H/8-1, W/8-1    conv stride 1, norm, act
    scores    1, H/8-2, W/8-2      conv stride 1
    ========  ===================  =========================
    """

    def __init__(self, options: PatchCriticOptions) -> None:
        super().__init__(options.conditional)
        widths = [options.width * scale for scale in (1, 2, 4, 8)]
        inputs = 6 if options.conditional else 3
        self.layers.extend([nn.Conv2d(inputs, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)])
        for (before, after), stride in zip(pairwise(widths), (2, 2, 1), strict=True):
            self.layers.extend(_stage(nn.Conv2d(before, after, 4, stride, padding=1), options.norm))
        self.layers.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.apply(init_normal)


class DenseCritic(Critic):
    """Critic of DeblurGAN's Keras reimplementation: one score per picture of a fixed size.

    ========  ==================  ==================================
    stage     output (H = 256)    operation, convolutions 4×4
    ========  ==================  ==================================
    input     3 or 6, 256, 256
    1         64, 128, 128        conv stride 2, LeakyReLU 0.2
    2         64, 64, 64          conv stride 2, norm, LeakyReLU 0.2
    3         128, 32, 32         conv stride 2, norm, LeakyReLU 0.2
    4         256, 16, 16         conv stride 2, norm, LeakyReLU 0.2
    5         512, 16, 16         conv stride 1, norm, LeakyReLU 0.2
    6         1, 16, 16           conv stride 1
    7         1024                dense, tanh
    scores    1                   dense
    ========  ==================  ==================================
    """

    def __init__(self, options: DenseCriticOptions) -> None:
        super().__init__(options.conditional)
        if options.size % 16:
            raise ConfigError(f"the dense critic's size is {options.size}, expected a multiple of 16")
        inputs = 6 if options.conditional else 3
        self.layers.extend([nn.Conv2d(inputs, 64, 4, stride=2, padding=1), nn.LeakyReLU(0.2)])
        for before, after in pairwise((64, 64, 128, 256)):
            self.layers.extend(_stage(nn.Conv2d(before, after, 4, stride=2, padding=1), options.norm))
        # At stride 1, an even kernel keeps the size with one more row of padding after than before.
        self.layers.append(nn.ZeroPad2d((1, 2, 1, 2)))
        self.layers.extend(_stage(nn.Conv2d(256, 512, 4), options.norm))
        self.layers.extend([nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(512, 1, 4)])
        side = options.size // 16
        self.layers.extend([nn.Flatten(), nn.Linear(side * side, 1024), nn.Tanh(), nn.Linear(1024, 1)])
        self.apply(init_normal)
