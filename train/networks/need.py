"""How much a restorer would change a picture, estimated at a fraction of its cost.

    NeedNetwork         logarithm of the change's energy in squares of 16²
    NeedGraph           its energy, as `rtdeblur.backends.need` takes it

Blur shows in how the energy of detail falls from fine to coarse scales, in each direction. So the first
layers are filters whose energy is taken, at full and at a quarter of the resolution (texture energy; Laws,
Textured Image Segmentation, 1980), and the others compare its logarithms. A soft square may be blurred, or
show something soft; the rest of the frame tells, since a camera that shakes blurs all of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtdeblur.backends.need import BLOCK

FLOOR = 0.1
"""Added to energies before the logarithm, code values squared; rounding has a twelfth."""
_CELL, _TAPS = 4, 8
"""Distance and side of the filters, in pixels of their resolution."""
_FINE, _COARSE, _WIDTH = 24, 24, 48
_LEAST, _LEAST_SPREAD = 1e-3, 1e-4
_MIDDLE, _SCALE = 128.0, 32.0
MOST = 8.0
"""Logarithm of the largest energy."""


class NeedNetwork(nn.Module):
    """Estimates the energy of a restorer's change from luma; 53,000 parameters, 0.5 GFLOP for 720p."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(1, _FINE, _TAPS, _CELL)
        self.coarse = nn.Conv2d(1, _COARSE, _TAPS, _CELL)
        self.mix = nn.Conv2d(2 * _FINE + _COARSE, _WIDTH, 1)
        self.frame = nn.Linear(2 * _WIDTH, _WIDTH)
        self.near = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.far = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=2, dilation=2)
        self.head = nn.Conv2d(_WIDTH, 1, 1)

    def forward(self, luma: Tensor) -> Tensor:
        """Estimate the logarithm of the energy plus FLOOR.

        Args:
            luma: (N, 1, H, W) float32 code values of 8 bits, limited range; H and W multiples of BLOCK.

        Returns:
            (N, H / BLOCK, W / BLOCK).
        """
        x = (luma - _MIDDLE) / _SCALE
        fine = self.fine(_continued(x, (_TAPS - _CELL) // 2)).square()
        reduced = F.avg_pool2d(_continued(x, _CELL * (_TAPS - _CELL) // 2), _CELL)
        energies = [F.avg_pool2d(fine, _CELL), F.max_pool2d(fine, _CELL), self.coarse(reduced).square()]
        x = F.relu(self.mix((torch.cat(energies, 1) + _LEAST).log()))
        mean = x.mean((2, 3), keepdim=True)
        spread = ((x - mean).square().mean((2, 3), keepdim=True) + _LEAST_SPREAD).sqrt()
        x = F.relu(x + self.frame(torch.cat([mean, spread], 1).flatten(1))[..., None, None])
        x = x + F.relu(self.near(x))
        x = x + F.relu(self.far(x))
        energy: Tensor = self.head(x)
        return energy[:, 0]


class NeedGraph(nn.Module):
    """The energy itself.

    Args:
        network: the network.
    """

    def __init__(self, network: NeedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, luma: Tensor) -> Tensor:
        """Estimate the energy; shapes as in `NeedNetwork.forward`, code values squared."""
        logarithm: Tensor = self.network(luma)
        return (logarithm.clamp(max=MOST).exp() - FLOOR).clamp(min=0)


def _continued(x: Tensor, border: int) -> Tensor:
    """Continue a picture beyond its border."""
    return F.pad(x, (border,) * 4, mode="replicate")


assert BLOCK == _CELL * 4
