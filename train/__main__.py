"""Command line of the trainer: `python -m train demo | fit | decay | evaluate | export` and others."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from rtdeblur.errors import RtdeblurError, UsageError
from train.gate.commands import COMMANDS as GATE_COMMANDS
from train.path_types import FILE, FOLDER, NEW_FILE, NEW_FOLDER
from train.recipes.commands import COMMANDS
from train.temporal.commands import COMMANDS as TEMPORAL_COMMANDS

BEGAN = time.perf_counter()
"""Start of a timed run, before importing PyTorch, which takes seconds."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Train generators, measure them, and write the model bundles that rtdeblur runs."""


@cli.command()
@click.option("-o", "--output", type=NEW_FOLDER, default=Path("runs/demo"), show_default=True, help="Folder.")
@click.option(
    "--minutes", type=click.FloatRange(0.1), default=2.5, show_default=True, help="Duration of the run."
)
def demo(output: Path, minutes: float) -> None:
    """Train a small network on generated pictures, and show what it has learned."""
    from train.fit.demo import demo as run

    result = run(output, minutes, BEGAN)
    click.echo(f"PSNR on new pictures: {result.before:.2f} dB blurred, {result.after:.2f} dB restored")
    click.echo(f"curves: {result.curves}")
    click.echo(f"blurred, restored, sharp: {result.sheet}")


@cli.command()
@click.argument("config", type=FILE)
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. --set batch=4"
)
def fit(config: Path, changes: tuple[str, ...]) -> None:
    """Train with CONFIG (TOML), or continue the run in its output folder."""
    from train.fit.config import load_config
    from train.fit.run import fit as run

    click.echo(run(load_config(config, changes), BEGAN))


@cli.command()
@click.argument("run", type=FOLDER)
@click.option(
    "--steps", type=click.IntRange(1), required=True, help="Steps over which the learning rate falls to zero."
)
@click.option("-o", "--output", type=NEW_FOLDER, required=True, help="Folder of the branch.")
def decay(run: Path, steps: int, output: Path) -> None:
    """Branch off RUN, a folder of `fit`: continue from its checkpoint with the learning rate falling to zero.

    RUN itself is unchanged. An interrupted branch is continued.
    """
    from train.fit.branch import decay as branch

    click.echo(branch(run, steps, output))


@cli.command()
@click.argument("model", type=FILE)
@click.argument("pairs", type=FOLDER, required=False)
@click.option("--suite", type=FOLDER, help="Measure on the validation suite in this folder instead of PAIRS.")
@click.option("-o", "--output", type=NEW_FOLDER, required=True, help="Folder for the results.")
@click.option("--config", type=FILE, help="Configuration of the network, for files that do not contain it.")
@click.option("--clip", is_flag=True, help="PAIRS are consecutive frames of a clip; also measure flicker.")
@click.option("--detect", is_flag=True, help="Also count the people that a detector finds.")
@click.option("--vgg", type=FILE, help="VGG weights (Caffe input), to also measure the feature distance.")
@click.option("--dropout-seed", type=int, help="Enable dropout, with a mask from this seed.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Pictures measured at the same time; the milliseconds are then those of a busy machine.",
)
def evaluate(
    model: Path,
    pairs: Path | None,
    suite: Path | None,
    output: Path,
    config: Path | None,
    dropout_seed: int | None,
    **options: Any,
) -> None:
    """Measure MODEL, a checkpoint or a bundle's .onnx, on PAIRS of blurred and sharp pictures or on a suite.

    Writes JSON, Markdown and a sheet of pictures.
    """
    from train.measure.report import Measures, report, report_on_suite

    measures = Measures(config=config, dropout_seed=dropout_seed, **options)
    if pairs and not suite:
        click.echo(report(model, pairs, output, measures))
    elif suite and not pairs:
        if measures.clip or measures.detect:
            raise click.UsageError(
                "--clip and --detect work only with PAIRS; the suite always measures flicker."
            )
        click.echo(report_on_suite(model, suite, output, measures))
    else:
        raise click.UsageError("Give either PAIRS or --suite FOLDER.")


@cli.command()
@click.argument("curve", type=NEW_FILE)
@click.option("--add", "suite", type=FILE, help="A suite.json of `evaluate --suite` to append as a row.")
@click.option("--core-hours", type=click.FloatRange(0), help="Core-hours of training, if not in suite.json.")
@click.option("--crops", type=click.IntRange(0), help="Number of training crops, if not in suite.json.")
def curve(curve: Path, suite: Path | None, core_hours: float | None, crops: int | None) -> None:
    """Append a row to CURVE, a CSV file of quality over training, and draw it to a PNG file next to it."""
    from train.measure.curve import append_row, draw_curve

    if suite:
        append_row(curve, suite, core_hours, crops)
    click.echo(draw_curve(curve))


@cli.command()
@click.argument("checkpoint", type=FILE)
@click.argument("folder", type=NEW_FOLDER)
@click.option("--name", required=True, help="Name of the model.")
@click.option("--pictures", type=FOLDER, help="Real frames for comparing the graphs.")
@click.option("--licence", help="Licence of the weights, an SPDX identifier.")
@click.option("--dropout", type=click.Choice(["off", "paper"]), default="off", show_default=True)
@click.option(
    "--plain", is_flag=True, help="Only NAME-plain.onnx: float32 RGB from 0 to 1, for other programs."
)
@click.option("--half-only", is_flag=True, help="Skip the fp32 bundle, which is twice as large.")
@click.option("--config", type=FILE, help="Configuration of the network, if not in the checkpoint.")
@click.option(
    "--manifest", type=FILE, help="An earlier manifest, whose training, scores and gate are reused."
)
@click.option(
    "--engine",
    metavar="NxHxW",
    help="Instead of a bundle, make an engine for this GPU with torch-tensorrt, e.g. 1x720x1280.",
)
def export(
    checkpoint: Path,
    folder: Path,
    config: Path | None,
    pictures: Path | None,
    manifest: Path | None,
    engine: str | None,
    plain: bool,
    **facts: Any,
) -> None:
    """Write the fp32 and fp16 bundles of CHECKPOINT to FOLDER, after checking their results."""
    folder.mkdir(parents=True, exist_ok=True)
    if engine:
        from train.export.engine import export_engine

        name, dropout = facts["name"], facts["dropout"]
        click.echo(export_engine(checkpoint, folder, name, engine, dropout=dropout, config=config))
        return
    if plain:
        from train.export.bundle import export_plain_checkpoint
        from train.recipes.export import export_enlarger, is_recipe

        if is_recipe(checkpoint):
            click.echo(export_enlarger(checkpoint, folder, facts["name"]))
        else:
            click.echo(export_plain_checkpoint(checkpoint, folder, facts["name"], config))
        return
    if not pictures or not facts["licence"]:
        raise click.UsageError("A bundle needs --pictures and --licence.")
    from train.export.bundle import Bundle, export_checkpoint

    for path in export_checkpoint(checkpoint, folder, pictures, config, Bundle(**facts), manifest):
        click.echo(path)


@cli.command()
@click.argument("bundle", type=FILE)
@click.option(
    "--calibrate", "pictures", type=FOLDER, multiple=True, required=True, help="Frames; repeat for more."
)
@click.option(
    "--suite", type=FOLDER, help="Refuse a loss of more than 0.10 dB on the real pairs in this folder."
)
@click.option("--crops", type=click.IntRange(1), default=48, show_default=True, help="Crops to calibrate on.")
def quantize(bundle: Path, pictures: tuple[Path, ...], suite: Path | None, crops: int) -> None:
    """Write the int8 variant of BUNDLE, a float32 bundle's .onnx, next to it (needs the extra `quantize`)."""
    from train.export.quantize import quantize

    def report(name: str, loss: float) -> None:
        click.echo(f"{name}: {loss:+.3f} dB lost")

    path = quantize(bundle, pictures, suite, crops, report)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


@cli.command("import")
@click.argument("source", type=FILE, metavar="CHECKPOINT")
@click.option("--name", help="Name for --model.  [default: the file's]")
@click.option("--licence", default="unstated", show_default=True, help="Of the weights, an SPDX name.")
@click.option("-o", "--output", "folder", type=NEW_FOLDER, help="Folder.  [default: your own models]")
@click.option("-y", "--overwrite", is_flag=True, help="Replace a model of that name.")
@click.option(
    "--range",
    "values",
    type=click.Choice(["0..1", "-1..1"]),
    default="0..1",
    show_default=True,
    help="Of the values of an ONNX file.",
)
@click.option(
    "--multiple",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="An ONNX file takes heights and widths that are multiples of this.",
)
def import_(values: str, **words: Any) -> None:
    """Make a model of CHECKPOINT, public weights of a deblurring network, or of a plain ONNX file.

    Reads .pth (tensors only: no code is run), .safetensors, and .onnx with RGB pictures, (N, 3, H, W), in and
    out. A half-precision graph is written only if it computes what the float32 one does.
    """
    from train.export.imported import Import, import_network

    done = import_network(Import(signed=values == "-1..1", **words))
    for path in done.paths:
        click.echo(path)
    if done.without_half:
        click.echo(f"no fp16 variant: {done.without_half}", err=True)
    if not words["folder"]:
        click.echo(f"run it with: rtdeblur VIDEO --model {done.name}", err=True)


@cli.command()
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@click.option("-o", "--output", type=NEW_FILE, required=True)
@click.option("--share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Share of SECOND.")
def mix(first: Path, second: Path, output: Path, share: float) -> None:
    """Interpolate between the checkpoint FIRST and SECOND, which was trained from it."""
    from train.fit.checkpoint import mix_checkpoints

    output.parent.mkdir(parents=True, exist_ok=True)
    mix_checkpoints(first, second, share, output)


@cli.command()
@click.argument("config", type=FILE)
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. --set batch=4"
)
@click.option(
    "--start", type=FILE, required=True, help="Checkpoint or bundle with the weights to start from."
)
@click.option("-o", "--output", type=NEW_FOLDER, required=True, help="Output folder.")
@click.option(
    "--mib", type=click.FloatRange(1), default=60, show_default=True, help="Maximum size of the folder."
)
@click.option("--python", default="3.12", show_default=True, help="Python version of the target machine.")
def pack(config: Path, changes: tuple[str, ...], start: Path, output: Path, mib: float, python: str) -> None:
    """Pack trainer, data and weights for CONFIG into a folder, for a GPU machine without network access."""
    from train.export.pack import pack as write
    from train.fit.config import load_config

    click.echo("\n".join(write(load_config(config, changes), start, output, mib, python)))


@cli.command()
@click.argument("name")
@click.option(
    "--checkpoint", type=FILE, help="First measure this checkpoint, from which the model was exported."
)
@click.option("--config", type=FILE, help="Configuration of the network, if not in the checkpoint.")
@click.option("--pairs", multiple=True, metavar="SET=FOLDER", help="Pairs to measure on, with their name.")
@click.option("--clip", multiple=True, metavar="SET=FOLDER", help="Same, for consecutive frames of a clip.")
@click.option("--suite", type=FOLDER, help="Also measure on the validation suite in this folder.")
@click.option("--picture", is_flag=True, help="Regenerate the card's picture with the bundled model.")
def card(
    name: str,
    checkpoint: Path | None,
    config: Path | None,
    pairs: tuple[str, ...],
    clip: tuple[str, ...],
    suite: Path | None,
    picture: bool,
) -> None:
    """Write the card of the bundled model NAME, from its manifest and train/cards/NAME.md."""
    from train.measure.card import PairSet, measure_model, redraw, write_card
    from train.measure.suite import Suite

    if checkpoint:
        sets = [PairSet.parse(text, clip=text in clip) for text in (*pairs, *clip)]
        measure_model(name, checkpoint, config, sets, Suite(suite) if suite else None)
    elif pairs or clip or suite:
        raise click.UsageError("--pairs, --clip and --suite need a --checkpoint to measure.")
    if picture:
        redraw(name)
    click.echo(write_card(name))


for command in (*COMMANDS, *GATE_COMMANDS, *TEMPORAL_COMMANDS):
    cli.add_command(command)


def _exit(signum: int, _: object) -> None:
    """Exit in order, so that temporary files are removed; a second signal kills the process."""
    signal.signal(signum, signal.SIG_DFL)
    sys.exit(128 + signum)


def main() -> None:
    """Run the command; an error is one line, plus a traceback if RTDEBLUR_DEBUG=1."""
    earlier = signal.signal(signal.SIGTERM, _exit)
    if sys.stderr.isatty():
        log = logging.getLogger("train")
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.INFO)
    try:
        cli()
    except RtdeblurError as error:
        if os.environ.get("RTDEBLUR_DEBUG") == "1":
            raise
        click.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    finally:
        signal.signal(signal.SIGTERM, earlier)


if __name__ == "__main__":
    main()
