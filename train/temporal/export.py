"""Export of a trained fusion as the graph that rtdeblur runs."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import torch

from train.export.graph import to_onnx
from train.fit.checkpoint import load_checkpoint
from train.networks.temporal import FusionNetwork, TemporalGraph
from train.temporal.fit import PART

OUTPUTS = ("fused_luma", "fused_chroma")
_FACTS = ("step", "examples", "seconds", "models", "data", "gains")
"""Parts of a checkpoint's state that go into the graph's metadata."""
_FULL, _CHROMA = {2: "h", 3: "w"}, {2: "hc", 3: "wc"}


def export_temporal(weights: Path, path: Path, licence: str) -> None:
    """Write the graph of a checkpoint as ONNX, for planes of 8 bits and any size.

    Its metadata are `licence` and `training`, a JSON object.

    Args:
        weights: checkpoint of `train.temporal.fit`.
        path: the new file.
        licence: licence of the weights, an SPDX identifier.

    Raises:
        CheckpointError: the checkpoint cannot be read or is of another network.
    """
    network = FusionNetwork()
    state = load_checkpoint(weights, {PART: network})
    proto = to_graph(network)
    facts = {key: state[key] for key in _FACTS if key in state}
    onnx.helper.set_model_props(proto, {"licence": licence, "training": json.dumps(facts)})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(proto, path)


def to_graph(network: FusionNetwork) -> onnx.ModelProto:
    """Return the ONNX graph of a network; its inputs and outputs are those of `TemporalGraph.forward`."""
    luma = torch.zeros(3, 1, 64, 96, dtype=torch.uint8)
    inputs = {
        "luma": luma,
        "chroma": torch.zeros(3, 2, 32, 48, dtype=torch.uint8),
        "blurred": luma[:1],
        "reduced": torch.zeros(3, 1, 32, 48),
        "peak": torch.tensor([255.0]),
        "is_rgb": torch.tensor([0.0]),
    }
    axes = {"luma": _FULL, "chroma": _CHROMA, "blurred": _FULL, "reduced": {2: "hr", 3: "wr"}}
    axes |= dict(zip(OUTPUTS, (_FULL, _CHROMA), strict=True))
    proto = to_onnx("temporal fusion", TemporalGraph(network), inputs, OUTPUTS, axes, traced=True)
    onnx.checker.check_model(proto)
    return proto
