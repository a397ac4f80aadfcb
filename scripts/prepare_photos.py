#!/usr/bin/env python3
"""Collect the photographs in SOURCE that suit training into FOLDER: readable, large, sharp, no duplicates."""

from __future__ import annotations

from pathlib import Path

import click

from rtdeblur.errors import RtdeblurError
from train.data.prepare import prepare_photos


@click.command(help=__doc__)
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--least-side", default=400, show_default=True, help="Pixels.")
@click.option(
    "--least-sharpness", default=100.0, show_default=True, help="Least sharpness (variance of the Laplacian)."
)
def main(source: Path, folder: Path, least_side: int, least_sharpness: float) -> None:
    """Print how many were kept."""
    try:
        print(prepare_photos(source, folder, least_side, least_sharpness))
    except RtdeblurError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
