"""Fusion of a restored frame with its moved neighbours, of batches in training and of whole frames."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from train.data.pictures import Picture
from train.networks.temporal import FusionNetwork

CURRENT, BEFORE, AFTER, BLURRED, SHARP = range(5)
"""Pictures of an example; only training needs the last."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B (BT.601)."""

_UNIT = 4
"""Height and width of what the network takes are multiples of it."""


def fuse(network: FusionNetwork, pictures: Tensor) -> Tensor:
    """Fuse restored frames with their neighbours.

    Args:
        network: the network.
        pictures: (N, 4 or 5, 3, H, W) float32 from 0 to 1, in the order of an example; H and W multiples
            of 4.

    Returns:
        (N, 3, H, W), not clipped.
    """
    weights = torch.tensor(LUMA, device=pictures.device).view(3, 1, 1)
    lumas = (pictures[:, :SHARP] * weights).sum(2)
    correction, shares = network(lumas[:, :BLURRED], lumas[:, BLURRED:])
    current = pictures[:, [CURRENT]]
    differences = pictures[:, [BEFORE, AFTER]] - current
    fused: Tensor = current[:, 0] + (shares[:, :, None] * differences).sum(1) + correction
    return fused


@torch.inference_mode()
def fuse_frame(network: FusionNetwork, pictures: NDArray[np.uint8]) -> Picture:
    """Fuse a frame of any size with its neighbours, and round the result.

    Args:
        network: on any device.
        pictures: (4 or 5, H, W, 3), in the order of an example.

    Returns:
        (H, W, 3).
    """
    device = next(network.parameters()).device
    height, width = pictures.shape[1:3]
    values = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device).float() / 255
    values = F.pad(values, (0, -width % _UNIT, 0, -height % _UNIT), mode="replicate")
    fused = fuse(network, values[None])[0, :, :height, :width]
    return np.asarray((fused.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu())
