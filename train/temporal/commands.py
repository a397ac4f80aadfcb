"""Commands of the temporal stage: `python -m train temporal | export-temporal`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from train.path_types import FILE, FOLDER, NEW_FOLDER


def _weighted(text: str) -> tuple[Path, float]:
    """Split FOLDER=WEIGHT, or FOLDER, whose weight is 1."""
    folder, equals, weight = text.rpartition("=")
    if not equals or Path(text).is_dir():
        return Path(text), 1.0
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise click.UsageError(f"--pairs {text}: the weight is {weight!r}, expected a positive number")
    return Path(folder), value


@click.command()
@click.option("-o", "--output", type=NEW_FOLDER, required=True, help="Folder of the run.")
@click.option(
    "--model", "models", multiple=True, required=True, help="Model to restore the frames; repeat for more."
)
@click.option(
    "--pairs",
    multiple=True,
    metavar="FOLDER[=WEIGHT]",
    help="Real pairs of consecutive frames, and their weight among all pairs; repeat for more.",
)
@click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Names of pairs to leave out, e.g. 'test001*'."
)
@click.option("--sharp", type=FOLDER, multiple=True, help="Photographs to make sequences of.")
@click.option(
    "--sequences",
    type=click.IntRange(1),
    default=800,
    show_default=True,
    help="Sequences made of photographs.",
)
@click.option(
    "--real",
    type=click.FloatRange(0, 1),
    default=0.6,
    show_default=True,
    help="Share of crops from pairs; the rest is from photographs.",
)
@click.option(
    "--validate",
    type=FOLDER,
    multiple=True,
    help="Pairs to measure on; of a folder that is also under --pairs, only what --exclude matches.",
)
@click.option(
    "--every", type=click.FloatRange(0.1), default=10, show_default=True, help="Minutes between measurements."
)
@click.option(
    "--minutes",
    type=click.FloatRange(0.1),
    default=60,
    show_default=True,
    help="Duration of the training, after the frames have been restored.",
)
@click.option("--start", type=FILE, help="Checkpoint whose weights to start from.")
@click.option(
    "--first-pass",
    type=FILE,
    metavar="WEIGHTS",
    help="Weights of the first pass: half of the examples are then of the second one.",
)
@click.option("--cache", type=NEW_FOLDER, help="Folder of restored frames.  [default: cache in OUTPUT]")
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of all random choices."
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Processes that draw crops; 0 draws them in the training process, which is enough on a CPU.",
)
def temporal(minutes: float, pairs: tuple[str, ...], **options: Any) -> None:
    """Train the temporal stage, which fuses restored frames with the ones before and after them.

    Writes last.safetensors to the output folder, every few minutes and when interrupted.
    """
    from train.fit.config import ScheduleOptions
    from train.temporal.fit import TemporalOptions, fit

    schedule = ScheduleOptions(minutes=minutes, warmup_steps=200, decay_share=0.6)
    weighted = tuple(_weighted(text) for text in pairs)
    run = TemporalOptions(schedule=schedule, pairs=weighted, **options)
    click.echo(fit(run, lambda line: click.echo(line, err=True)))


@click.command("export-temporal")
@click.argument("weights", type=FILE)
@click.option("-o", "--output", type=NEW_FOLDER, required=True, help="Folder for the graphs.")
@click.option(
    "--licence", default="unstated", show_default=True, help="Licence of the weights, an SPDX identifier."
)
def export_temporal(weights: Path, output: Path, licence: str) -> None:
    """Write the ONNX graphs of WEIGHTS, a checkpoint of `temporal`: of the motion and of the fusion."""
    from train.temporal.export import export_temporal as export

    export(weights, output, licence)
    click.echo(output)


COMMANDS = (temporal, export_temporal)
