"""Fusion of examples, and its gain on whole frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from train.measure.evaluate import psnr
from train.networks.temporal import FusionNetwork
from train.temporal.examples import AFTER, BEFORE, BLURRED, CURRENT, LUMA, SHARP

_UNIT = 4
"""Height and width of what the network takes are multiples of it."""


class Gains(NamedTuple):
    """Mean gain over the blurred frames in PSNR of RGB, dB.

    Attributes:
        restored: of the restored frames.
        fused: of the fused ones.
    """

    restored: float
    fused: float


def fuse(network: FusionNetwork, pictures: Tensor) -> Tensor:
    """Fuse restored frames with their neighbours.

    Args:
        network: the network.
        pictures: (N, 5, 3, H, W) float32 from 0 to 1, in the order of an example; H and W multiples of 4.

    Returns:
        (N, 3, H, W), not clipped.
    """
    weights = torch.tensor(LUMA, device=pictures.device).view(3, 1, 1)
    current, before, after, blurred = pictures[:, [CURRENT, BEFORE, AFTER, BLURRED]].unbind(1)
    lumas = ((picture * weights).sum(1, keepdim=True) for picture in (current, before, after, blurred))
    correction, of_before, of_after = network(*lumas)
    fused: Tensor = current + of_before * (before - current) + of_after * (after - current) + correction
    return fused


@torch.inference_mode()
def measure(network: FusionNetwork, paths: Sequence[Path]) -> Gains:
    """Measure on whole frames, cropped to multiples of 4.

    Args:
        network: on any device.
        paths: files of `train.temporal.examples.prepare`.
    """
    device = next(network.parameters()).device
    rows = []
    for path in paths:
        example = np.load(path)
        height, width = (side - side % _UNIT for side in example.shape[1:3])
        example = example[:, :height, :width]
        pictures = torch.from_numpy(example).permute(0, 3, 1, 2)[None].to(device).float() / 255
        fused = (fuse(network, pictures)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        scores = [psnr(picture, example[SHARP]) for picture in (example[BLURRED], example[CURRENT], fused)]
        rows.append([scores[1] - scores[0], scores[2] - scores[0]])
    restored, fused_gain = np.mean(rows, axis=0)
    return Gains(float(restored), float(fused_gain))
