#!/usr/bin/env python3
"""Check GOPRO_Large (ZIP file or unpacked) and link its train/ and test/ into FOLDER."""

from __future__ import annotations

from pathlib import Path

import click

from rtdeblur.errors import RtdeblurError
from train.data.prepare import prepare_gopro


@click.command(help=__doc__)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(source: Path, folder: Path) -> None:
    """Print a line per part."""
    try:
        print(*prepare_gopro(source, folder), sep="\n")
    except RtdeblurError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
