"""Winograd's convolutions against PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from train.errors import ConfigError
from train.fit.config import RuntimeOptions
from train.networks.generators import DeblurGanOptions, FastGenerator
from train.networks.winograd import use_winograd


def _close(one: Tensor, other: Tensor, share: float = 1e-5) -> bool:
    return bool((one - other).norm() <= share * other.norm())


def _grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("sides", [(8, 20), (4, 4)])
def test_a_layer_matches_the_direct_convolution(mode: str, sides: tuple[int, int]) -> None:
    torch.manual_seed(1)
    direct = nn.Conv2d(48, 56, 3, padding=1, padding_mode=mode)
    fast = deepcopy(direct)
    use_winograd(fast)
    assert type(fast) is not nn.Conv2d
    x = torch.randn(2, 48, *sides).contiguous(memory_format=torch.channels_last)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    results = [layer(x) for layer, x in zip((fast, direct), inputs, strict=True)]
    assert _close(*results)
    towards = torch.randn_like(results[0])
    for result in results:
        result.backward(towards)
    assert _close(_grad(inputs[0]), _grad(inputs[1]))
    for one, other in zip(fast.parameters(), direct.parameters(), strict=True):
        assert _close(_grad(one), _grad(other))


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(48, 48, 3, stride=2, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(64, 3, 1)]
)
def test_other_layers_are_left_alone(layer: nn.Conv2d) -> None:
    use_winograd(layer)
    assert type(layer) is nn.Conv2d


def test_evaluation_and_odd_sides_are_bit_identical() -> None:
    direct = nn.Conv2d(48, 48, 3, padding=1)
    fast = deepcopy(direct)
    use_winograd(fast)
    odd = torch.randn(1, 48, 10, 9)
    assert torch.equal(fast(odd), direct(odd))
    even = torch.randn(1, 48, 8, 8)
    assert not torch.equal(fast(even), direct(even)), "this one is meant to run by Winograd"
    with torch.no_grad():
        assert torch.equal(fast(even), direct(even))


@pytest.mark.parametrize("build", [FastGenerator, DeblurGanOptions(blocks=2, dropout=0.0).build])
def test_generators_learn_the_same(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)  # some draws come close to the limit
    network = build()
    other = deepcopy(network)
    use_winograd(other)
    keys = list(network.state_dict())
    assert list(other.state_dict()) == keys
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    for one in (network, other):
        (one(x) - x.flip(3)).square().mean().backward()
    for name, parameter in network.named_parameters():
        mine, its = _grad(parameter), _grad(other.get_parameter(name))
        # InstanceNorm enlarges rounding, and leaves a bias before it no other gradient.
        assert (mine - its).norm() <= 0.02 * mine.norm() + 1e-6, name


def test_half_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="winograd needs precision = '32-true', not 'bf16-mixed'"):
        RuntimeOptions(winograd=True, precision="bf16-mixed")
