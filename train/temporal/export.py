"""Export of a trained fusion as the graphs that rtdeblur runs."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import torch

from train.export.graph import to_onnx
from train.fit.checkpoint import load_checkpoint
from train.networks.temporal import FusionGraph, FusionNetwork, MotionGraph
from train.temporal.fit import PART

OUTPUTS = ("fused_luma", "fused_chroma")
_FACTS = ("step", "examples", "seconds", "models", "data", "gains")
"""Parts of a checkpoint's state that go into the graph's metadata."""
_FULL, _CHROMA, _REDUCED = {2: "h", 3: "w"}, {2: "hc", 3: "wc"}, {2: "hr", 3: "wr"}


def export_temporal(weights: Path, folder: Path, licence: str) -> None:
    """Write temporal-motion.onnx and temporal-fusion.onnx, for planes of 8 bits and any size.

    The metadata of the fusion are `licence` and `training`, a JSON object.

    Args:
        weights: checkpoint of `train.temporal.fit`.
        folder: folder for the graphs, made if needed.
        licence: licence of the weights, an SPDX identifier.

    Raises:
        CheckpointError: the checkpoint cannot be read or is of another network.
    """
    network = FusionNetwork()
    state = load_checkpoint(weights, {PART: network})
    graphs = {"motion": motion_graph(), "fusion": fusion_graph(network)}
    facts = {key: state[key] for key in _FACTS if key in state}
    onnx.helper.set_model_props(graphs["fusion"], {"licence": licence, "training": json.dumps(facts)})
    folder.mkdir(parents=True, exist_ok=True)
    for name, proto in graphs.items():
        onnx.checker.check_model(proto)
        onnx.save_model(proto, folder / f"temporal-{name}.onnx")


def motion_graph() -> onnx.ModelProto:
    """Return the ONNX graph of `MotionGraph`."""
    inputs = {"reduced": torch.zeros(3, 1, 32, 48)}
    axes = {"reduced": _REDUCED, "motion": _REDUCED}
    return to_onnx("motion between frames", MotionGraph(), inputs, ("motion",), axes, traced=True)


def fusion_graph(network: FusionNetwork) -> onnx.ModelProto:
    """Return the ONNX graph of a network; its inputs and outputs are those of `FusionGraph.forward`."""
    luma = torch.zeros(3, 1, 64, 96, dtype=torch.uint8)
    inputs = {
        "luma": luma,
        "chroma": torch.zeros(3, 2, 32, 48, dtype=torch.uint8),
        "blurred": luma[:1],
        "motion": torch.zeros(2, 2, 32, 48),
        "peak": torch.tensor([255.0]),
        "is_rgb": torch.tensor([0.0]),
    }
    axes = {"luma": _FULL, "chroma": _CHROMA, "blurred": _FULL, "motion": _REDUCED}
    axes |= dict(zip(OUTPUTS, (_FULL, _CHROMA), strict=True))
    return to_onnx("temporal fusion", FusionGraph(network), inputs, OUTPUTS, axes, traced=True)
