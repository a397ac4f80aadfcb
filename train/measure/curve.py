"""Quality over training: a CSV file with a row per measurement on the suite, and its chart."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from train.data.pictures import write_picture
from train.errors import ConfigError, DataError
from train.measure.chart import line_chart
from train.measure.suite import DECISIVE, LADDER

SETS = (*DECISIVE, *(f"ladder-{length}" for length in LADDER))
"""Sets whose gain is a column, dB; `sharp` is the PSNR of sharp pictures."""
COLUMNS = ("core_hours", "crops", "mean", *SETS, "sharp")
"""Columns: core-hours, crops seen in training, and scores in dB."""
_CROPS = "millions of crops"


def append_row(path: Path, suite: Path, core_hours: float | None = None, crops: int | None = None) -> None:
    """Append a measurement on the suite to a curve.

    Args:
        path: the CSV file; created if missing.
        suite: a `suite.json` of `python -m train evaluate --suite`.
        core_hours: core-hours of training, if not in the checkpoint.
        crops: number of training crops, likewise.

    Raises:
        ConfigError: hours or crops are unknown.
        DataError: a file cannot be read.
    """
    try:
        document = json.loads(suite.read_text(encoding="utf-8"))
        rows, overall = document["sets"], document["mean"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"cannot read {suite}: {error}; expected a suite.json of python -m train evaluate --suite"
        ) from None
    values = {"core_hours": core_hours, "crops": crops}
    for name, value in values.items():
        values[name] = document.get(name) if value is None else value
        if values[name] is None:
            raise ConfigError(f"{suite} has no {name}; give --{name.replace('_', '-')}")
    row = {
        "core_hours": f"{values['core_hours']:.2f}",
        "crops": str(values["crops"]),
        "mean": _decibels(overall),
    }
    row |= {name: _decibels(rows[name]["gain"] if name in rows else None) for name in SETS}
    row["sharp"] = _decibels(rows["sharp"]["psnr_out"] if "sharp" in rows else None)
    known = read_curve(path) if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*known, row])


def read_curve(path: Path) -> list[dict[str, str]]:
    """Read the rows of a curve.

    Raises:
        DataError: the file cannot be read, or has other columns.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the curve {path}: {error}") from None
    if tuple(reader.fieldnames or ()) != COLUMNS:
        found = ", ".join(reader.fieldnames or ("none",))
        raise DataError(f"the curve {path} has the columns {found}; expected {', '.join(COLUMNS)}")
    return rows


def draw_curve(path: Path) -> Path:
    """Draw a curve to a PNG file next to it: mean and sets over crops of training, the ladder below.

    Returns:
        path of the chart.

    Raises:
        DataError: see `read_curve`.
    """
    rows = read_curve(path)

    def line(name: str) -> list[tuple[float, float]]:
        return [(float(row["crops"]) / 1e6, float(row[name])) for row in rows if row[name]]

    charts = [
        line_chart("gain, dB", _CROPS, {name: line(name) for name in ("mean", *DECISIVE)}),
        line_chart(
            "gain on the ladder, dB, by path length",
            _CROPS,
            {f"{length} px": line(f"ladder-{length}") for length in LADDER},
        ),
    ]
    picture = path.with_suffix(".png")
    write_picture(picture, np.vstack(charts))
    return picture


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
