from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from train.errors import ConfigError
from train.networks.critics import Critic, DenseCriticOptions, PatchCriticOptions


def layer_shapes(critic: Critic, size: int) -> list[tuple[int, ...]]:
    """The output's shape of every layer with weights."""
    seen: list[tuple[int, ...]] = []
    for module in critic.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(lambda m, i, o: seen.append(tuple(o.shape[1:])))
    x = torch.zeros(2, 3, size, size)
    critic(x, x)
    return seen


def weights(critic: Critic) -> int:
    return sum(p.numel() for p in critic.parameters())


def conv(inputs: int, outputs: int) -> int:
    return (4 * 4 * inputs + 1) * outputs


def test_patchgan_has_the_shapes_of_its_table() -> None:
    critic = PatchCriticOptions().build()
    assert layer_shapes(critic, 64) == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 7, 7), (1, 6, 6)]
    assert weights(critic) == conv(3, 64) + conv(64, 128) + conv(128, 256) + conv(256, 512) + conv(512, 1)
    assert not [m for m in critic.modules() if isinstance(m, nn.Sigmoid)]


def test_a_score_of_patchgan_sees_70_pixels() -> None:
    critic = PatchCriticOptions(width=2).build()
    for module in critic.modules():
        if isinstance(module, nn.InstanceNorm2d):  # looks at the whole picture
            module.forward = lambda x: x  # type: ignore[method-assign]
    x = torch.randn(1, 3, 128, 128, requires_grad=True)
    score = critic(x, x)[0, 0, 7, 7]
    (gradient,) = torch.autograd.grad(score, x)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 == 70


def test_the_dense_critic_has_the_shapes_of_its_table() -> None:
    critic = DenseCriticOptions().build()
    wanted = [(64, 128, 128), (64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 16, 16), (1, 16, 16)]
    assert layer_shapes(critic, 256) == [*wanted, (1024,), (1,)]
    widths = [3, 64, 64, 128, 256, 512, 1]
    convolutions = sum(conv(a, b) for a, b in pairwise(widths))
    assert weights(critic) == convolutions + 257 * 1024 + 1025


def test_the_dense_critic_refuses_a_size_that_it_cannot_halve() -> None:
    with pytest.raises(ConfigError, match="size is 250, expected a multiple of 16"):
        DenseCriticOptions(size=250).build()


@pytest.mark.parametrize("options", [PatchCriticOptions, DenseCriticOptions])
def test_a_conditional_critic_looks_at_the_blurred_picture_and_a_plain_one_does_not(
    options: type[PatchCriticOptions] | type[DenseCriticOptions],
) -> None:
    candidate, one, other = torch.randn(3, 1, 3, 256, 256)
    conditional, plain = options(conditional=True).build(), options().build()
    with torch.inference_mode():
        assert not torch.equal(conditional(candidate, one), conditional(candidate, other))
        assert torch.equal(plain(candidate, one), plain(candidate, other))
