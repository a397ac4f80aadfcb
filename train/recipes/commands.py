"""Commands of the GAN family: `python -m train dcgan | cgan | srgan | sample | fidelity | lecture`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from train.path_types import ANY, FILE, FOLDER, NEW_FILE, NEW_FOLDER

LOSSES = ("minimax", "non-saturating", "lsgan", "lsgan-pearson", "wgan", "wgan-gp")


def _recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of all recipes."""
    options = (
        click.option("-o", "--output", type=NEW_FOLDER, required=True, help="Folder of the run."),
        click.option("--loss", type=click.Choice(LOSSES), help="Game.  [default: non-saturating]"),
        click.option("--steps", type=click.IntRange(1), help="Length in steps.  [default: 10000]"),
        click.option("--minutes", type=click.FloatRange(0.1), help="Length in minutes instead."),
        click.option("--batch", type=click.IntRange(1), help="Pictures per step."),
        click.option("--seed", type=click.IntRange(0), help="Seed of weights and data.  [default: 1]"),
        click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Another option, as TOML."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _train(kind: str, output: Path, changes: tuple[str, ...], **given: Any) -> None:
    """Build the recipe from its options, and train it."""
    began = time.perf_counter()
    from train.fit.config import read_changes
    from train.fit.options import from_table
    from train.recipes.open import RECIPES
    from train.recipes.run import train

    minutes, steps = given.pop("minutes"), given.pop("steps")
    table = {key: str(v) if isinstance(v, Path) else v for key, v in given.items() if v is not None}
    if minutes and steps:
        raise click.UsageError("Give either --steps or --minutes.")
    if minutes or steps:
        table["schedule"] = {"minutes": minutes} if minutes else {"steps": steps}
    recipe = from_table(RECIPES[kind], read_changes(table, changes), kind)
    click.echo(train(recipe, output, began))


@click.command()
@click.argument("data", type=ANY)
@click.option("--vgg", type=FILE, help="VGG16's weights (Caffe input), to measure FID[features=vgg16].")
@click.option(
    "--inception-weights", "inception", type=FILE, help="Official weights, to measure FID, KID and IS."
)
@_recipe_options
def dcgan(**options: Any) -> None:
    """Train DCGAN on DATA, or continue: CIFAR-10's archive or folder, or a folder of pictures."""
    _train("dcgan", **options)


@click.command()
@click.argument("data", type=FOLDER, required=False)
@_recipe_options
def cgan(**options: Any) -> None:
    """Train a class-conditional GAN on DATA, a folder of idx files, or continue.

    DATA is Fashion-MNIST of Debian's package dataset-fashion-mnist by default.
    """
    _train("cgan", **options)


@click.command()
@click.argument("data", type=FOLDER)
@click.option("--start-from", type=FILE, help="Checkpoint of the pre-training.")
@click.option(
    "--vgg", type=FILE, help="VGG16's weights (Caffe input): train against a critic and VGG features."
)
@click.option("--judged", type=FOLDER, help="Other pictures to measure on.")
@click.option("--scale", type=int, help="2 or 4.  [default: 4]")
@_recipe_options
def srgan(**options: Any) -> None:
    """Train SRGAN on DATA, a folder of pictures, or continue.

    Without --vgg, this is the pre-training by mean squared error, for --start-from of the next run.
    """
    _train("srgan", **options)


@click.command()
@click.argument("checkpoint", type=FILE)
@click.option("-o", "--output", type=NEW_FILE, required=True, help="Picture, or .mkv with --interpolate.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the noise.")
@click.option("--count", type=click.IntRange(1), default=64, show_default=True, help="Number of samples.")
@click.option("--columns", type=click.IntRange(1), default=8, show_default=True, help="Samples per row.")
@click.option("--class", "label", type=click.IntRange(0), help="Only this class.  [default: a row of each]")
@click.option(
    "--interpolate", type=click.FloatRange(0.1), metavar="SECONDS", help="A video between two samples."
)
@click.option("--picture", type=FILE, help="Picture to enlarge.")
def sample(
    checkpoint: Path,
    output: Path,
    seed: int,
    count: int,
    columns: int,
    label: int | None,
    interpolate: float | None,
    picture: Path | None,
) -> None:
    """Draw samples of CHECKPOINT, a trained dcgan or cgan, or enlarge a picture with an srgan."""
    from train.data.pictures import write_picture
    from train.recipes.open import open_recipe
    from train.recipes.sample import enlarge_file, sample_grid
    from train.recipes.sample import interpolate as write_video

    _, generator, _ = open_recipe(checkpoint)
    output.parent.mkdir(parents=True, exist_ok=True)
    if picture:
        enlarge_file(generator, picture, output)
    elif interpolate:
        write_video(generator, output, interpolate, seed, label)
    else:
        write_picture(output, sample_grid(generator, count, columns, seed, label))
    click.echo(output)


@click.command()
@click.argument("real", type=FOLDER)
@click.argument("made", type=FOLDER)
@click.option("--inception-weights", type=FILE, help="Official weights, to measure FID, KID and IS.")
@click.option(
    "--vgg", type=FILE, help="VGG16's weights (Caffe input), for figures over its features instead."
)
def fidelity(real: Path, made: Path, inception_weights: Path | None, vgg: Path | None) -> None:
    """Measure the pictures in MADE against those in REAL; all of one size."""
    from train.data.pictures import list_pictures
    from train.measure.fidelity import Fidelity, open_network, read_pictures

    network = open_network(inception_weights, vgg)
    measure = Fidelity(network, read_pictures(list_pictures(real)))
    for name, value in measure(read_pictures(list_pictures(made))).items():
        click.echo(f"{name} {value:.4f}")


@click.command()
@click.option(
    "-o", "--output", type=NEW_FOLDER, default=Path("runs/lecture"), show_default=True, help="Folder."
)
@click.option(
    "--steps", type=click.IntRange(1), default=1500, show_default=True, help="Steps of the small GANs."
)
def lecture(output: Path, steps: int) -> None:
    """Draw what the losses do: divergences, gradients, boundaries, and small GANs that collapse or do not."""
    from train.recipes.lecture import write_lecture

    click.echo(write_lecture(output, steps))


COMMANDS = (dcgan, cgan, srgan, sample, fidelity, lecture)
