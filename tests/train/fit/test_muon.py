"""Muon: orthogonal steps for convolutions, AdamW's for the rest."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from train.fit.config import OptimizerOptions
from train.fit.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_singular_values_become_about_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(shape) * 1e-4
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonal(matrix)
    values = torch.diagonal(u.T @ result @ v.T)  # in the matrix's own directions
    assert ((values > 0.5) & (values < 1.3)).all()
    assert (result - u @ torch.diag(values) @ v).norm() < 1e-3 * result.norm()


def test_no_gradient_is_no_step() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_features_step_by_muon_and_the_rest_as_with_adamw() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3), nn.Conv2d(24, 3, 3))
    twin = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3), nn.Conv2d(24, 3, 3))
    twin.load_state_dict(network.state_dict())
    before = network[1].weight.detach().clone()
    optimizers = [
        OptimizerOptions(kind, 1e-2, (0.9, 0.99), 0.1).build(net.parameters())
        for kind, net in (("muon", network), ("adamw", twin))
    ]
    assert isinstance(optimizers[0], Muon)
    x = torch.rand(2, 3, 12, 12)
    for net, optimizer in zip((network, twin), optimizers, strict=True):
        net(x).square().mean().backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        same = torch.equal(parameter, twin.get_parameter(name))
        assert same == (name != "1.weight"), name
    step = before * (1 - 1e-2 * 0.1) - network[1].weight.detach()
    # 0.2 a value, about the size of a step of AdamW
    assert step.square().mean().sqrt() == pytest.approx(0.2 * 1e-2, rel=0.15)


def test_it_learns() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 3, 1)
    )
    optimizer = OptimizerOptions("muon", 3e-3, (0.9, 0.99)).build(network.parameters())
    x = torch.rand(4, 3, 16, 16)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = (network(x) - x.flip(1)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]
