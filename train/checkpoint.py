"""Checkpoints: one safetensors file of tensors with its JSON state in the header; never a pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def save_checkpoint(
    path: Path, modules: dict[str, nn.Module | torch.optim.Optimizer], state: dict[str, Any]
) -> None:
    """Write modules, optimizers and a JSON-able state; the file appears whole or not at all."""
    tensors = {
        f"{name}/{key}": value for name, module in modules.items() for key, value in _tensors(module).items()
    }
    # Safetensors writes the bytes row-major: give it contiguous tensors, not channels_last ones.
    tensors = {key: value.detach().contiguous() for key, value in tensors.items()}
    temporary = path.with_suffix(".part")
    save_file(tensors, temporary, {"state": json.dumps(state)})
    temporary.replace(path)


def load_checkpoint(path: Path, modules: dict[str, nn.Module | torch.optim.Optimizer]) -> dict[str, Any]:
    """Read modules and optimizers in place; gives the state."""
    with safe_open(path, "pt") as file:
        state: dict[str, Any] = json.loads(file.metadata()["state"])
        keys = file.keys()
        for name, module in modules.items():
            mine = {key.partition("/")[2]: file.get_tensor(key) for key in keys if key.startswith(f"{name}/")}
            if isinstance(module, nn.Module):
                module.load_state_dict(mine)
            else:
                _load_optimizer(module, mine)
    return state


def _tensors(module: nn.Module | torch.optim.Optimizer) -> dict[str, Tensor]:
    if isinstance(module, nn.Module):
        return module.state_dict()
    states = module.state_dict()["state"]
    return {f"{index}/{key}": value for index, entry in states.items() for key, value in entry.items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        states.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
