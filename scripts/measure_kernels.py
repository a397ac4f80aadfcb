#!/usr/bin/env python3
"""Measure the blur kernels of real PAIRS and of the training blur, and print a Markdown table.

The training blur is applied to the sharp pictures of the same pairs and estimated in the same way, so that
errors of the estimate affect both sides alike.
"""

from __future__ import annotations

from pathlib import Path

import click

from rtdeblur.errors import RtdeblurError
from train.data.blur import MotionBlur
from train.measure.kernels import measure_blur, measure_pairs, sheet_of, table

WILD = MotionBlur(wild=1.0, frames=0.4, duty=(0.2, 1.0))
"""Motion parameters before they were fitted to these measurements."""


@click.command(help=__doc__)
@click.argument("pairs", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--sheet", type=click.Path(dir_okay=False, path_type=Path), help="Also draw some of the kernels."
)
def main(pairs: Path, sheet: Path | None) -> None:
    """Print the table."""
    try:
        sets = {
            "real pairs": measure_pairs(pairs),
            "training blur": measure_blur(pairs, MotionBlur()),
            "only wild motion": measure_blur(pairs, WILD),
        }
        print(table(sets))
        if sheet:
            sheet_of(sets, sheet)
    except RtdeblurError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
