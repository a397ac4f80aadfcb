"""Validation suite: several kinds of blur, so that no single one decides.

Its sets are in one folder:

==============  ======================================================================================
set             pictures
==============  ======================================================================================
gopro-test      real pairs of `gopro-test/{blur,sharp}`
gopro-clip      every fifth frame of the clip `gopro-clip/{blur,sharp}`; flicker uses all frames
reds-small      pairs `test001*` of `reds-small/{blur,sharp}`, excluded from training
kodak           pictures of `kodak/`, each with its own blur by `train.measure.fixed_blur`
ladder-5 … 40   every fourth picture of `kodak/`, blurred along a smooth path of so many pixels
sharp           unblurred pictures of `kodak/`, which must not be harmed
==============  ======================================================================================

The mean gain of the first four decides between two networks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from train.data.pictures import (
    Pair,
    Picture,
    find_pairs,
    list_pictures,
    read_picture,
    sharpness,
    write_picture,
)
from train.errors import DataError
from train.fit.journal import sheet
from train.measure.evaluate import Restore, Row, mean, psnr, restore_with, to_tensor
from train.measure.fixed_blur import motion_blurred
from train.measure.flicker import Flicker
from train.measure.parallel import in_order
from train.measure.restorer import Restorer
from train.networks.generators import Generator
from train.networks.vgg import Vgg

DECISIVE = ("gopro-test", "gopro-clip", "reds-small", "kodak")
"""Sets whose mean gain decides."""
LADDER = (5, 10, 20, 30, 40)
"""Path lengths of the ladder, pixels."""
KEPT_CLIP = "test001"
"""Name prefix of the pairs of `reds-small` excluded from training."""

Example = tuple[Picture, Picture]
"""Blurred and sharp."""


class Suite:
    """Sets of a folder, read or generated when first measured, then cached.

    Args:
        folder: folder of the sets.

    Attributes:
        sets: sources of examples by set name.
        missing: names of missing sets.

    Raises:
        DataError: the folder has no set at all, or a set lacks a picture.
    """

    def __init__(self, folder: Path) -> None:
        test, self._clip, reds = (_pairs(folder / name) for name in DECISIVE[:3])
        kodak = list_pictures(folder / "kodak") if (folder / "kodak").is_dir() else []
        sets: dict[str, list[Callable[[], Example]]] = {
            "gopro-test": [partial(_read, pair) for pair in test],
            "gopro-clip": [partial(_read, pair) for pair in self._clip[::5]],
            "reds-small": [partial(_read, pair) for pair in reds if pair[0].name.startswith(KEPT_CLIP)],
            # Lengths from 3 to 29 pixels, in an order unrelated to the pictures'.
            "kodak": [
                partial(_blurred, path, 3 + 27 * (7 * i % 24) / 24, 1000 + i, 0.2)
                for i, path in enumerate(kodak)
            ],
        }
        for length in LADDER:
            steps = list(enumerate(kodak))[::4]
            sets[f"ladder-{length}"] = [partial(_blurred, path, length, i, 0.35) for i, path in steps]
        sets["sharp"] = [partial(_sharp, path) for path in kodak]
        self.sets = {name: [cache(source) for source in sources] for name, sources in sets.items() if sources}
        self.missing = [name for name in sets if name not in self.sets]
        if not self.sets:
            raise DataError(f"no set of the suite in {folder}; expected one of {', '.join(DECISIVE)} in it")

    def measure(self, restore: Restore, vgg: Vgg | None = None, jobs: int = 1) -> dict[str, Row]:
        """Restore and measure every example.

        Args:
            restore: restores a picture.
            vgg: VGG weights, for the feature distance.
            jobs: number of pictures measured at the same time, if `restore` may be called by several threads.

        Returns:
            by set, each a mean over the pictures: PSNR in dB of the blurred (`psnr_in`) and the restored
            pictures (`psnr_out`) and their difference, `gain`; `sharpness_ratio`, the variance of the
            Laplacian, restored over sharp; given VGG weights, `distance_in` and `distance_out`.
            Sharp pictures have no `psnr_in` and `gain`.
        """

        def measured(source: Callable[[], Example]) -> Row:
            return _measured(restore, *source(), vgg)

        rows = {
            name: mean({str(i): row for i, row in enumerate(in_order(measured, sources, jobs))})
            for name, sources in self.sets.items()
        }
        for name in ("psnr_in", "gain") if "sharp" in rows else ():
            del rows["sharp"][name]
        return rows

    def flicker(self, restore: Restore) -> Row:
        """Measure the flicker of the clip (see `train.measure.flicker`); empty without a clip."""
        flicker = Flicker()
        for pair in self._clip:
            blurred, sharp = _read(pair)
            flicker.add(blurred, restore(blurred), sharp)
        return flicker.scores() if self._clip else {}

    def validate(self, generator: Generator) -> tuple[dict[str, float], Picture]:
        """Return scores for a journal (mean gain, gain per set, PSNR of sharp pictures) and a sheet."""
        restore = restore_with(generator)
        rows = self.measure(restore)
        scores = {name: row["gain"] for name, row in rows.items() if "gain" in row}
        if "sharp" in rows:
            scores["sharp"] = rows["sharp"]["psnr_out"]
        overall = mean_gain(rows)
        return ({} if overall is None else {"mean": overall}) | scores, self.sheet(restore)

    def sheet(self, restore: Restore) -> Picture:
        """Blurred, restored and sharp: the first four examples of the first set."""
        examples = [source() for source in next(iter(self.sets.values()))[:4]]
        return sheet([(blurred, restore(blurred), sharp) for blurred, sharp in examples])


def mean_gain(rows: dict[str, Row]) -> float | None:
    """Return the mean gain of the decisive sets, dB; None if one of them was not measured."""
    gains = [rows[name]["gain"] for name in DECISIVE if name in rows]
    return float(np.mean(gains)) if len(gains) == len(DECISIVE) else None


def report_suite(
    restorer: Restorer, suite: Suite, output: Path, vgg: Vgg | None = None, jobs: int = 1
) -> Path:
    """Measure on the suite, `jobs` pictures at once; write `suite.json`, `suite.md` and `suite.jpg`.

    Returns:
        the Markdown file.
    """
    rows = suite.measure(restorer.restore, vgg, jobs)
    document = {
        "name": restorer.name,
        **restorer.facts,
        "mean": mean_gain(rows),
        "sets": rows,
        "flicker": suite.flicker(restorer.restore),
        "missing": suite.missing,
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "suite.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    write_picture(output / "suite.jpg", suite.sheet(restorer.restore))
    path = output / "suite.md"
    path.write_text(_markdown(document), encoding="utf-8")
    return path


def suite_table(rows: dict[str, Row]) -> str:
    """Format the means of each set as a Markdown table."""
    columns = [name for name in _COLUMNS if any(name in row for row in rows.values())]
    heads = [name.replace("_", " ").replace("psnr", "PSNR") for name in columns]
    lines = [["set", *heads], ["---", *("---:" for _ in columns)]]
    for name, row in rows.items():
        lines.append([name, *(_COLUMNS[c].format(row[c]) if c in row else "" for c in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown(document: dict[str, Any]) -> str:
    table, overall = suite_table(document["sets"]), document["mean"]
    parts = [
        f"# {document['name']} on the validation suite",
        f"Mean gain of {', '.join(DECISIVE)}: **{overall:+.3f} dB**."
        if overall is not None
        else f"No mean gain, which needs all of {', '.join(DECISIVE)}.",
        "Means over the pictures; PSNR in dB over R, G and B; sharpness is restored over sharp.",
        table,
    ]
    if flicker := document["flicker"]:
        changes = (f"{end} {flicker[f'flicker_{key}']:.2f}" for end, key in _FLICKER.items())
        parts.append(f"Flicker of the clip where it is still, levels of 255: {', '.join(changes)}.")
    if document["missing"]:
        parts.append(f"Missing sets: {', '.join(document['missing'])}.")
    return "\n\n".join(parts) + "\n"


_COLUMNS = {
    "psnr_in": "{:.2f}",
    "psnr_out": "{:.2f}",
    "gain": "{:+.3f}",
    "sharpness_ratio": "{:.2f}",
    "distance_in": "{:.4f}",
    "distance_out": "{:.4f}",
}
_FLICKER = {"blurred": "in", "restored": "out", "sharp": "sharp"}


def _pairs(folder: Path) -> list[Pair]:
    return find_pairs(folder) if folder.is_dir() else []


def _read(pair: Pair) -> Example:
    return read_picture(pair[0]), read_picture(pair[1])


def _blurred(path: Path, length: float, seed: int, bend: float) -> Example:
    sharp = read_picture(path)
    return motion_blurred(sharp, length, seed, bend), sharp


def _sharp(path: Path) -> Example:
    sharp = read_picture(path)
    return sharp, sharp


def _measured(restore: Restore, blurred: Picture, sharp: Picture, vgg: Vgg | None) -> Row:
    restored = restore(blurred)
    before, after = psnr(blurred, sharp), psnr(restored, sharp)
    truth = sharpness(sharp)
    row = {
        "psnr_in": before,
        "psnr_out": after,
        "gain": after - before,
        "sharpness_ratio": sharpness(restored) / truth if truth else 1.0,
    }
    if vgg:
        for end, picture in (("in", blurred), ("out", restored)):
            row[f"distance_{end}"] = vgg.distance(to_tensor(picture), to_tensor(sharp))
    return row
