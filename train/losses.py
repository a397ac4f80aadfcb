"""Losses as pure functions of (N, 3, H, W) tensors in [-1, 1]; each gives a scalar."""

from __future__ import annotations

import torch
from torch import Tensor


def charbonnier(restored: Tensor, sharp: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(d² + ε²): L1 that is smooth at zero (Charbonnier et al., ICIP 1994)."""
    return torch.sqrt((restored - sharp).square() + epsilon**2).mean()


def frequency(restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean absolute difference of the 2-D spectra, real and imaginary part (Cho et al., MIMO-UNet, ICCV 2021, eq. 6)."""
    difference = torch.fft.rfft2(restored - sharp)
    return torch.view_as_real(difference).abs().mean()
