"""A grown network restores exactly like the smaller one, and its new weights can learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from train.errors import CheckpointError
from train.fit.checkpoint import start_from
from train.networks.generators import FastGenerator, FastOptions

SMALL = FastOptions(widths=(4, 6, 8, 10), encoder_blocks=(1, 1, 1), middle_blocks=1, decoder_blocks=(1, 1, 1))


@pytest.fixture
def small(tmp_path: Path) -> tuple[FastGenerator, Path]:
    """A network whose weights are all random, biases and head too, and the file of its weights."""
    torch.manual_seed(1)
    generator = SMALL.build()
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_file(dict(generator.named_parameters()), tmp_path / "small.safetensors")
    return generator, tmp_path / "small.safetensors"


@pytest.mark.parametrize(
    "larger",
    [
        replace(SMALL, widths=(4, 6, 8, 16)),
        replace(SMALL, widths=(8, 12, 16, 20)),
        replace(SMALL, encoder_blocks=(2, 1, 3), middle_blocks=2, decoder_blocks=(1, 2, 1)),
        FastOptions(widths=(6, 6, 12, 12)),
    ],
)
def test_a_larger_network_starts_as_the_smaller_one(
    larger: FastOptions, small: tuple[FastGenerator, Path]
) -> None:
    before, path = small
    after = larger.build()
    start_from(path, after)
    x = torch.rand(2, 3, 48, 32) * 2 - 1
    assert before.residual(x).abs().mean() > 0.01
    assert torch.allclose(after.residual(x), before.residual(x), atol=1e-6)


def test_a_network_of_one_scale_grows_a_second_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = replace(SMALL, two_scales=False).build()
    for parameter in before.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_file(dict(before.named_parameters()), tmp_path / "one.safetensors")
    after = SMALL.build()
    start_from(tmp_path / "one.safetensors", after)
    x = torch.rand(1, 3, 64, 32) * 2 - 1
    coarse = F.interpolate(before.residual(F.avg_pool2d(x, 2)), scale_factor=2, mode="bilinear")
    assert torch.allclose(after.residual(x), (before.residual(x) + coarse) / 2, atol=1e-6)


def test_new_weights_learn_from_the_first_steps(small: tuple[FastGenerator, Path]) -> None:
    generator = replace(SMALL, widths=(8, 12, 16, 20), middle_blocks=2).build()
    start_from(small[1], generator)
    optimizer = torch.optim.SGD(generator.parameters(), 0.01)
    x = torch.rand(2, 3, 48, 32) * 2 - 1
    for _ in range(3):  # zeros that hide others from the first gradient
        optimizer.zero_grad()
        generator.residual(x).square().mean().backward()
        optimizer.step()
    for name, parameter in generator.named_parameters():
        old = dict(small[0].named_parameters()).get(name)
        added = torch.ones_like(parameter, dtype=torch.bool)
        if old is not None:
            added[tuple(slice(size) for size in old.shape)] = False
        assert not added.any() or parameter.grad[added].any(), name


def test_a_smaller_network_cannot_start_from_a_larger_one(small: tuple[FastGenerator, Path]) -> None:
    narrow = replace(SMALL, widths=(4, 6, 8, 8)).build()
    with pytest.raises(CheckpointError, match="does not fit the generator"):
        start_from(small[1], narrow)


def test_other_weights_do_not_grow(small: tuple[FastGenerator, Path], tmp_path: Path) -> None:
    weights = {name: value for name, value in small[0].named_parameters() if not name.startswith("stem")}
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"stem\.weight is missing"):
        start_from(tmp_path / "other.safetensors", replace(SMALL, middle_blocks=2).build())
