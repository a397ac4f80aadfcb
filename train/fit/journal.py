"""Journal of a run: progress bar or lines, a file of records, charts, picture sheets, TensorBoard."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rtdeblur.system import usable_cores
from train.data.pictures import Picture, write_picture
from train.fit.stopwatch import Stopwatch
from train.measure.chart import Line, line_chart

SHEET_WIDTH = 480
"""Maximum width of a picture on a sheet in pixels."""
ROWS = "journal.jsonl"
"""Name of the file of rows in a run's folder: a JSON object per record, with `step` and `crops`."""
_CHARTS = {
    "psnr": "PSNR of the validation, dB",
    "mean": "mean gain on the suite, dB",
    "distance": "VGG distance of the validation",
    "own label": "share of samples that show their own label",
    "spread": "spread of the samples; 1 is that of real pictures",
}
"""Titles of the charts of scores, by key; Inception Score, FID and KID have their own names."""
_LONGEST = 60.0
"""Seconds between two records of slow steps."""
_SMOOTH = 0.95
"""Decay of the smoothed loss shown by the progress bar."""


class Journal:
    """Journal of a run; a context manager.

    Args:
        folder: folder of the run.
        first: the first step. Rows of later steps, left by a crash, are dropped.
        crops: crops per step, over all processes.
        stopwatch: times of `network`, of `wait` for the pool and of `validation`.
        total: total steps; None for a timed run.
        every: steps between two records of the mean losses.
    """

    def __init__(
        self,
        folder: Path,
        first: int,
        crops: int,
        stopwatch: Stopwatch,
        total: int | None,
        every: int = 100,
    ) -> None:
        self._folder, self._crops, self._every, self._stopwatch = folder, crops, every, stopwatch
        self._rows = [row for row in read_rows(folder) if row["step"] <= first]
        self._write_rows()
        self._writer = _tensorboard(folder, first)
        self._console = Console(file=sys.stderr)
        columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._progress.add_task("", total=1.0)
        self._total, self._loss = total, math.nan
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._restart()

    def __enter__(self) -> Journal:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._draw_charts()
        if self._writer:
            self._writer.close()

    def note(self, text: str) -> None:
        """Print a message."""
        self._progress.print(text, highlight=False, soft_wrap=True, markup=False)  # "[features=…]" is no tag

    def filling(self, count: int, capacity: int) -> None:
        """Show the progress of filling the pool before the first step."""
        text = f"filling the pool: {count} of {capacity} examples"
        self._progress.update(self._task, completed=count / capacity, description=text)
        if not self._console.is_terminal and count == capacity:
            self.note(f"filled the pool with {capacity} examples")
        if count == capacity:
            self._progress.reset(self._task, total=1.0)
            self._restart()

    def losses(self, step: int, rows: Sequence[dict[str, float]], passed: float | None = None) -> None:
        """Record losses that have been read.

        Args:
            step: number of steps done.
            rows: losses by name, `generator` among them, of each step that has been read; may be empty.
            passed: elapsed fraction of a timed run.
        """
        if not rows:
            return
        for values in rows:
            self._add(values)
        rate = self._count * self._crops / (time.perf_counter() - self._began)
        steps = f"step {step}" if self._total is None else f"step {step}/{self._total}"
        self._progress.update(
            self._task,
            completed=step / self._total if self._total else passed,
            description=f"{steps}  loss {self._loss:.4f}  {rate:.0f} crops/s",
        )
        if step % self._every == 0 or time.perf_counter() - self._began > _LONGEST:
            self.flush(step)

    def _add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._sums[name] += value
        self._count += 1
        loss = values["generator"]
        self._loss = loss if math.isnan(self._loss) else _SMOOTH * self._loss + (1 - _SMOOTH) * loss

    def flush(self, step: int) -> None:
        """Record the mean losses since the last record, if there were any steps."""
        if self._count:
            means = {name: total / self._count for name, total in self._sums.items()}
            self._record(step, means | self._speed())
        self._sums.clear()
        self._restart()

    def scores(self, step: int, values: dict[str, float], sheet: Picture | None) -> None:
        """Record the scores of a validation, with its sheet."""
        self._record(step, values)
        if sheet is not None:
            path = self._folder / "sheets" / f"{step:08d}.jpg"
            path.parent.mkdir(exist_ok=True)
            write_picture(path, sheet)
            if self._writer:
                self._writer.add_image("validation", sheet, step, dataformats="HWC")
        self._draw_charts()

    def _speed(self) -> dict[str, float]:
        names = ("network", "wait", "validation")
        spent = {name: self._stopwatch.totals[name] - self._before[name] for name in names}
        seconds = time.perf_counter() - self._began - spent["validation"]
        rate = self._count * self._crops / seconds
        return {
            "crops/s": rate,
            "crops/s per core": rate / usable_cores(),
            "network share": spent["network"] / seconds,
            "wait share": spent["wait"] / seconds,
        }

    def _restart(self) -> None:
        self._count, self._began = 0, time.perf_counter()
        self._before = self._stopwatch.totals.copy()

    def _record(self, step: int, values: dict[str, float]) -> None:
        row = {"step": step, "crops": step * self._crops, "time": round(time.time(), 1)}
        self._rows.append(row | {name: round(value, 6) for name, value in values.items()})
        with (self._folder / ROWS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._rows[-1]) + "\n")
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        if not self._console.is_terminal:
            self.note(f"step {step}  " + "  ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def _write_rows(self) -> None:
        text = "".join(json.dumps(row) + "\n" for row in self._rows)
        (self._folder / ROWS).write_text(text, encoding="utf-8")

    def _draw_charts(self) -> None:
        if self._rows:
            write_picture(self._folder / "curves.png", curves(self._rows))


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a run's journal; empty if it has none. A row truncated by a crash is skipped."""
    path, rows = folder / ROWS, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def curves(rows: Sequence[dict[str, Any]]) -> Picture:
    """Draw a journal's charts, stacked: loss and validation scores over crops seen."""
    charts = [line_chart("training loss", "crops seen", {"loss": lines_of(rows, "generator")})]
    for key in dict.fromkeys(name for row in rows for name in row):
        if key in _CHARTS or key.startswith(("FID", "KID", "IS")):
            known = {name: lines_of(rows, name) for name in (key, f"{key}_bicubic")}
            lines = {name: line for name, line in known.items() if line}
            charts.append(line_chart(_CHARTS.get(key, key), "crops seen", lines))
    return np.vstack(charts)


def lines_of(rows: Sequence[dict[str, Any]], key: str) -> Line:
    """Return points (crops, value) of the rows that have a value."""
    return [(row["crops"], row[key]) for row in rows if key in row]


def sheet(rows: Sequence[Sequence[Picture]]) -> Picture:
    """Make a sheet with a row per scene: blurred, restored, sharp; shrunk to `SHEET_WIDTH` each."""
    height, width = rows[0][0].shape[:2]
    scale = min(1.0, SHEET_WIDTH / width)
    size = (round(width * scale), round(height * scale))
    lines = [
        np.hstack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures]) for pictures in rows
    ]
    return np.vstack(lines)


def _tensorboard(folder: Path, first: int) -> Any:
    """Open a TensorBoard writer; None if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first)
