"""Training: `python -m train fit CONFIG.toml`, or the same under `torchrun` for many devices and machines."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from train.data.pairs import TrainingPairs
from train.data.pictures import Pair, Picture, Pictures, find_pairs, read_picture
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from train.fit.config import Config, RuntimeOptions, ValidationOptions
from train.fit.journal import Journal, sheet
from train.measure.evaluate import psnr, restore_with, ssim
from train.networks.generators import Generator

LAST = "last.safetensors"
"""Name of the checkpoint in a run's folder."""


def fit(config: Config) -> Path:
    """Train, or go on from the checkpoint in `config.output`; gives the checkpoint's path.

    Raises:
        DataError: the data are missing or damaged; before the first step.
        CheckpointError: the checkpoint is of another network.
        DivergedError: a loss is no finite number; the checkpoint is from before.
    """
    from train.fit.step import Step

    fabric = launch(config.runtime)
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    pairs = TrainingPairs(config.data, config.crop, config.seed)
    held_out = validation_pairs(config.validation)
    step, last = Step(config, fabric), folder / LAST
    first = load_checkpoint(last, step.parts)["step"] if last.exists() else 0
    stream = batches(pairs, config, fabric, first)
    with contextlib.ExitStack() as stack:
        journal, examples = None, config.batch * fabric.world_size
        if fabric.is_global_zero:
            journal = stack.enter_context(Journal(folder, config.schedule.steps, first, examples))
        for number, (blurred, sharp) in enumerate(stream, first):
            values = step(number, blurred, sharp)
            if journal is None:
                continue
            done = number + 1
            journal.losses(done, values)
            if done % config.save_every == 0 or done == config.schedule.steps:
                state = {"step": done, "examples": done * examples, "config": asdict(config)}
                save_checkpoint(last, step.parts, state)
            if held_out and (done % config.validation.every == 0 or done == config.schedule.steps):
                journal.scores(done, *validate(step.restorer, held_out))
    fabric.barrier()
    return last


def launch(options: RuntimeOptions) -> Fabric:
    """Start or join the processes of a run; torchrun's environment says how many there are."""
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", options.devices))
    nodes = int(os.environ.get("WORLD_SIZE", devices)) // devices
    fabric = Fabric(
        accelerator=options.accelerator, devices=devices, num_nodes=nodes, precision=options.precision
    )
    fabric.launch()
    return fabric


def batches(pairs: TrainingPairs, config: Config, fabric: Fabric, first: int) -> Iterator[tuple[Tensor, ...]]:
    """This process's batches from step `first` on; the same for the same step, whatever came before."""
    every = config.batch * fabric.world_size
    mine = fabric.global_rank * config.batch
    steps = range(first, config.schedule.steps)
    indices = [step * every + mine + i for step in steps for i in range(config.batch)]
    loader = DataLoader(
        Subset(pairs, indices),
        config.batch,
        num_workers=config.runtime.workers,
    )
    layout = torch.channels_last if config.runtime.channels_last else torch.contiguous_format
    stream = iter(loader)  # forks the workers now, before anything else starts a thread
    return (tuple(fabric.to_device(crops).contiguous(memory_format=layout) for crops in b) for b in stream)


def validation_pairs(options: ValidationOptions) -> list[Pair]:
    """The pairs to validate on, spread evenly over the folder and checked; none where none are named."""
    if not options.pairs:
        return []
    found = find_pairs(options.pairs)
    chosen = found[:: max(1, len(found) // options.count)][: options.count]
    Pictures([path for pair in chosen for path in pair], cache_mib=0).check_pairs(chosen)
    return chosen


def validate(generator: Generator, pairs: list[Pair]) -> tuple[dict[str, float], Picture]:
    """Mean PSNR and SSIM over whole pictures, and a sheet of the first four."""
    restore = restore_with(generator)
    rows: list[tuple[Picture, Picture, Picture]] = []
    scores = {"psnr": 0.0, "ssim": 0.0}
    for path, twin in pairs:
        blurred, sharp = read_picture(path), read_picture(twin)
        restored = restore(blurred)
        scores["psnr"] += psnr(restored, sharp) / len(pairs)
        scores["ssim"] += ssim(restored, sharp) / len(pairs)
        if len(rows) < 4:
            rows.append((blurred, restored, sharp))
    return scores, sheet(rows)
