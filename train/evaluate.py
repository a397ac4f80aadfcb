"""Measures a generator on pairs: PSNR and SSIM of RGB, whole frames, 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.nn import functional as F

from train.data import Picture, list_pictures, read_pairs

Restore = Callable[[Picture], Picture]


def score(picture: Picture, reference: Picture) -> dict[str, float]:
    """PSNR in dB over all of R, G, B, and SSIM (Wang et al., TIP 2004: Gaussian window, σ 1.5, mean of R, G, B)."""
    ssim = structural_similarity(
        reference,
        picture,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return {"psnr": float(peak_signal_noise_ratio(reference, picture, data_range=255)), "ssim": float(ssim)}


def restore_with(generator: Callable[[Tensor], Tensor], stride: int) -> Restore:
    """A function from an (H, W, 3) uint8 RGB picture to its restored one, reflect-padded to the stride."""

    @torch.inference_mode()
    def restore(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        x = F.pad(x, (0, -width % stride, 0, -height % stride), mode="reflect")
        y = generator(x)[0, :, :height, :width].float()
        code: NDArray[np.uint8] = ((y + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        return code

    return restore


def evaluate(restore: Restore, folder: str | Path) -> dict[str, dict[str, float]]:
    """Score every pair of a folder: name to psnr_in, psnr_out, ssim_in, ssim_out."""
    names = [p.stem for p in list_pictures(Path(folder) / "blur")]
    table = {}
    for name, (blurred, sharp) in zip(names, read_pairs(folder), strict=True):
        before, after = score(blurred, sharp), score(restore(blurred), sharp)
        table[name] = {f"{k}_in": v for k, v in before.items()} | {f"{k}_out": v for k, v in after.items()}
    return table


def mean(table: dict[str, dict[str, float]]) -> dict[str, float]:
    """The mean of every column."""
    rows = list(table.values())
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
