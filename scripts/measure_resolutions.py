#!/usr/bin/env python3
"""Measure what the working resolution changes on real PAIRS, enlarged as if by a better camera, as a table.

Enlarging makes the blur longer. It adds no detail, so this shows only what happens to the blur.
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np

import rtdeblur
from rtdeblur.errors import RtdeblurError
from rtdeblur.model import Resolution
from train.data.pictures import Picture, find_pairs, read_picture
from train.measure.evaluate import psnr

RESOLUTIONS: tuple[Resolution, ...] = ("full", "half", "quarter", "auto")


def enlarged(picture: Picture, times: float) -> Picture:
    """Enlarge a picture (H, W, 3) uint8."""
    if times == 1:
        return picture
    return np.asarray(cv2.resize(picture, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC), np.uint8)


def read_pairs(folder: Path, times: float) -> list[list[Picture]]:
    """Read blurred and sharp pictures, enlarged."""
    return [[enlarged(read_picture(path), times) for path in pair] for pair in find_pairs(folder)]


def row(pairs: list[list[Picture]], model: str) -> str:
    """Measure a model at every resolution on pictures of one size; return a line of the table."""
    height, width = pairs[0][0].shape[:2]
    cells = [model, f"{width}×{height}", f"{np.mean([psnr(*pair) for pair in pairs]):.2f}"]
    for resolution in RESOLUTIONS:
        with rtdeblur.Deblurrer(model, resolution=resolution, gate="off") as deblurrer:
            scores = [psnr(deblurrer.restore(blurred), sharp) for blurred, sharp in pairs]
        cells.append(f"{np.mean(scores):.2f}")
    return f"| {' | '.join(cells)} |"


@click.command(help=__doc__)
@click.argument("pairs", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", "models", multiple=True, default=("fast", "fine"), show_default=True)
@click.option("--times", multiple=True, type=float, default=(1.0, 1.5, 2.0, 3.0), show_default=True)
def main(pairs: Path, models: tuple[str, ...], times: tuple[float, ...]) -> None:
    """Print the table."""
    print(f"| model | size | blurred | {' | '.join(RESOLUTIONS)} |")
    print("|---|---|---:|---:|---:|---:|---:|")
    try:
        for model in models:
            for factor in times:
                print(row(read_pairs(pairs, factor), model), flush=True)
    except RtdeblurError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
