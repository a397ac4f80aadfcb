"""Widen and deepen a trained fast generator without changing what it computes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from train.networks.generators import FastGenerator, ResidualBlock


@torch.no_grad()
def grown(weights: Mapping[str, Tensor], generator: FastGenerator) -> dict[str, Tensor]:
    """Return a smaller network's weights in the shapes of a larger one, which then restores exactly like it.

    Channels are added with fresh weights that read everything, but nothing that was there before reads them
    yet; a block is added with a second convolution of zeros, so that it passes its input on. After Net2Net
    (Chen et al., ICLR 2016), which copies channels instead. If only the larger one has two scales, it
    restores like the mean of the smaller one at both.

    Args:
        weights: those of a `FastGenerator` that is narrower, has fewer blocks, or both.
        generator: the larger one, freshly initialised.

    Returns:
        A tensor for each parameter of `generator`, and those of `weights` that are not smaller than theirs as
        they are: equal ones, and any that do not fit.
    """
    added = _added_blocks(weights, generator)
    larger = dict(weights)
    for name, fresh in generator.named_parameters():
        old = weights.get(name)
        silent = name.endswith("conv2.weight")
        if old is None:
            if name.startswith(added):
                larger[name] = torch.zeros_like(fresh) if silent else fresh.clone()
        elif old.shape != fresh.shape and _fits(old, fresh):
            value = torch.zeros_like(fresh) if silent else fresh.clone()
            value[: len(old)] = 0
            value[tuple(slice(size) for size in old.shape)] = old
            larger[name] = value
    return larger


def _added_blocks(weights: Mapping[str, Tensor], generator: FastGenerator) -> tuple[str, ...]:
    """Return the prefixes of the parameters of the blocks that the smaller network does not have."""
    blocks = (name for name, module in generator.named_modules() if isinstance(module, ResidualBlock))
    return tuple(f"{name}." for name in blocks if f"{name}.conv1.weight" not in weights)


def _fits(old: Tensor, fresh: Tensor) -> bool:
    return old.dim() == fresh.dim() and all(
        less <= size for less, size in zip(old.shape, fresh.shape, strict=True)
    )
