#!/usr/bin/env python3
"""Check the unpacked files of REDS and link them into FOLDER in GoPro's layout."""

from __future__ import annotations

from pathlib import Path

import click

from rtdeblur.errors import RtdeblurError
from train.data.prepare import prepare_reds


@click.command(help=__doc__)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(source: Path, folder: Path) -> None:
    """Print a line per part."""
    try:
        print(*prepare_reds(source, folder), sep="\n")
    except RtdeblurError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
