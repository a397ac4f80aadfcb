"""Commands of the blur gate: `python -m train need | export-need | gate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from train.path_types import FILE, FOLDER, NEW_FILE, NEW_FOLDER


@click.command()
@click.option("-o", "--output", type=NEW_FOLDER, required=True, help="Folder of the run.")
@click.option("--model", required=True, help="Model whose change is to be estimated.")
@click.option("--pairs", type=FOLDER, multiple=True, help="Real pairs to learn from; repeat for more.")
@click.option("--photos", type=FOLDER, multiple=True, help="Sharp photographs to blur and learn from.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="How many times frames are drawn from all pictures.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0.1),
    default=30,
    show_default=True,
    help="Duration of the training, after the frames have been restored.",
)
@click.option("--start", type=FILE, help="Checkpoint whose weights to start from.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the training's random choices.",
)
def need(minutes: float, **options: Any) -> None:
    """Train the estimate of how much the tiles of a frame need restoration, by which the blur gate decides.

    Writes need.onnx and last.safetensors to the output folder, also when interrupted. The restored frames are
    kept there, for further runs.
    """
    from train.fit.config import ScheduleOptions
    from train.gate.fit import NeedOptions, fit

    schedule = ScheduleOptions(minutes=minutes, warmup_steps=200, decay_share=0.6)
    run = NeedOptions(schedule=schedule, **options)
    click.echo(fit(run, lambda line: click.echo(line, err=True)))


@click.command("export-need")
@click.argument("weights", type=FILE)
@click.option("-o", "--output", type=NEW_FILE, required=True, help="The graph, need.onnx.")
@click.option(
    "--licence", default="unstated", show_default=True, help="Licence of the weights, an SPDX identifier."
)
def export_need(weights: Path, output: Path, licence: str) -> None:
    """Write the ONNX graph of WEIGHTS, a checkpoint of `need`."""
    from train.gate.fit import export

    export(weights, output, licence)
    click.echo(output)


@click.command()
@click.argument("model", type=FILE)
@click.option("--pairs", type=FOLDER, multiple=True, help="Real pairs to measure; repeat for more.")
@click.option("--photos", type=FOLDER, multiple=True, help="Sharp photographs to blur and measure.")
@click.option(
    "--every", type=click.IntRange(1), default=1, show_default=True, help="Use every N-th picture only."
)
@click.option("--suite", type=FOLDER, help="Then measure the gate on the validation suite in this folder.")
def gate(
    model: Path, pairs: tuple[Path, ...], photos: tuple[Path, ...], every: int, suite: Path | None
) -> None:
    """Calibrate the blur gate of MODEL, a bundle's .onnx, and write its threshold to the manifests.

    Only for a network whose pixels depend on their surroundings, not on the whole frame. Without pictures to
    measure, --suite measures the gate that MODEL has.
    """
    from train.gate.calibrate import calibrate, check

    if not (pairs or photos or suite):
        raise click.UsageError("Give pictures to measure, or --suite FOLDER.")

    def progress(count: int) -> None:
        if count % 100 == 0:
            click.echo(f"measured {count} frames", err=True)

    if pairs or photos:
        found = calibrate(model, pairs, photos, every, progress)
        click.echo(f"threshold {found.threshold:g}")
        for name, loss in found.loss.items():
            click.echo(f"{name}: {loss:+.3f} dB lost, {found.restored[name]:.0%} of tiles restored")
    for name, without, with_gate, share in check(model, suite) if suite else ():
        click.echo(
            f"{name}: {without:.3f} dB without, {with_gate:.3f} with the gate ({with_gate - without:+.3f}), "
            f"{share:.0%} of tiles restored"
        )


COMMANDS = (need, export_need, gate)
