from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn

from train.errors import ConfigError
from train.recipes.cgan import CganCritic, CganGenerator
from train.recipes.dcgan import Dcgan, DcganCritic, DcganGenerator
from train.recipes.srgan import Srgan, SrganCritic, SrganGenerator

Shapes = list[tuple[int, ...]]
LayerShapes = Callable[..., Shapes]


def weights(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def conv(side: int, before: int, after: int, bias: bool = True) -> int:
    return side * side * before * after + (after if bias else 0)


def dense(before: int, after: int) -> int:
    return (before + 1) * after


def test_the_dcgan_generator_has_the_shapes_of_its_table(layer_shapes: LayerShapes) -> None:
    network = DcganGenerator()
    wanted = [(2048,), (256, 4, 4), (128, 8, 8), (64, 16, 16), (3, 32, 32)]
    assert layer_shapes(network, torch.zeros(2, 128)) == wanted
    stages = sum(conv(4, a, b, bias=False) + 2 * b for a, b in pairwise((512, 256, 128, 64)))
    assert weights(network) == 128 * 2048 + 2 * 512 + stages + conv(4, 64, 3) == 3_019_651


def test_the_dcgan_critic_has_the_shapes_of_its_table(layer_shapes: LayerShapes) -> None:
    critic, x = DcganCritic(), torch.zeros(2, 3, 32, 32)
    assert layer_shapes(critic, x, x) == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2), (1,)]
    stages = sum(conv(4, a, b, bias=False) + 2 * b for a, b in pairwise((64, 128, 256, 512)))
    assert weights(critic) == conv(4, 3, 64) + stages + dense(2048, 1) == 2_759_489
    assert not [m for m in critic.modules() if isinstance(m, nn.Sigmoid)]


@pytest.mark.parametrize("kernel", [3, 5])
def test_dcgan_doubles_and_halves_exactly_with_odd_kernels(layer_shapes: LayerShapes, kernel: int) -> None:
    noise, x = torch.zeros(2, 128), torch.zeros(2, 3, 32, 32)
    assert layer_shapes(DcganGenerator(32, kernel), noise)[1:] == [
        (16, 4, 4),
        (8, 8, 8),
        (4, 16, 16),
        (3, 32, 32),
    ]
    assert layer_shapes(DcganCritic(32, kernel), x, x) == [
        (4, 16, 16),
        (8, 8, 8),
        (16, 4, 4),
        (32, 2, 2),
        (1,),
    ]


def test_the_penalty_sees_each_picture_by_itself() -> None:
    critic = Dcgan(data="", width=16, loss="wgan-gp").build_critic().train()
    x = torch.randn(4, 3, 32, 32)
    alone = torch.cat([critic(one[None], one[None]) for one in x])
    torch.testing.assert_close(critic(x, x), alone)


def test_the_cgan_generator_has_the_shapes_of_its_table(layer_shapes: LayerShapes) -> None:
    network = CganGenerator()
    wanted = [(6272,), (50,), (49,), (128, 14, 14), (128, 28, 28), (1, 28, 28)]
    assert layer_shapes(network, torch.zeros(2, 100), torch.zeros(2, dtype=torch.int64)) == wanted
    label = 10 * 50 + dense(50, 49)
    ups = conv(4, 129, 128) + conv(4, 128, 128)
    assert weights(network) == dense(100, 6272) + label + ups + conv(7, 128, 1) == 1_169_336


def test_the_cgan_critic_has_the_shapes_of_its_table(layer_shapes: LayerShapes) -> None:
    critic = CganCritic()
    shapes = layer_shapes(critic, torch.zeros(2, 1, 28, 28), torch.zeros(2, dtype=torch.int64))
    assert shapes == [(50,), (784,), (128, 14, 14), (128, 7, 7), (1,)]
    convolutions = conv(3, 2, 128) + conv(3, 128, 128)
    assert weights(critic) == 10 * 50 + dense(50, 784) + convolutions + dense(6272, 1) == 196_773


def test_cgan_s_networks_depend_on_the_label() -> None:
    noise, picture = torch.randn(1, 100), torch.randn(1, 1, 28, 28)
    one, other = torch.tensor([3]), torch.tensor([7])
    generator, critic = CganGenerator(8).eval(), CganCritic(8).eval()
    assert not torch.equal(generator(noise, one), generator(noise, other))
    assert not torch.equal(critic(picture, one), critic(picture, other))


@pytest.mark.parametrize(("scale", "ups"), [
    (2, [(256, 6, 5)]),
    (4, [(256, 6, 5), (256, 12, 10)]),
])  # fmt: skip
def test_the_srgan_generator_has_the_shapes_of_its_table(
    layer_shapes: LayerShapes, scale: int, ups: Shapes
) -> None:
    network = SrganGenerator(scale)
    body = [(64, 6, 5)] * (1 + 2 * 16 + 1)
    assert layer_shapes(network, torch.zeros(2, 3, 6, 5)) == [*body, *ups, (3, 6 * scale, 5 * scale)]
    block = 2 * (conv(3, 64, 64, bias=False) + 2 * 64) + 1
    stem, end = conv(9, 3, 64) + 1, conv(3, 64, 64, bias=False) + 2 * 64
    up = conv(3, 64, 256) + 1
    assert weights(network) == stem + 16 * block + end + len(ups) * up + conv(9, 64, 3)


def test_the_srgan_critic_has_the_shapes_of_its_table(layer_shapes: LayerShapes) -> None:
    critic, x = SrganCritic(), torch.zeros(1, 3, 96, 96)
    sides = [(64, 96), (64, 48), (128, 48), (128, 24), (256, 24), (256, 12), (512, 12), (512, 6)]
    assert layer_shapes(critic, x, x) == [*((width, side, side) for width, side in sides), (1024,), (1,)]
    widths = [64, 64, 128, 128, 256, 256, 512, 512]
    stages = sum(conv(3, a, b, bias=False) + 2 * b for a, b in pairwise(widths))
    assert weights(critic) == conv(3, 3, 64) + stages + dense(512 * 36, 1024) + dense(1024, 1)


@pytest.mark.parametrize(("options", "message"), [
    ({"width": 12}, "width is 12, expected a multiple of 8"),
    ({"kernel": 6}, "kernel is 6, expected 3, 4 or 5"),
    ({"batch": 0}, "batch is 0, expected at least 1"),
])  # fmt: skip
def test_dcgan_refuses_what_it_cannot_build(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Dcgan(data="", **options)  # type: ignore[arg-type]


def test_srgan_refuses_other_scales_and_crops() -> None:
    with pytest.raises(ConfigError, match="scale is 3 and crop 96, expected 2 or 4"):
        Srgan(data="", scale=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="crop 40"):
        Srgan(data="", crop=40)
