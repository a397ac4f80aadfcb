"""A trained network as a function on pictures, from a checkpoint or an exported bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtdeblur.dropout import Dropout, DropoutSites
from rtdeblur.errors import RtdeblurError
from rtdeblur.frames import Colour
from rtdeblur.model import INPUTS, OUTPUTS, Model
from train.data.pictures import Picture
from train.errors import CheckpointError
from train.fit.checkpoint import load_generator
from train.fit.config import load_config
from train.measure.evaluate import Restore, restore_with

_PLANES = (1, 2, 0)
"""Channels for the graph's y, u and v: green, blue and red (H.273, MatrixCoefficients 0)."""


@dataclass(frozen=True)
class Restorer:
    """Subject of a measurement.

    Attributes:
        name: name of the file.
        restore: restores a picture; may be called by several threads.
        facts: `steps`, `crops` (seen in training), `hours` (of wall time) and `core_hours`, as far as known.
    """

    name: str
    restore: Restore
    facts: dict[str, Any]


def open_restorer(path: Path, config: Path | None = None, dropout_seed: int | None = None) -> Restorer:
    """Open a result of `fit` or `export`.

    Args:
        path: a checkpoint; a safetensors file of weights, if `config` is given; or a bundle's `.onnx`, run by
            ONNX Runtime.
        config: configuration of the network, for files without one.
        dropout_seed: seed of the dropout mask; None disables dropout.

    Raises:
        CheckpointError: the file cannot be read.
    """
    if path.suffix == ".onnx":
        return _open_bundle(path, dropout_seed)
    generator, state = load_generator(path, load_config(config) if config else None)
    generator.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    facts = {"steps": state.get("step"), "crops": state.get("examples")}
    facts |= {name: state[key] / 3600 for name, key in _HOURS.items() if key in state}
    return Restorer(path.name, restore_with(generator, dropout_seed), _known(facts))


_HOURS = {"hours": "seconds", "core_hours": "core_seconds"}


def _open_bundle(path: Path, dropout_seed: int | None) -> Restorer:
    try:
        model = Model.load(str(path))
        manifest = model.manifest
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except RtdeblurError as error:
        raise CheckpointError(f"cannot read the bundle {path}: {error}") from None
    colour = Colour(matrix="rgb", full_range=True)
    fixed: dict[str, Any] = dict(
        zip(INPUTS[3:], (colour.yuv_to_rgb(), colour.rgb_to_yuv(), np.array([255], np.float32)), strict=True)
    )
    sites = manifest.dropout_sites
    dropout = Dropout(DropoutSites(**sites, stride=manifest.stride), dropout_seed) if sites else None

    def restore(picture: Picture) -> Picture:
        planes = (np.ascontiguousarray(picture[None, None, ..., channel]) for channel in _PLANES)
        feed = dict(zip(INPUTS, planes, strict=False)) | fixed
        if dropout:
            feed |= dropout.inputs(*picture.shape[:2])
        restored = np.empty_like(picture)
        for channel, plane in zip(_PLANES, session.run(list(OUTPUTS), feed), strict=True):
            restored[..., channel] = plane[0, 0]
        return restored

    facts = {"steps": manifest.training.get("steps"), "crops": manifest.training.get("examples")}
    return Restorer(path.name, restore, _known(facts | {"hours": manifest.training.get("hours")}))


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
