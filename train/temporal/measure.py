"""Gain of the fusion on whole frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train.measure.evaluate import psnr
from train.networks.temporal import FusionNetwork
from train.temporal.fusion import BLURRED, CURRENT, SHARP, fuse_frame


class Gains(NamedTuple):
    """Mean gain over the blurred frames in PSNR of RGB, dB.

    Attributes:
        restored: of the restored frames; in examples of the second pass, of what the first pass returns.
        fused: of the fused ones.
    """

    restored: float
    fused: float


def measure(network: FusionNetwork, paths: Sequence[Path]) -> Gains:
    """Measure on whole frames.

    Args:
        network: on any device.
        paths: files of `train.temporal.examples.prepare`.
    """
    rows = []
    for path in paths:
        example = np.load(path)
        fused = fuse_frame(network, example)
        scores = [psnr(picture, example[SHARP]) for picture in (example[BLURRED], example[CURRENT], fused)]
        rows.append([scores[1] - scores[0], scores[2] - scores[0]])
    restored, fused_gain = np.mean(rows, axis=0)
    return Gains(float(restored), float(fused_gain))
