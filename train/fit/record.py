"""Record kept by the first process of a run: checkpoints, scores, and a journal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from rtdeblur.system import usable_cores
from train.data.pictures import Pair, Picture, Pictures, find_pairs, read_picture
from train.fit.checkpoint import save_checkpoint, save_weights
from train.fit.config import Config, ValidationOptions
from train.fit.countdown import Countdown
from train.fit.journal import Journal, sheet
from train.fit.speed import Choice, machine
from train.fit.step import Step
from train.fit.stopwatch import Stopwatch
from train.measure.evaluate import psnr, restore_with, ssim
from train.networks.generators import Generator

Validate = Callable[[Generator], tuple[dict[str, float], Picture | None]]
"""Scores of a generator by name, and a sheet of pictures."""

WEIGHTS_SECONDS = 60.0
"""Time between two writes of `Config.weights`."""


class Record:
    """Record of a run; a context manager.

    Args:
        last: path of the checkpoint.
        config: original configuration of the run.
        choice: speed options chosen for this machine.
        step: the networks.
        countdown: countdown of the run.
        stopwatch: stopwatch of the run, also used for saving and validating.
        state: state of the checkpoint to continue from, or `step` 0.

    Raises:
        DataError: pictures to validate on are missing or damaged.
    """

    def __init__(
        self,
        last: Path,
        config: Config,
        choice: Choice,
        step: Step,
        countdown: Countdown,
        stopwatch: Stopwatch,
        state: dict[str, Any],
    ) -> None:
        self._last, self._config, self._choice, self._step = last, config, choice, step
        self._countdown, self._stopwatch = countdown, stopwatch
        self._crops = choice.config.batch * step.fabric.world_size
        self._validate = validation(config.validation)
        self._done = self._saved = self._scored = int(state["step"])
        self._branched_at = {key: state[key] for key in ("branched_at",) if key in state}
        self._earlier = state.get("core_seconds", 0.0) - time.process_time() * step.fabric.world_size
        self._weights_due = time.perf_counter() + WEIGHTS_SECONDS
        total = config.schedule.steps or None
        self._journal = Journal(last.parent, self._done, self._crops, stopwatch, total)
        if choice.reason:
            self._journal.note(choice.reason)

    def __enter__(self) -> Record:
        self._journal.__enter__()
        if self._config.schedule.minutes:
            # A timed run must know how long these take, to reserve time for the last ones.
            self._save()
            self._score()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.__exit__(kind, error, trace)

    def note(self, text: str) -> None:
        """Print a line on what happens."""
        self._journal.note(text)

    def filling(self, count: int, capacity: int) -> None:
        """Show how many examples the pool holds before the first step."""
        self._journal.filling(count, capacity)

    def after_step(self, done: int, rows: Sequence[dict[str, float]]) -> None:
        """Record losses; save and validate when due.

        Args:
            done: number of steps done.
            rows: losses by name of each step that has just been read.

        Raises:
            DivergedError: something is due, and a loss that had not been read is not finite; nothing is
                written.
        """
        self._done = done
        self._journal.losses(done, rows, self._countdown.passed)
        if done % self._config.save_every == 0:
            self._save()
        if self._config.weights and time.perf_counter() > self._weights_due:
            self._write_weights()
        if done % self._config.validation.every == 0:
            self._score()

    def finish(self) -> None:
        """Save and validate after the last step, unless already done; a stopped run is only saved.

        Raises:
            DivergedError: see `after_step`.
        """
        self._read()
        self._journal.flush(self._done)
        stopped = self._countdown.stopped
        finished = bool(self._config.schedule.minutes) and not stopped
        if finished or self._saved != self._done:
            self._save(finished=finished)
        if self._config.weights:
            self._write_weights()
        if stopped:
            self.note(f"stopped after step {self._done}; the same command continues the run")
        elif self._scored != self._done:
            self._score()

    def _read(self) -> None:
        """Read all losses, since nothing may be kept of a run that has diverged."""
        with self._stopwatch.time("network"):
            rows = self._step.read()
        self._journal.losses(self._done, rows, self._countdown.passed)

    def _save(self, finished: bool = False) -> None:
        self._read()
        state = self._state() | {"machine": machine(), "runtime": asdict(self._choice.config.runtime)}
        with self._stopwatch.time("save"):
            save_checkpoint(self._last, self._step.parts, state | ({"finished": True} if finished else {}))
        self._saved = self._done

    def _write_weights(self) -> None:
        self._read()
        with self._stopwatch.time("save"):
            save_weights(Path(self._config.weights), self._step.restorer, self._config, self._state())
        self._weights_due = time.perf_counter() + WEIGHTS_SECONDS

    def _state(self) -> dict[str, Any]:
        return {
            "step": self._done,
            "examples": self._done * self._crops,
            "seconds": self._countdown.seconds,
            "core_seconds": self._earlier + time.process_time() * self._step.fabric.world_size,
            "config": asdict(self._config),
            **self._branched_at,
        }

    def _score(self) -> None:
        if self._validate is None:
            return
        self._read()
        with self._stopwatch.time("validation"), all_cores():
            scores, picture = self._validate(self._step.restorer)
        self._journal.scores(self._done, scores, picture)
        self._scored = self._done


@contextlib.contextmanager
def all_cores() -> Iterator[None]:
    """Run a block on all cores while the other processes wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(threads, usable_cores()))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def validation(options: ValidationOptions) -> Validate | None:
    """Set up the validation of a run; None if its configuration has none.

    Raises:
        DataError: pictures are missing or damaged.
    """
    if options.suite:
        from train.measure.suite import Suite

        return Suite(Path(options.suite)).validate
    if options.pairs:
        pairs = validation_pairs(options)
        return lambda generator: validate(generator, pairs)
    return None


def validation_pairs(options: ValidationOptions) -> list[Pair]:
    """Return the validation pairs, spread evenly over the folder and checked."""
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
