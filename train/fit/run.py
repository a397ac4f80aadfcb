"""Training: `python -m train fit CONFIG.toml`, or the same under `torchrun` for many devices and machines."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from rtdeblur.plurals import counted
from rtdeblur.system import usable_cores
from train.data.pairs import TrainingPairs
from train.data.pool import ExamplePool, Place
from train.errors import ConfigError
from train.fit.checkpoint import load_checkpoint
from train.fit.config import Config, RuntimeOptions
from train.fit.countdown import Countdown
from train.fit.learner import memory_layout
from train.fit.processes import open_fabric
from train.fit.record import Record
from train.fit.speed import handed_down, settle
from train.fit.step import Step
from train.fit.stopwatch import Stopwatch

LAST = "last.safetensors"
"""Name of the checkpoint in a run's folder."""


def fit(config: Config, began: float | None = None) -> Path:
    """Train, or continue from the checkpoint in `config.output`.

    Args:
        config: configuration of the run.
        began: `time.perf_counter()` at which a timed run starts; now by default.

    Returns:
        path of the checkpoint.

    Raises:
        ConfigError: the machine does not support the configuration.
        DataError: the data are missing or damaged; raised before the first step.
        CheckpointError: the checkpoint belongs to another network.
        DivergedError: a loss is not finite; the checkpoint is from before.
        SystemExit: SIGTERM stopped the run, which has been saved.
    """
    began = time.perf_counter() if began is None else began
    last = Path(config.output) / LAST
    resuming = last.exists()
    state = load_checkpoint(last, {}) if resuming else {"step": 0}
    choice = settle(config, state)
    fabric, stopwatch = launch(choice.config.runtime), Stopwatch()
    countdown = Countdown(config.schedule, fabric, stopwatch, began - state.get("seconds", 0.0))
    step = Step(choice.config, fabric, countdown.rate)
    if resuming:
        load_checkpoint(last, step.parts)
        if countdown.over(state):
            steps = counted(state["step"], "step")
            fabric.print(f"{config.output} is a finished run of {steps}: nothing to do", file=sys.stderr)
            return last
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(open_pool(choice.config, fabric, state["step"]))
        record = None
        if fabric.is_global_zero:
            last.parent.mkdir(parents=True, exist_ok=True)
            record = stack.enter_context(Record(last, config, choice, step, countdown, stopwatch, state))
        prepare(pool, step, record)
        for number in countdown.steps(state["step"]):
            with stopwatch.time("draw"):
                blurred, sharp = pool.draw(number)
            stopwatch.totals["wait"] = pool.waited
            with stopwatch.time("network"):
                rows = step(number, blurred, sharp)
            if record:
                record.after_step(number + 1, rows)
        if record:
            record.finish()
    fabric.barrier()
    countdown.exit_if_stopped()
    return last


def launch(options: RuntimeOptions) -> Fabric:
    """Start or join the processes of a run; torchrun's environment sets their number.

    Raises:
        ConfigError: the accelerator does not exist here.
    """
    assert options.precision != "auto"
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(options.accelerator):
        raise ConfigError(
            f"accelerator is {options.accelerator!r}, but PyTorch {torch.__version__} finds no such device; "
            "try --set \"runtime.accelerator='cpu'\""
        )
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", options.devices))
    nodes = int(os.environ.get("WORLD_SIZE", devices)) // devices
    fabric = open_fabric(options.accelerator, devices, nodes, options.precision)
    with handed_down(options):
        fabric.launch()
    return fabric


def open_pool(config: Config, fabric: Fabric, first: int) -> ExamplePool:
    """Create this process's part of the pool, still empty, for the step `first`, and start its workers."""
    pairs = TrainingPairs(config.data, config.crop, config.seed)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", fabric.world_size))
    wanted = config.runtime.workers
    workers = max(1, usable_cores() // here) if wanted == "auto" else wanted
    # More examples than draws would never be used.
    draws = config.schedule.steps * config.batch * fabric.world_size
    options = replace(config.pool, capacity=min(config.pool.capacity, draws or config.pool.capacity))
    place = Place(fabric.global_rank, fabric.world_size, fabric.device, memory_layout(config.runtime))
    return ExamplePool(pairs, options, config.batch, first, workers, place)


def prepare(pool: ExamplePool, step: Step, record: Record | None) -> None:
    """Fill the pool, meanwhile compile the network if it is to be compiled, then capture its step."""
    fill = functools.partial(pool.fill, record.filling) if record else pool.fill
    if step.config.runtime.compile:
        with ThreadPoolExecutor(1) as executor:
            filling = executor.submit(fill)
            problem = step.compile()
            filling.result()
        if problem and record:
            record.note(f"the generator runs uncompiled: {problem}")
    else:
        fill()
    problem = step.capture()
    if problem and record:
        record.note(f"steps are taken without a CUDA graph: {problem}")
