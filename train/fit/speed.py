"""Choice of arithmetic and number of processes for this machine, by measuring for at most 20 seconds."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from rtdeblur.system import cpu_name, usable_cores
from train.fit import losses
from train.fit.config import Config, RuntimeOptions
from train.fit.processes import open_fabric
from train.networks.winograd import use_winograd

MOST_SECONDS = 20.0
"""Duration of the whole measurement in seconds."""
_WORTH_IT = 1.05
"""Required speed-up for one process per core, since exchanging gradients is not measured."""
_LARGEST_CROP, _LARGEST_BATCH = 128, 8
"""Batch size of timed steps; larger ones take longer without changing the ranking."""
_HANDED_DOWN = "RTDEBLUR_TRAIN_RUNTIME"
"""Environment variable that passes the choice from the first process to those it starts."""

ARITHMETICS: dict[str, dict[str, Any]] = {
    "bf16": {"precision": "bf16-mixed", "channels_last": True, "winograd": False},
    "float32": {"precision": "32-true", "channels_last": True, "winograd": False},
    "float32 Winograd": {"precision": "32-true", "channels_last": True, "winograd": True},
}
"""Options of each arithmetic, by name."""


@dataclass(frozen=True)
class Choice:
    """A configuration without "auto".

    Attributes:
        config: configuration, with `batch` per process.
        reason: one line on what was chosen and why; empty if there was nothing to choose.
    """

    config: Config
    reason: str = ""


@dataclass(frozen=True)
class Trial:
    """A combination to measure: arithmetic, number of processes, and threads per process."""

    arithmetic: str
    processes: int
    threads: int

    @property
    def layout(self) -> str:
        """The processes in words."""
        parts = ((self.processes, "process", "processes"), (self.threads, "thread", "threads"))
        return " × ".join(f"{count} {one if count == 1 else many}" for count, one, many in parts)


def settle(config: Config, state: dict[str, Any]) -> Choice:
    """Resolve "auto" in a configuration.

    Args:
        config: may have "auto" for precision or devices.
        state: state of the checkpoint to continue from. This machine's earlier choice is kept, so that the
            run continues exactly.
    """
    runtime = config.runtime
    if "auto" not in (runtime.precision, runtime.devices):
        return Choice(config)
    if _HANDED_DOWN in os.environ:
        return _choice(config, RuntimeOptions(**json.loads(os.environ[_HANDED_DOWN])))
    if state.get("machine") == machine() and "runtime" in state:
        kept = {name: getattr(runtime, name) for name in ("workers", "compile", "graphs")}
        known = replace(RuntimeOptions(**state["runtime"]), **kept)
        return _choice(config, known, f"as chosen on this machine before: {_words(known)}")
    if runtime.accelerator != "cpu" and torch.cuda.is_available():
        half = "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
        return _given(config, half, torch.cuda.device_count())
    if runtime.accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return _given(config, "32-true", 1)
    trials = _trials(config)
    speeds = _measure(config, trials)
    if "LOCAL_WORLD_SIZE" in os.environ:
        speeds = _agreed(speeds)
    best = max(trials, key=lambda trial: speeds[trial] / (_WORTH_IT if trial.processes > 1 else 1))
    devices = best.processes if runtime.devices == "auto" else runtime.devices
    options = ARITHMETICS[best.arithmetic] if runtime.precision == "auto" else {}
    chosen = replace(runtime, devices=devices, **options)
    return _choice(config, chosen, _reason(speeds, best))


@contextlib.contextmanager
def handed_down(options: RuntimeOptions) -> Iterator[None]:
    """Pass the choice to processes started within the block, which start like this one."""
    inherited = os.environ.get(_HANDED_DOWN)
    os.environ[_HANDED_DOWN] = json.dumps(asdict(options))
    try:
        yield
    finally:
        if inherited is None:
            del os.environ[_HANDED_DOWN]


def machine() -> str:
    """Return an identifier of this machine's speed: CPU and usable cores."""
    return f"{cpu_name()}, {usable_cores()} cores"


def _choice(config: Config, chosen: RuntimeOptions, reason: str = "") -> Choice:
    """Apply a choice to a configuration; chosen processes split the batch."""
    share = chosen.devices if config.runtime.devices == "auto" else 1
    assert isinstance(share, int)
    return Choice(replace(config, runtime=chosen, batch=config.batch // share), reason)


def _given(config: Config, precision: Any, devices: int) -> Choice:
    """Choose for an accelerator, without measuring."""
    runtime = config.runtime
    if runtime.precision == "auto":
        runtime = replace(runtime, precision=precision, channels_last=precision != "32-true", winograd=False)
    if runtime.devices == "auto":
        runtime = replace(runtime, devices=_divisor(config.batch, devices))
    return _choice(config, runtime, f"chosen for the GPU: {_words(runtime)}")


def _trials(config: Config) -> list[Trial]:
    runtime, cores = config.runtime, usable_cores()
    names = list(ARITHMETICS) if runtime.precision == "auto" else [_name(runtime)]
    if "LOCAL_WORLD_SIZE" in os.environ:  # all processes measure simultaneously
        return [Trial(name, 1, torch.get_num_threads()) for name in names]
    counts = [1, _divisor(config.batch, cores)] if runtime.devices == "auto" else [int(runtime.devices)]
    return [Trial(name, n, max(1, cores // n)) for n in dict.fromkeys(counts) for name in names]


def _name(runtime: RuntimeOptions) -> str:
    if runtime.precision == "bf16-mixed":
        return "bf16"
    return "float32 Winograd" if runtime.winograd else "float32"


def _divisor(batch: int, most: int) -> int:
    """Return the largest number of processes, up to `most`, that divides the batch."""
    return next(n for n in range(most, 0, -1) if batch % n == 0)


def _measure(config: Config, trials: Sequence[Trial]) -> dict[Trial, float]:
    """Measure crops per second of each trial; 0 for those not reached in time."""
    end, speeds = time.perf_counter() + MOST_SECONDS, dict.fromkeys(trials, 0.0)
    longest, threads = 0.0, torch.get_num_threads()
    for i, trial in enumerate(trials):
        began = time.perf_counter()
        if began + longest > end:
            break
        # The warm-up step and a timed one may take about two thirds of a trial's time.
        speeds[trial] = crops_per_second(config, trial, began + (end - began) / (len(trials) - i) * 0.7)
        longest = max(longest, time.perf_counter() - began)
    torch.set_num_threads(threads)
    return speeds


def crops_per_second(config: Config, trial: Trial, until: float) -> float:
    """Measure the speed of forward and backward passes of a run's generator.

    Threads stand in for processes, each with its own network and intra-op threads.

    Args:
        config: network, crop and batch.
        trial: arithmetic, number of processes and threads of each.
        until: `time.perf_counter()` after which no step starts; at least one step is timed.
    """
    speeds: list[float] = []
    threads = [
        threading.Thread(target=lambda: speeds.append(_one_process(config, trial, until)))
        for _ in range(trial.processes)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(speeds)


def _one_process(config: Config, trial: Trial, until: float) -> float:
    torch.set_num_threads(trial.threads)
    options = ARITHMETICS[trial.arithmetic]
    generator = config.generator.build()
    generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options["winograd"]:
        use_winograd(generator)
    side, batch = (
        min(config.crop, _LARGEST_CROP),
        min(max(1, config.batch // trial.processes), _LARGEST_BATCH),
    )
    x = torch.rand(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    seconds: list[float] = []
    while len(seconds) < 2 or time.perf_counter() < until:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=options["precision"] == "bf16-mixed"):
            residual = generator.residual(x)
        torch.autograd.backward(losses.charbonnier(x + residual.float(), -x))
        generator.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - began)
    # The lower quartile: other programs slow some steps down, but never speed any up.
    return batch / float(np.quantile(seconds[1:], 0.25))


def _agreed(speeds: dict[Trial, float]) -> dict[Trial, float]:
    """Sum over torchrun's processes, so that all make the same choice."""
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    fabric = open_fabric("cpu", local, int(os.environ["WORLD_SIZE"]) // local)
    fabric.launch()
    total = fabric.all_reduce(torch.tensor(list(speeds.values())), reduce_op="sum")
    assert isinstance(total, torch.Tensor)
    return dict(zip(speeds, total.tolist(), strict=True))


def _reason(speeds: dict[Trial, float], best: Trial) -> str:
    by_layout: dict[str, list[str]] = {}
    for trial, speed in speeds.items():
        text = f"{trial.arithmetic} {speed:.0f}" if speed else f"{trial.arithmetic} not measured"
        by_layout.setdefault(trial.layout, []).append(text)
    measured = "; ".join(f"{layout}: {', '.join(texts)}" for layout, texts in by_layout.items())
    return f"fastest here: {best.arithmetic}, {best.layout} (crops/s of {measured})"


def _words(runtime: RuntimeOptions) -> str:
    return f"{runtime.precision}{' Winograd' * runtime.winograd}, devices {runtime.devices}"
