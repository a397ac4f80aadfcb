"""SRGAN's generator as ONNX, for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from train.errors import ConfigError, ParityError
from train.export.graph import to_onnx
from train.recipes.open import open_recipe
from train.recipes.srgan import SrganGenerator

_MOST_ERROR = 1e-4
"""Largest difference from PyTorch, of values from 0 to 1."""


def is_recipe(path: Path) -> bool:
    """Whether a file is a checkpoint of a recipe."""
    try:
        with safe_open(path, "pt") as file:
            return "recipe" in json.loads((file.metadata() or {}).get("state", "{}"))
    except (OSError, SafetensorError, ValueError):
        return False


class EnlargerGraph(nn.Module):
    """Float32 RGB in [0, 1], (N, 3, H, W) to (N, 3, scale × H, scale × W)."""

    def __init__(self, generator: SrganGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, rgb: Tensor) -> Tensor:
        """Enlarge pictures of any size."""
        return self.generator(2 * rgb.clamp(0, 1) - 1) / 2 + 0.5  # type: ignore[no-any-return]


def export_enlarger(checkpoint: Path, folder: Path, name: str) -> Path:
    """Write `<name>-plain.onnx`, `rgb` to `enlarged`, N, H and W dynamic; return its path.

    Raises:
        ConfigError: the checkpoint is of another recipe.
        ParityError: the graph differs from PyTorch; nothing was written.
    """
    from onnxruntime import InferenceSession

    recipe, generator, _ = open_recipe(checkpoint)
    if not isinstance(generator, SrganGenerator):
        raise ConfigError(
            f"{checkpoint} is of {recipe.kind}; only srgan exports, since it maps pictures to pictures"
        )
    graph = EnlargerGraph(generator)
    axes = {"rgb": {0: "n", 2: "h", 3: "w"}, "enlarged": {0: "n", 2: "h_out", 3: "w_out"}}
    proto = to_onnx("SRGAN", graph, {"rgb": torch.zeros(2, 3, 16, 20)}, ("enlarged",), axes, traced=True)
    onnx.checker.check_model(proto)
    rgb = np.random.default_rng(0).random((1, 3, 13, 9), np.float32)
    with torch.inference_mode():
        wanted = graph(torch.from_numpy(rgb)).numpy()
    session = InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    error = float(np.abs(session.run(None, {"rgb": rgb})[0] - wanted).max())
    if not error <= _MOST_ERROR:
        raise ParityError(f"the plain graph is {error:.2g} off PyTorch, expected {_MOST_ERROR}")
    path = folder / f"{name}-plain.onnx"
    onnx.save_model(proto, path)
    return path
