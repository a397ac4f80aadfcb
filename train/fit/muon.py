"""Muon (Jordan et al., 2024): steps that are orthogonal matrices. It needs fewer steps from fresh weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

_MOMENTUM = 0.95
_FEWEST_CHANNELS = 16
"""Of the input and output of a convolution; those to and from colours are AdamW's, as the authors do."""
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x³ and x⁵ that send singular values in (0, 1] to about 1 in five rounds."""


class Muon(torch.optim.AdamW):
    """AdamW, but for convolutions between features: those step by Nesterov momentum made orthogonal.

    A step is scaled to the size of AdamW's (Liu et al., "Muon is scalable for LLM training", 2025), so one
    learning rate and weight decay serve both.

    Args:
        parameters: of a network.
        lr: learning rate.
        betas: of AdamW.
        weight_decay: decoupled, as in AdamW.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(parameters, lr, betas, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take a step; `closure` as PyTorch's optimizers take it."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None or p.dim() != 4 or min(p.shape[:2]) < _FEWEST_CHANNELS:
                    continue
                if p not in self.state:  # AdamW, when it loads a state, wants a step in it
                    self.state[p] = {"step": torch.zeros(()), "momentum": torch.zeros_like(p)}
                momentum = self.state[p]["momentum"]
                momentum.lerp_(p.grad, 1 - _MOMENTUM)
                update = orthogonal(p.grad.lerp(momentum, _MOMENTUM).flatten(1))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view(p.shape), alpha=-0.2 * math.sqrt(max(update.shape)) * group["lr"])
                p.grad = None  # AdamW passes over it
        return super().step(closure)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with singular values of 1 (0.7 to 1.2): (m, n) to the same.

    Newton and Schulz's iteration on the smaller Gram matrix G: a round multiplies the matrix by
    Q = a + b G + c G², and so G by Q².
    """
    a, b, c = _NEWTON_SCHULZ
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    matrix = matrix / (matrix.norm() + 1e-12)
    gram = matrix @ matrix.T
    unit = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product = unit
    for _ in range(5):
        q = a * unit + b * gram + c * gram @ gram
        product = q @ product
        gram = q @ gram @ q
    return torch.matmul(product, matrix)
