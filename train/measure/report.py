"""Report on a checkpoint: JSON for programs, Markdown for people, and a sheet of pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from train.data.pictures import Pair, Picture, find_pairs, read_picture, write_picture
from train.fit.journal import sheet
from train.measure.detection import Detector, People, hog_people
from train.measure.evaluate import Restore, Row, Table, evaluate, mean
from train.measure.flicker import Flicker
from train.measure.restorer import open_restorer
from train.measure.suite import Suite, report_suite
from train.networks.vgg import Vgg


@dataclass(frozen=True)
class Measures:
    """Options for measuring more than PSNR, SSIM, sharpness and time.

    Attributes:
        config: configuration of the network, for files without one.
        clip: whether the pairs are consecutive frames, for measuring flicker.
        detect: whether to count people.
        vgg: VGG weights with Caffe's input, for the feature distance.
        dropout_seed: seed of the dropout mask; None disables dropout.
        jobs: number of pictures measured at the same time.
    """

    config: Path | None = None
    clip: bool = False
    detect: bool = False
    vgg: Path | None = None
    dropout_seed: int | None = None
    jobs: int = 1


def report(model: Path, folder: Path, output: Path, measures: Measures) -> Path:
    """Measure a checkpoint or a bundle on pairs; write `report.json`, `report.md` and `sheet.jpg`.

    Returns:
        the Markdown file.

    Raises:
        CheckpointError: the model cannot be read.
        DataError: the pairs are missing or damaged, or OpenCV has no detector of people.
    """
    pairs = find_pairs(folder)
    detect = hog_people() if measures.detect else None  # may be missing: fail before minutes of work
    restore = open_restorer(model, measures.config, measures.dropout_seed).restore
    vgg = Vgg(measures.vgg, "caffe") if measures.vgg else None
    table, results = measure(restore, pairs, measures.clip, detect, vgg, measures.jobs)
    output.mkdir(parents=True, exist_ok=True)
    document = {"checkpoint": model.name, "pictures": table, **results}
    (output / "report.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    write_picture(output / "sheet.jpg", _sheet(restore, pairs))
    path = output / "report.md"
    path.write_text(markdown(model.name, table, results), encoding="utf-8")
    return path


def report_on_suite(model: Path, folder: Path, output: Path, measures: Measures) -> Path:
    """Measure a checkpoint or a bundle on the validation suite; write `suite.json`, `.md` and `.jpg`.

    Returns:
        the Markdown file.

    Raises:
        CheckpointError: the model cannot be read.
        DataError: the folder contains no suite, or a picture is damaged.
    """
    suite = Suite(folder)
    vgg = Vgg(measures.vgg, "caffe") if measures.vgg else None
    restorer = open_restorer(model, measures.config, measures.dropout_seed)
    return report_suite(restorer, suite, output, vgg, measures.jobs)


def measure(
    restore: Restore,
    pairs: list[Pair],
    clip: bool,
    detect: Detector | None = None,
    vgg: Vgg | None = None,
    jobs: int = 1,
) -> tuple[Table, dict[str, Row]]:
    """Measure pairs, `jobs` at once.

    Returns:
        the row of each picture, and the rows of all: `mean`, for a clip `flicker`, with a detector
        `detection_in` and `detection_out`.
    """
    flicker, people = Flicker() if clip else None, People(detect) if detect else None
    table = evaluate(restore, pairs, vgg, [watch.add for watch in (flicker, people) if watch], jobs)
    results = {"mean": mean(table)}
    if flicker:
        results["flicker"] = flicker.scores()
    if people:
        results |= people.scores()
    return table, results


def markdown(title: str, table: Table, results: dict[str, Row]) -> str:
    """Format the report as Markdown tables."""
    rows = {**table, "**mean**": results["mean"]}
    parts = [
        f"# {title} on {len(table)} pairs",
        "RGB, 8 bits, whole pictures. SSIM: Gaussian window of σ 1.5, mean of the channels. "
        "`psnr_unharmed`: of the restored sharp picture.",
        _table(
            rows,
            *(f"{measure}_{end}" for measure in ("psnr", "ssim", "distance") for end in ("in", "out")),
            "psnr_unharmed",
            "milliseconds",
        ),
        "## Sharpness (variance of the Laplacian)",
        "`ratio` is restored over sharp; `_256`: the whole picture was shrunk to 256 × 256 before.",
        _table(
            rows,
            *(f"sharpness_{c}{s}" for s in ("", "_256") for c in ("sharp", "blurred", "restored", "ratio")),
        ),
    ]
    if "flicker" in results:
        parts += [
            "## Flicker (mean change from frame to frame on still regions, levels of 255)",
            _table({"clip": results["flicker"]}, *results["flicker"]),
        ]
    if "detection_in" in results:
        found = {"blurred": results["detection_in"], "restored": results["detection_out"]}
        parts += [
            "## People detected, against those on the sharp pictures (IoU of at least 0.5)",
            _table(found, "precision", "recall", "f1", "boxes"),
        ]
    return "\n\n".join(parts) + "\n"


def _table(rows: dict[str, Row], *columns: str) -> str:
    known = [column for column in columns if all(column in row for row in rows.values())]
    lines = [["", *known], ["---", *("---:" for _ in known)]]
    lines += [[name, *(f"{row[column]:.4g}" for column in known)] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _sheet(restore: Restore, pairs: list[Pair]) -> Picture:
    some = pairs[:: max(1, len(pairs) // 4)][:4]
    rows = [(read_picture(path), read_picture(twin)) for path, twin in some]
    return sheet([(blurred, restore(blurred), sharp) for blurred, sharp in rows])
