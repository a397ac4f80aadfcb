"""Training of the estimate of need, and its export."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rtdeblur.backends.need import BLOCK, VISIBLE
from rtdeblur.model import Model
from rtdeblur.windows import TILE
from train.errors import ConfigError, DivergedError
from train.export.graph import to_onnx
from train.fit.average import MovingAverage
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from train.fit.clock import Clock
from train.fit.config import ScheduleOptions
from train.fit.run import LAST
from train.gate.examples import Example, Report, prepare
from train.networks.need import FLOOR, MOST, NeedGraph, NeedNetwork

Floats = NDArray[np.float32]
PART = "need"
"""Prefix of the weights in a checkpoint."""
GRAPH = "need.onnx"
_RATE = 2e-3
_WEIGHT_DECAY = 1e-4
_AVERAGE = 0.995
_CLIP = 1.0
_MOST_BLOCKS = (26, 34)
"""Rows and columns of the largest crops; most frames are taken whole, since a frame is judged as a whole."""
_BATCH, _LEAST_CROPS = 8000, 6
"""Blocks, about, and least number of crops of a step."""
_TRIES = 200
_LIGHTER, _INVERTED = 0.24, 0.06
"""Shares of crops whose brightness is shifted, and of those that are inverted."""
_SHIFT = 8.0
"""Code values by which brightness is shifted at most."""
_EXTRA, _SPREAD = 2.0, 2.0
"""Tiles near the decision count up to 1 + _EXTRA times; the squared logarithm over which that falls."""
_MOST_EXCESS = 3.4
"""Logarithm of the factor by which a tile's energy may exceed the estimate; beyond, it pulls no harder."""
_LOG_EVERY, _SAVE_EVERY = 30.0, 180.0
"""Seconds."""


@dataclass(frozen=True)
class NeedOptions:
    """A training run.

    Attributes:
        output: folder of the run.
        model: name or path of the model whose change is estimated.
        schedule: length of the run and learning rate.
        pairs: folders of real pairs.
        photos: folders of sharp photographs.
        seeds: how many times frames are drawn from all of them.
        start: weights to start from.
        seed: seed of every random choice of the training.
    """

    output: Path
    model: str
    schedule: ScheduleOptions
    pairs: tuple[Path, ...] = ()
    photos: tuple[Path, ...] = ()
    seeds: int = 2
    start: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.pairs or self.photos):
            raise ConfigError("no training data; add --pairs or --photos")


class Crops:
    """Random crops of examples; half of them from a kind drawn first, so that rare kinds count.

    Args:
        examples: the examples.
        rng: source of randomness.
    """

    def __init__(self, examples: Sequence[Example], rng: np.random.Generator) -> None:
        self._examples, self._rng = examples, rng
        kinds: dict[str, list[Example]] = defaultdict(list)
        for example in examples:
            kinds[example.kind].append(example)
        self._kinds = list(kinds.values())

    def batch(self) -> tuple[Tensor, Tensor]:
        """Draw luma, (N, 1, H, W), and energies, (N, H / BLOCK, W / BLOCK), float32, of crops of one size."""
        rng = self._rng
        first = self._example()
        rows, columns = np.minimum(first.energy.shape, _MOST_BLOCKS)
        chosen, count = [first], max(_LEAST_CROPS, _BATCH // (rows * columns))
        for other in (self._example() for _ in range(_TRIES)):
            if len(chosen) == count:
                break
            if other.energy.shape[0] >= rows and other.energy.shape[1] >= columns:
                chosen.append(other)
        crops = [self._crop(example, (rows, columns)) for example in chosen]
        luma, energy = (torch.from_numpy(np.stack(parts)) for parts in zip(*crops, strict=True))
        if rng.random() < 0.5:
            luma, energy = (x.transpose(1, 2).contiguous() for x in (luma, energy))
        return luma[:, None], energy

    def _example(self) -> Example:
        rng = self._rng
        among = self._kinds[rng.integers(len(self._kinds))] if rng.random() < 0.5 else self._examples
        return among[int(rng.integers(len(among)))]

    def _crop(self, example: Example, size: tuple[int, int]) -> tuple[Floats, Floats]:
        rng = self._rng
        row, column = (int(rng.integers(s - o + 1)) for s, o in zip(example.energy.shape, size, strict=True))
        rows, columns = slice(row, row + size[0]), slice(column, column + size[1])
        lines, samples = (slice(s.start * BLOCK, s.stop * BLOCK) for s in (rows, columns))
        flips = [slice(None, None, step) for step in rng.choice([-1, 1], 2)]
        luma = example.luma[lines, samples][*flips].astype(np.float32)
        kind = rng.random()
        if kind < _INVERTED:
            luma = 255 - luma
        elif kind < _INVERTED + _LIGHTER:
            luma += np.float32(rng.uniform(-_SHIFT, _SHIFT))
        return luma, example.energy[rows, columns][*flips].copy()


def loss_of(found: Tensor, energy: Tensor) -> Tensor:
    """Distance of blocks' logarithms, plus the deviance of tiles, which count most where the gate decides.

    The deviance of a gamma distribution (McCullagh and Nelder, Generalized Linear Models, 1989, section 2.3)
    is least at the mean energy, which is what restoring tiles that look alike is worth; the distance of
    logarithms, least at their median, would miss those that are seldom blurred, but then strongly.

    Args:
        found: result of `NeedNetwork.forward`.
        energy: what it should be the logarithm of, without FLOOR, (N, rows, columns). If there are fewer of
            these than a tile has, the whole is a tile.
    """
    wanted = energy + FLOOR
    inner = (..., slice(1, -1), slice(1, -1))  # the network does not see beyond the crop
    blocks = F.smooth_l1_loss(found[inner], wanted.log()[inner])
    tile = [min(TILE // BLOCK, side) for side in energy.shape[1:]]
    limited = found.clamp(-MOST, MOST).exp()
    tiles, truth = (F.avg_pool2d(x[:, None], tile, 1).log() for x in (limited, wanted))
    weights = 1 + _EXTRA * torch.exp(-(truth - math.log(VISIBLE)).square() / _SPREAD)
    excess = truth - tiles
    beyond = excess.clamp(min=_MOST_EXCESS) - _MOST_EXCESS
    deviance = excess.clamp(max=_MOST_EXCESS).exp() * (1 + beyond) - excess - 1
    return blocks + (deviance * weights).sum() / weights.sum()


def fit(options: NeedOptions, report: Report) -> Path:
    """Restore frames, train the estimate of how much that changes, and export it.

    Args:
        options: the run.
        report: prints a line about the progress.

    Returns:
        path of the graph, need.onnx. The checkpoint next to it is also written every few minutes, and both
        when the run is interrupted.

    Raises:
        CheckpointError: the weights to start from belong to another network.
        DataError: there are no pictures, or they are damaged.
        DivergedError: the loss is not finite.
    """
    torch.manual_seed(options.seed)
    network = NeedNetwork()
    earlier = load_checkpoint(options.start, {PART: network}) if options.start else {}
    model = Model.load(options.model)
    examples = prepare(model, options.pairs, options.photos, options.seeds, options.output / "frames", report)
    crops = Crops(examples, np.random.default_rng(options.seed))
    average = MovingAverage(network, _AVERAGE)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
    options.output.mkdir(parents=True, exist_ok=True)
    facts = {"model": model.manifest.sha256, "frames": len(examples)}

    def save(step: int) -> None:
        state = facts | {"step": step + earlier.get("step", 0)}
        averaged = cast(NeedNetwork, average.module)
        save_checkpoint(options.output / LAST, {PART: averaged}, state)

    logs, saves = Clock(_LOG_EVERY), Clock(_SAVE_EVERY)
    began = time.perf_counter()
    losses: list[float] = []
    step, schedule = 0, options.schedule
    try:
        while True:
            seconds = time.perf_counter() - began
            passed = seconds / 60 / schedule.minutes if schedule.minutes else step / schedule.steps
            if passed >= 1:
                break
            luma, energy = crops.batch()
            loss = loss_of(network(luma), energy)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise DivergedError(f"the loss is {losses[-1]}; start from earlier weights or another seed")
            for group in optimizer.param_groups:
                group["lr"] = _RATE * schedule.factor(step, passed)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
            optimizer.step()
            average.update_parameters(network)
            step += 1
            if logs.due():
                report(f"{passed:.0%}, step {step}: loss {np.mean(losses):.3f}")
                losses.clear()
            if saves.due():
                save(step)
    finally:
        save(step)
        export(options.output / LAST, options.output / GRAPH, "unstated")
    return options.output / GRAPH


def export(weights: Path, output: Path, licence: str) -> None:
    """Write the graph of a checkpoint; its metadata are `licence` and `training`, a JSON object.

    Raises:
        CheckpointError: the checkpoint cannot be read or is of another network.
    """
    network = NeedNetwork()
    state = load_checkpoint(weights, {PART: network})
    proto = need_graph(network)
    facts = {key: state[key] for key in ("step", "model", "frames") if key in state}
    onnx.helper.set_model_props(proto, {"licence": licence, "training": json.dumps(facts)})
    onnx.checker.check_model(proto)
    onnx.save_model(proto, output)


def need_graph(network: NeedNetwork) -> onnx.ModelProto:
    """Return the ONNX graph of a network."""
    inputs = {"luma": torch.zeros(1, 1, 4 * BLOCK, 6 * BLOCK)}
    axes = {"luma": {2: "h", 3: "w"}, "energy": {1: "rows", 2: "columns"}}
    return to_onnx("need of restoration", NeedGraph(network).eval(), inputs, ("energy",), axes, traced=True)
