"""Facts about a checkpoint for manifests: its network, its training, and its progress."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.flop_counter import FlopCounterMode

from train.fit.config import Config
from train.fit.options import from_table, to_table
from train.networks.generators import Generator

MOST_POINTS = 12
"""Largest number of points in the curve of quality over compute."""


def architecture(generator: Generator) -> dict[str, Any]:
    """Class, number of parameters, and GFLOP for 256 × 256 (two operations a multiply-add)."""
    dry = copy.deepcopy(generator).to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        dry(torch.zeros(1, 3, 256, 256, device="meta"))
    return {
        "generator": generator.title,
        "parameters": sum(weight.numel() for weight in generator.parameters()),
        "gflop_256": round(counter.get_total_flops() / 1e9, 2),
    }


def training(checkpoint: Path, state: dict[str, Any], given: Config | None = None) -> dict[str, Any]:
    """Collect facts from a checkpoint and the journal next to it.

    Args:
        checkpoint: checkpoint of `fit`.
        state: state of the checkpoint.
        given: its configuration, if not in the state.

    Returns:
        `steps`, `examples`, `config` (non-default values), and, if the journal of its run is next to the
        checkpoint, `hours` and `curve`: steps, hours, PSNR and SSIM of the validations.
    """
    config = from_table(Config, state["config"], str(checkpoint)) if "config" in state else given
    table = nameless(state.get("options") or to_table(config))
    seen = state.get("examples", state["step"] * table.get("batch", 1))
    facts = {"steps": state["step"], "examples": seen, "config": table}
    return facts | _journal(checkpoint.parent, state["step"])


def nameless(value: Any) -> Any:
    """Return plain values, with paths reduced to their last part: local folders are private."""
    if isinstance(value, dict):
        return {key: nameless(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [nameless(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _journal(folder: Path, steps: int) -> dict[str, Any]:
    """Merge the records of a run's starts; redone steps replace the earlier ones."""
    hours, points = 0.0, dict[int, dict[str, Any]]()
    for file in sorted(folder.glob("events.out.tfevents.*")):
        events = EventAccumulator(str(file), {"scalars": 0}).Reload()
        spent = hours
        for tag in events.Tags()["scalars"]:
            for event in (event for event in events.Scalars(tag) if event.step <= steps):
                at = hours + (event.wall_time - events.FirstEventTimestamp()) / 3600
                spent = max(spent, at)
                if tag in ("psnr", "ssim"):
                    point = points.setdefault(event.step, {"steps": event.step})
                    point.update({"hours": round(at, 3), tag: round(event.value, 4)})
        hours = spent
    if not points:
        return {}
    curve = [points[step] for step in sorted(points)]
    every = -(-len(curve) // MOST_POINTS)
    return {"hours": round(hours, 2), "curve": curve[::-every][::-1]}  # including the last one
