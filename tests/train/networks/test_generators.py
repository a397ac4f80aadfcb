from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtdeblur.dropout import DropoutSites
from train.networks.generators import RESIZE_CONV, DeblurGanOptions, FastGenerator, FastOptions, Generator
from train.networks.layers import InstanceNorm

NARROW = DeblurGanOptions(width=4, blocks=2)


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def shapes(generator: Generator, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """The output's shape of every module by name."""
    seen: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            seen[name] = tuple(output.shape[1:])

        return hook

    for name, module in generator.named_modules():
        module.register_forward_hook(note(name))  # type: ignore[arg-type]
    with torch.inference_mode():
        generator.eval()(torch.zeros(1, 3, *size))
    return seen


def test_the_paper_s_generator_has_11_38_million_parameters() -> None:
    # 6.07 M would remain without the second convolution of each block.
    assert parameters(DeblurGanOptions().build()) == 11_378_179
    block = DeblurGanOptions().build().blocks[0]
    assert [name for name, m in block.named_modules() if isinstance(m, nn.Conv2d)] == ["conv1", "conv2"]


def test_every_layer_of_the_paper_s_generator_has_the_shape_of_the_table() -> None:
    seen = shapes(DeblurGanOptions().build(), (64, 96))
    assert seen["stem"] == (64, 64, 96)
    assert seen["downs.0"] == (128, 32, 48)
    assert seen["downs.1"] == (256, 16, 24)
    for i in range(9):
        for part in ("conv1", "norm1", "dropout", "conv2", "norm2"):
            assert seen[f"blocks.{i}.{part}"] == (256, 16, 24), (i, part)
    assert "blocks.9" not in seen
    assert seen["ups.0"] == (128, 32, 48)
    assert seen["ups.1"] == (64, 64, 96)
    assert seen["head"] == (3, 64, 96)


def test_both_convolutions_of_a_block_shape_its_output() -> None:
    block = NARROW.build().eval().blocks[0]
    x = torch.randn(1, 16, 8, 8)
    before = block(x)
    for name in ("conv1", "conv2"):
        conv = getattr(block, name)
        kept = conv.weight.detach().clone()
        with torch.no_grad():
            conv.weight.copy_(torch.randn_like(kept))
            assert not torch.allclose(block(x), before), name
            conv.weight.copy_(kept)


def test_the_resize_variant_has_no_transposed_convolution_and_no_checkerboard() -> None:
    generator = replace(RESIZE_CONV, width=4, blocks=1, norm="instance").build().eval()
    assert not [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    nn.init.normal_(generator.head[0].weight, 0, 1)
    # A flat picture must stay flat inside (zero padding shows at the rim alone); a transposed convolution of
    # stride 2 and kernel 3 covers even and odd pixels unevenly, and shows it.
    flat = torch.full((1, 16, 8, 8), 0.5)
    inside = generator.ups[0][:2](flat)[..., 2:-2, 2:-2]
    assert torch.allclose(inside, inside[..., :1, :1].expand_as(inside), atol=1e-6)
    uneven = NARROW.build().ups[0][0](flat)[..., 2:-2, 2:-2]
    assert not torch.allclose(uneven, uneven[..., :1, :1].expand_as(uneven), atol=1e-4)


def test_the_resize_variant_halves_the_sum_of_input_and_tanh() -> None:
    generator = replace(NARROW, halve_sum=True).build().eval()
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    plain = replace(NARROW).build().eval()
    plain.load_state_dict(generator.state_dict())
    assert torch.allclose(generator(x), (x + plain.residual(x)) / 2, atol=1e-6)


@pytest.mark.parametrize(("activation", "kind"), [("relu", nn.ReLU), ("leaky", nn.LeakyReLU)])
def test_the_activation_outside_the_blocks_is_an_option(activation: str, kind: type[nn.Module]) -> None:
    generator = replace(NARROW, activation=activation).build()  # type: ignore[arg-type]
    assert isinstance(generator.stem[-1], kind)
    assert isinstance(generator.downs[0][-1], kind)
    assert isinstance(generator.ups[1][-1], kind)
    assert isinstance(generator.blocks[0].relu, nn.ReLU)


def test_instance_norm_uses_the_frame_s_statistics_in_evaluation_too() -> None:
    norm = InstanceNorm(2).eval()
    x = torch.randn(1, 2, 8, 8) * 3 + 5
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
    assert torch.allclose(norm(x), (x - mean) / torch.sqrt(variance + 1e-5), atol=1e-5)


def test_instance_norm_of_halves_has_statistics_of_float32() -> None:
    x = torch.full((1, 1, 256, 256), 200.0).half()  # its sum is 13 million, its sum of squares 2.6 billion
    x[..., ::2] = 100
    got = InstanceNorm(1)(x)
    assert got.dtype == torch.float16
    assert torch.allclose(got.float().abs(), torch.ones(1), atol=2e-3)  # half has 11 bits


def test_our_generator_has_the_shapes_of_its_table_and_starts_as_the_identity() -> None:
    generator = FastOptions().build()
    seen = shapes(generator, (64, 96))
    assert seen["stem"] == (16, 32, 48)
    assert [seen[f"encoders.{i}"] for i in range(3)] == [(16, 32, 48), (48, 16, 24), (96, 8, 12)]
    assert [seen[f"downs.{i}"] for i in range(3)] == [(48, 16, 24), (96, 8, 12), (192, 4, 6)]
    assert seen["middle"] == (192, 4, 6)
    assert [seen[f"decoders.{i}"] for i in range(3)] == [(96, 8, 12), (48, 16, 24), (16, 32, 48)]
    assert seen["head"] == (16, 32, 48)
    x = torch.rand(1, 3, 32, 48) * 2 - 1
    assert torch.equal(generator(x), x)


@pytest.mark.parametrize("size", [(64, 96), (48, 16)])
@torch.no_grad()
def test_two_scales_are_mixed_as_the_network_is_sure_of_them(size: tuple[int, int]) -> None:
    """At half size, a side need not be a multiple of 16."""
    torch.manual_seed(0)
    options = FastOptions(widths=(4, 4, 4, 4))
    both, single = options.build(), replace(options, two_scales=False).build()
    for parameter in both.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    single.load_state_dict({k: v[:12] if k.startswith("head") else v for k, v in both.state_dict().items()})
    x = torch.rand(1, 3, *size) * 2 - 1
    height, width = size
    half = F.pad(F.avg_pool2d(x, 2), (0, -(width // 2) % 16, 0, -(height // 2) % 16), mode="replicate")
    coarse = F.interpolate(single.residual(half), scale_factor=2, mode="bilinear")[..., :height, :width]
    assert not torch.allclose(both.residual(x), (single.residual(x) + coarse) / 2, atol=1e-3)
    both.head.weight[12:], both.head.bias[12:] = 0, 0  # as sure of one as of the other
    assert torch.allclose(both.residual(x), (single.residual(x) + coarse) / 2, atol=1e-6)


def test_our_generators_parameter_names_are_stable() -> None:
    # Published weights are loaded by these names.
    names = set(FastGenerator((4, 4, 4, 4)).state_dict())
    for name in ("stem.weight", "encoders.2.1.conv2.bias", "downs.0.weight", "middle.2.conv1.weight",
                 "ups.0.bias", "decoders.0.1.conv1.weight", "head.bias"):  # fmt: skip
        assert name in names
    assert parameters(FastGenerator()) == 3_104_656


def test_masks_by_sign_tables_equal_a_mask_given_outright() -> None:
    generator = NARROW.build().eval()
    x = torch.rand(1, 3, 16, 20) * 2 - 1
    assert generator.sites == DropoutSites(2, 16, 4)
    tables = generator.sites.draw(3, 16, 20)
    rows, columns, plane = (torch.from_numpy(t).float() for t in tables)
    features = generator.downs(generator.stem(x))
    for i, block in enumerate(generator.blocks):
        mask = 1 + torch.einsum("cy,cx,yx->cyx", rows[i], columns[i], plane[i])
        assert set(mask.unique().tolist()) == {0.0, 2.0}
        h = block.relu(block.norm1(block.conv1(features))) * mask
        features = features + block.norm2(block.conv2(h))
    wanted = (x + generator.head(generator.ups(features))).clamp(-1, 1)
    got = generator(x, *(torch.from_numpy(t) for t in tables))
    assert torch.allclose(got, wanted, atol=1e-6)


def test_dropout_is_off_without_tables_and_with_tables_of_zeros() -> None:
    generator = NARROW.build().eval()
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    assert generator.sites
    off = [torch.from_numpy(t) for t in generator.sites.off(16, 16)]
    assert torch.equal(generator(x), generator(x, *off))
    drawn = [torch.from_numpy(t) for t in generator.sites.draw(0, 16, 16)]
    assert not torch.allclose(generator(x), generator(x, *drawn), atol=1e-3)


def test_a_mask_depends_only_on_its_seed_and_is_a_fair_coin() -> None:
    sites = DropoutSites(9, 256, 4)
    first, again, other = sites.draw(7, 720, 1280), sites.draw(7, 720, 1280), sites.draw(8, 720, 1280)
    assert [t.shape for t in first] == [(9, 256, 180), (9, 256, 320), (9, 180, 320)]
    for a, b, c in zip(first, again, other, strict=True):
        assert (a == b).all()
        assert (a != c).any()
    # The first bits of Philox of key from seed 7, fixed for ever: a bundle's look must not change with NumPy.
    assert first[0][0, 0, :8].tolist() == PHILOX_7
    rows, columns, plane = (t.astype("f4") for t in first)
    product = rows[0][:, :, None] * columns[0][:, None] * plane[0]
    # 14.7 million signs: the mean of independent ones is within 5 σ = 0.0013; rows and columns add some.
    assert abs(product.mean()) < 0.005


PHILOX_7 = [1.0, -1.0, 1.0, -1.0, 1.0, 1.0, 1.0, -1.0]
