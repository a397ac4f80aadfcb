"""What a run tells: a progress bar or lines, TensorBoard, and sheets of pictures."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from train.data.pictures import Picture, write_picture

SHEET_WIDTH = 480
"""Pixels a picture gets on a sheet at most."""


class Journal:
    """The record of a run; a context manager.

    Args:
        folder: of the run; TensorBoard files and sheets go there.
        steps: of the run in all.
        first: the step that it begins with.
        examples: a step sees, over all processes.
        every: steps between two records of the mean losses.
    """

    def __init__(self, folder: Path, steps: int, first: int, examples: int, every: int = 100) -> None:
        self._folder, self._first, self._examples, self._every = folder, first, examples, every
        self._writer = SummaryWriter(str(folder), purge_step=first)
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self._console = Console(file=sys.stderr)
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._progress.add_task("", total=steps, completed=first)
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._count, self._began = 0, time.perf_counter()

    def __enter__(self) -> Journal:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._writer.close()

    def losses(self, step: int, values: dict[str, float]) -> None:
        """Note the losses after a step; `step` steps are done."""
        self._progress.update(self._task, completed=step)
        for name, value in values.items():
            self._sums[name] += value
        self._count += 1
        if step % self._every:
            return
        means = {name: total / self._count for name, total in self._sums.items()}
        rate = self._count * self._examples / (time.perf_counter() - self._began)
        self._write(step, means | {"examples/s": rate})
        self._sums.clear()
        self._count, self._began = 0, time.perf_counter()

    def scores(self, step: int, values: dict[str, float], sheet: Picture) -> None:
        """Note what a validation measured, with its sheet."""
        self._write(step, values)
        path = self._folder / "sheets" / f"{step:08d}.jpg"
        path.parent.mkdir(exist_ok=True)
        write_picture(path, sheet)
        self._writer.add_image("validation", sheet, step, dataformats="HWC")

    def _write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        line = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._progress.update(self._task, description=line)
        if not self._console.is_terminal:
            self._console.print(f"step {step}  {line}", highlight=False, soft_wrap=True)


def sheet(rows: Sequence[Sequence[Picture]]) -> Picture:
    """Pictures side by side, a row a scene: blurred, restored, sharp; shrunk to `SHEET_WIDTH` each."""
    height, width = rows[0][0].shape[:2]
    scale = min(1.0, SHEET_WIDTH / width)
    size = (round(width * scale), round(height * scale))
    lines = [
        np.hstack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures]) for pictures in rows
    ]
    return np.vstack(lines)
