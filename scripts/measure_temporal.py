#!/usr/bin/env python3
"""Measure what the temporal stage changes on folders of real pairs of consecutive frames, as a table.

Pairs whose names are equal but for the number at their end are frames of one clip. PSNR is on RGB, in dB, the
mean over all frames; flicker is the mean change from frame to frame where the blurred clip stands still, in
levels of 255 (of the blurred and of the sharp frames, too).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path

import click
import numpy as np

from rtdeblur.arrays import frame_of, picture_of
from rtdeblur.backends import open_backend
from rtdeblur.device import DeviceBatch
from rtdeblur.errors import RtdeblurError
from rtdeblur.frames import Frame, FrameBatch, Interlude, VideoInfo
from rtdeblur.media.photos.still import MILLISECOND
from rtdeblur.model import Model, Precision, Temporal
from rtdeblur.pipeline import Pipeline
from rtdeblur.temporal import with_temporal
from train.data.pictures import Pair, Picture, find_pairs, read_picture
from train.measure.evaluate import psnr
from train.measure.flicker import Flicker

_CHOICES: tuple[Temporal, ...] = ("off", "on")
_MILLISECONDS = 40
"""Time between frames."""


class Clip:
    """Source and sink of a clip's frames.

    Attributes:
        restored: what the pipeline made of them.
    """

    def __init__(self, blurred: list[Picture]) -> None:
        self._blurred = blurred
        self.restored: list[Picture] = []
        height, width = blurred[0].shape[:2]
        self.info = VideoInfo(height, width, "gbrp", None, None, len(blurred))

    def __iter__(self) -> Iterator[Frame]:
        for index, picture in enumerate(self._blurred):
            yield replace(frame_of(picture), pts=index * _MILLISECONDS, time_base=MILLISECOND)

    def needs(self, index: int) -> bool:
        """Return True: every frame is restored."""
        return True

    def write(self, batch: FrameBatch | DeviceBatch | Interlude) -> None:
        """Keep restored frames."""
        assert isinstance(batch, FrameBatch)
        self.restored += [picture_of(batch.planes, i, given) for i, given in enumerate(batch.carriers)]

    def commit(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def clips(folder: Path, pattern: str) -> list[list[Pair]]:
    """Return the pairs whose names match, clip by clip."""
    pairs = [pair for pair in find_pairs(folder) if fnmatch(pair[0].name, pattern)]
    return [list(group) for _, group in groupby(pairs, lambda pair: re.sub(r"\d+$", "", pair[0].stem))]


def row(found: list[list[Pair]], name: str, temporal: Temporal, precision: Precision) -> str:
    """Measure a model with or without the stage; return a line of the table."""
    model = Model.load(name)
    scores: list[list[float]] = []
    flicker = Flicker()
    with with_temporal(open_backend("auto", model, precision=precision), model, temporal) as backend:
        for pairs in found:
            blurred, sharp = ([read_picture(path) for path in side] for side in zip(*pairs, strict=True))
            clip = Clip(blurred)
            Pipeline(clip, backend, clip, batch_size=None).run()
            for given, result, truth in zip(blurred, clip.restored, sharp, strict=True):
                scores.append([psnr(given, truth), psnr(result, truth)])
                flicker.add(given, result, truth)
    before, after = np.array(scores).T
    changes = flicker.scores()
    cells = [name, temporal, f"{before.mean():.2f}", f"{after.mean():.2f}", f"{(after - before).mean():+.2f}"]
    cells += [f"{(after - before).min():+.2f}"]
    cells += [f"{changes[key]:.2f}" for key in ("flicker_in", "flicker_out", "flicker_sharp")]
    return f"| {' | '.join(cells)} |"


@click.command(help=__doc__)
@click.argument("pairs", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--names", default="*", help="Pattern of the names to measure on.", show_default=True)
@click.option("--model", "models", multiple=True, default=("fast", "fine"), show_default=True)
@click.option("--precision", default="auto", show_default=True)
def main(pairs: Path, names: str, models: tuple[str, ...], precision: Precision) -> None:
    """Print the table."""
    print("| model | temporal | blurred | restored | gain | least gain | flicker | restored | sharp |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    try:
        found = clips(pairs, names)
        for model in models:
            for temporal in _CHOICES:
                print(row(found, model, temporal, precision), flush=True)
    except RtdeblurError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
