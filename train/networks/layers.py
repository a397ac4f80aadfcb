"""Layers shared by generators and critics: normalisation, activation, initial weights."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Norm = Literal["instance", "batch"]
Activation = Literal["relu", "leaky"]


class InstanceNorm(nn.InstanceNorm2d):
    """InstanceNorm without scale or shift, with the frame's statistics both in training and at inference.

    The statistics are always float32: a sum over a 720p channel overflows half precision.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and type."""
        return super().forward(x.float()).to(x.dtype)


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Create a normalisation of `channels` channels."""
    return InstanceNorm(channels) if norm == "instance" else nn.BatchNorm2d(channels)


def activation_layer(activation: Activation) -> nn.Module:
    """ReLU, or LeakyReLU of slope 0.2."""
    return nn.ReLU() if activation == "relu" else nn.LeakyReLU(0.2)


def init_normal(module: nn.Module) -> None:
    """Draw the weights of a layer from N(0, 0.02), its biases 0 (Radford et al., DCGAN, ICLR 2016)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
