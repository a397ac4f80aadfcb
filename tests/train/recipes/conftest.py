from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from train.data.pictures import write_picture

Shapes = list[tuple[int, ...]]


@pytest.fixture
def layer_shapes() -> Callable[..., Shapes]:
    """The output's shape, without the batch, of every layer with weights but norms and PReLUs, in order."""

    def shapes(network: nn.Module, *inputs: torch.Tensor) -> Shapes:
        seen: Shapes = []
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)):
                module.register_forward_hook(lambda m, i, o: seen.append(tuple(o.shape[1:])))
        with torch.inference_mode():
            network.eval()(*inputs)
        return seen

    return shapes


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of four pictures of coloured squares, 72 × 80."""
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for i in range(4):
        coarse = rng.integers(0, 256, (9, 10, 3)).astype(np.uint8)
        write_picture(folder / f"{i}.png", coarse.repeat(8, 0).repeat(8, 1))
    return folder
