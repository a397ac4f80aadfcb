"""Checkpoints: one safetensors file of tensors with a JSON state in its header; never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from train.errors import CheckpointError
from train.fit.config import Config
from train.fit.options import from_table
from train.networks.generators import FastGenerator, Generator
from train.networks.growth import grown

Parts = Mapping[str, nn.Module | torch.optim.Optimizer]
"""Modules and optimizers, by the prefix of their tensors' keys."""

MOST_WEIGHTS = 15 * 2**20
"""Size of float32 weights above which `save_weights` uses half precision, in bytes."""


def save_checkpoint(path: Path, parts: Parts, state: dict[str, Any]) -> None:
    """Write modules, optimizers and a JSON-serializable state, atomically."""
    _write(path, _on_host(parts), state)


def save_weights(path: Path, generator: Generator, config: Config, state: dict[str, Any]) -> None:
    """Write a checkpoint with only the weights that would be exported.

    It can be measured, exported and used as a start, but not continued. Float32 up to `MOST_WEIGHTS` bytes,
    else half precision.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = _on_host(_shipped(generator, config))
    if sum(value.nbytes for value in tensors.values()) > MOST_WEIGHTS:
        tensors = {
            key: value.half() if value.is_floating_point() else value for key, value in tensors.items()
        }
    _write(path, tensors, state)


def named_tensors(parts: Parts) -> dict[str, Tensor]:
    """Return the tensors of modules and optimizers themselves, by their keys in a checkpoint."""
    return {
        f"{name}/{key}": value.detach()
        for name, part in parts.items()
        for key, value in _tensors(part).items()
    }


def _on_host(parts: Parts) -> dict[str, Tensor]:
    # Safetensors writes row-major bytes, so pass contiguous tensors, not channels_last ones.
    return {key: value.cpu().contiguous() for key, value in named_tensors(parts).items()}


def _write(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    temporary = path.with_suffix(".part")
    save_file(tensors, temporary, {"state": json.dumps(state)})
    temporary.replace(path)


def copy_checkpoint(path: Path, copy: Path, state: dict[str, Any]) -> None:
    """Copy a checkpoint's tensors to another one, with a different state.

    Raises:
        CheckpointError: the first cannot be read.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from None
    _write(copy, tensors, state)


def load_checkpoint(path: Path, parts: Parts) -> dict[str, Any]:
    """Load modules and optimizers in place; return the state.

    Raises:
        CheckpointError: the file is missing, damaged, or belongs to other networks.
    """
    try:
        with safe_open(path, "pt") as file:
            keys, metadata = list(file.keys()), file.metadata() or {}
            for name, part in parts.items():
                prefix = f"{name}/"
                mine = {key[len(prefix) :]: file.get_tensor(key) for key in keys if key.startswith(prefix)}
                if isinstance(part, nn.Module):
                    part.load_state_dict(mine)
                else:
                    _load_optimizer(part, mine)
        return dict(json.loads(metadata["state"]))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from None
    except (RuntimeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the checkpoint {path} belongs to another network or recipe: {reason}; use its own configuration"
        ) from None


def load_generator(path: Path, config: Config | None = None) -> tuple[Generator, dict[str, Any]]:
    """Load the generator of a checkpoint, with averaged weights if it has any, and the state.

    Args:
        path: a checkpoint, or weights that `start_from` reads.
        config: configuration of the network, for files without one.

    Raises:
        CheckpointError: see `load_checkpoint`.
    """
    state = _read_state(path)
    if config is None:
        if "config" not in state:
            raise CheckpointError(f"{path} contains no configuration of its network; add one")
        config = from_table(Config, state["config"], f"{path} config")
    generator = config.generator.build()
    if state:
        load_checkpoint(path, _shipped(generator, config))
    else:
        start_from(path, generator)
    return generator.eval(), state


def _read_state(path: Path) -> dict[str, Any]:
    """Return the state of a checkpoint; empty for a file of weights only."""
    try:
        with safe_open(path, "pt") as file:
            return dict(json.loads((file.metadata() or {}).get("state", "{}")))
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from None


def mix_checkpoints(first: Path, second: Path, share: float, path: Path) -> None:
    """Interpolate between two checkpoints, to soften the sharpening of adversarial training.

    Network interpolation (Wang et al., ESRGAN, ECCVW 2018, section 3.4), applied to the weights that are
    exported.

    Args:
        first: a checkpoint.
        second: a checkpoint of a run that started from the first; its state is kept.
        share: share of the second, 0 to 1.
        path: the new checkpoint; next to the second, it shares its journal.

    Raises:
        CheckpointError: see `load_checkpoint`, or the two have different networks.
    """
    generator, state = load_generator(second)
    config = from_table(Config, state["config"], f"{second} config")
    changed = {name: weight.clone() for name, weight in generator.state_dict().items()}
    start_from(first, generator)
    for name, weight in generator.named_parameters():
        weight.data.lerp_(changed[name], share)
    save_checkpoint(path, _shipped(generator, config), state | {"mixed": [first.name, share]})


def start_from(path: Path, generator: Generator) -> None:
    """Load the weights of a checkpoint, a bundle or a plain state dict into a generator, in place.

    Additional weights in the file are ignored, so that a network may start from one with more blocks. A
    `FastGenerator` may also start from a narrower or shallower one (`train.networks.growth`).

    Args:
        path: a checkpoint, whose averaged weights are preferred; a bundle's `.onnx`; or a safetensors file of
            the generator's weights.
        generator: a generator of the same architecture, freshly initialised if it is the larger one.

    Raises:
        CheckpointError: the file cannot be read, or a weight is missing or has another shape.
    """
    try:
        known = _bundled_weights(path) if path.suffix == ".onnx" else _trained_weights(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read the weights of {path}: {error}") from None
    if isinstance(generator, FastGenerator):
        known = grown(known, generator)
    for name, parameter in generator.named_parameters():
        tensor = known.get(name)
        if tensor is None or tensor.shape != parameter.shape:
            found = "missing" if tensor is None else f"{list(tensor.shape)}"
            raise CheckpointError(
                f"{path} does not fit the generator: {name} is {found}, expected {list(parameter.shape)}; "
                "start from a checkpoint or a bundle of the same architecture"
            )
        parameter.data.copy_(tensor)


def _shipped(generator: Generator, config: Config) -> Parts:
    """Return the prefix of the weights to export: averaged ones if the run has them."""
    if not config.ema:
        return {"generator": generator}
    averaged = nn.Module()
    averaged.module = generator
    averaged.register_buffer("n_averaged", torch.tensor(0))
    return {"ema": averaged}


def _bundled_weights(path: Path) -> dict[str, Tensor]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        weights = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    except DecodeError as error:
        raise CheckpointError(f"cannot read the weights of {path}: {error}") from None
    return {
        name.removeprefix("generator."): torch.tensor(onnx.numpy_helper.to_array(tensor))
        for name, tensor in weights.items()
        if name.startswith("generator.")
    }


def _trained_weights(path: Path) -> dict[str, Tensor]:
    tensors = load_file(path)
    for part in ("ema/module.", "generator/", ""):
        weights = {key.removeprefix(part): value for key, value in tensors.items() if key.startswith(part)}
        if weights:
            return weights
    return {}


def _tensors(part: nn.Module | torch.optim.Optimizer) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return part.state_dict()
    states = part.state_dict()["state"]
    return {f"{index}/{key}": value for index, entry in states.items() for key, value in entry.items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            # Fused kernels need an optimizer moment to have the memory layout of its parameter.
            value = torch.empty_like(parameter).copy_(value)
        states.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
