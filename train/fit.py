"""Trains the fast generator on pairs with a pixel loss: `python -m train fit CONFIG.toml`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Subset

from train.checkpoint import load_checkpoint, save_checkpoint
from train.data import DataOptions, TrainingPairs
from train.losses import charbonnier, frequency
from train.networks import FastGenerator


@dataclass(frozen=True)
class FitOptions:
    """A training run.

    Attributes:
        output: folder of checkpoints.
        data: what is trained on.
        crop: side of the square crops, pixels.
        batch: crops a step.
        steps: optimizer steps in all.
        decay_steps: the last steps, over which the learning rate falls linearly to zero.
        warmup_steps: the first steps, over which it rises.
        learning_rate: of AdamW between the two.
        frequency_weight: weight of the frequency loss beside Charbonnier's.
        ema: decay of the averaged weights, which are what is shipped.
        clip: largest norm of the gradient.
        workers: processes that make crops.
        save_every: steps between checkpoints.
        seed: of data and initial weights.
    """

    output: str
    data: DataOptions = field(default_factory=DataOptions)
    crop: int = 128
    batch: int = 8
    steps: int = 60_000
    decay_steps: int = 15_000
    warmup_steps: int = 500
    learning_rate: float = 5e-4
    frequency_weight: float = 0.05
    ema: float = 0.9995
    clip: float = 0.5
    workers: int = 1
    save_every: int = 1000
    seed: int = 1


def learning_rate(step: int, options: FitOptions) -> float:
    """Linear warm-up, flat, linear to zero: the paper's shape with a warm-up, by step."""
    rise = (step + 1) / max(1, options.warmup_steps)
    fall = (options.steps - step) / max(1, options.decay_steps)
    return options.learning_rate * min(1.0, rise, fall)


def examples(options: FitOptions, start: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches from step `start` on; the same batch for the same step, whatever came before."""
    pairs = TrainingPairs(options.data, options.crop, options.seed)
    indices = range(start * options.batch, options.steps * options.batch)
    loader = DataLoader(Subset(pairs, indices), options.batch, num_workers=options.workers, drop_last=True)
    return iter(loader)


def fit(options: FitOptions) -> None:
    """Train, or go on from `output/last.safetensors`."""
    torch.manual_seed(options.seed)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    generator = FastGenerator().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(options.ema))
    optimizer = torch.optim.AdamW(
        generator.parameters(), options.learning_rate, (0.9, 0.99), weight_decay=1e-4, fused=True
    )
    parts = {"generator": generator, "ema": averaged, "optimizer": optimizer}
    last = folder / "last.safetensors"
    step = load_checkpoint(last, parts)["step"] if last.exists() else 0
    total, began, first = 0.0, time.perf_counter(), step
    for blurred, sharp in examples(options, step):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options)
        with torch.autocast("cpu", torch.bfloat16):
            residual = generator.residual(blurred.contiguous(memory_format=torch.channels_last))
        restored = blurred + residual.float()
        loss = charbonnier(restored, sharp) + options.frequency_weight * frequency(restored, sharp)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}; lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(generator.parameters(), options.clip)
        optimizer.step()
        averaged.update_parameters(generator)
        step += 1
        total += loss.item()
        if step % 100 == 0:
            rate = (step - first) * options.batch / (time.perf_counter() - began)
            print(f"step {step}  loss {total / 100:.5f}  {rate:.1f} examples/s", flush=True)  # noqa: T201
            total = 0.0
        if step % options.save_every == 0 or step == options.steps:
            save_checkpoint(last, parts, {"step": step, "options": asdict(options)})
