"""Calibration of the blur gate for a model: from which need on restoring a tile is worthwhile."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import rtdeblur
from rtdeblur.backends.need import NeedEstimate
from rtdeblur.blur_gate import tiles_to_restore
from rtdeblur.frames import Colour
from rtdeblur.model import base_name, files_of
from rtdeblur.windows import tile_edges
from train.data.pictures import Picture
from train.errors import DataError
from train.gate.frames import frames, luma_of
from train.measure.evaluate import psnr
from train.measure.suite import Suite

MOST_LOSS = 0.05
"""PSNR that the threshold may cost any blurred set, dB."""
_THRESHOLDS = np.arange(1, 100) / 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tiles:
    """Tiles of a picture.

    Attributes:
        need: estimate of how much each needs restoration, (rows, columns).
        before: sum of squared errors of each tile of the blurred picture.
        after: the same for the restored picture.
    """

    need: Floats
    before: Floats
    after: Floats


@dataclass(frozen=True)
class Calibrated:
    """A calibration.

    Attributes:
        threshold: for the manifest.
        loss: PSNR that the gate costs, by set, dB.
        restored: share of the tiles restored, by set.
    """

    threshold: float
    loss: dict[str, float]
    restored: dict[str, float]


def calibrate(
    model: Path,
    pairs: Sequence[Path],
    photos: Sequence[Path],
    every: int = 1,
    progress: Callable[[int], None] = lambda count: None,
) -> Calibrated:
    """Calibrate the gate of a bundle, and write the threshold to the manifests of all its precisions.

    Args:
        model: the bundle's .onnx.
        pairs: see `train.gate.frames.frames`.
        photos: see there.
        every: see there.
        progress: called with the number of frames measured so far, after each.

    Raises:
        DataError: no folder is given, or one has no pictures.
    """
    sets: dict[str, list[Tiles]] = defaultdict(list)
    with (
        closing(NeedEstimate()) as estimate,
        rtdeblur.Deblurrer(model=model, gate="off", resolution="full") as deblurrer,
    ):
        for count, (name, blurred, sharp) in enumerate(frames(pairs, photos, every), 1):
            (need,) = estimate.of(luma_of(blurred)[None, None], Colour())
            before, after = _by_tile(blurred, sharp), _by_tile(deblurrer.restore(blurred), sharp)
            sets[name].append(Tiles(need, before, after))
            progress(count)
    if not sets:
        raise DataError("nothing to calibrate on; add --pairs or --photos")
    result = choose_threshold(sets)
    for path in files_of(model.parent, base_name(model.stem)):
        if path.suffix == ".json":
            manifest = json.loads(path.read_text(encoding="utf-8")) | {"gate_threshold": result.threshold}
            path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return result


def choose_threshold(sets: dict[str, list[Tiles]]) -> Calibrated:
    """Choose the highest threshold that costs no blurred set more than MOST_LOSS, else the lowest."""
    best: Calibrated | None = None
    for threshold in map(float, _THRESHOLDS):
        loss, restored = _costs(sets, threshold)
        lost = max((loss[name] for name in sets if not name.endswith("sharp")), default=0.0)
        if best is not None and lost > MOST_LOSS:
            break
        best = Calibrated(threshold, loss, restored)
    assert best is not None
    return best


def check(model: Path, suite: Path) -> Iterator[tuple[str, float, float, float]]:
    """Measure the gate of a bundle on the validation suite, with windows, seams and all.

    Yields:
        set, mean PSNR without the gate and with it, and the share of tiles restored.
    """
    sets = Suite(suite).sets
    with (
        rtdeblur.Deblurrer(model=model, precision="fp32", gate="off") as whole,
        rtdeblur.Deblurrer(model=model, precision="fp32") as gated,
    ):
        for name, sources in sets.items():
            scores = []
            tiles, restored = gated.tiles, gated.restored_tiles
            for source in sources:
                blurred, sharp = source()
                scores.append([psnr(each.restore(blurred), sharp) for each in (whole, gated)])
            share = (gated.restored_tiles - restored) / max(1, gated.tiles - tiles)
            without, with_gate = np.mean(scores, axis=0)
            yield name, float(without), float(with_gate), share


def _by_tile(picture: Picture, truth: Picture) -> Floats:
    """Sum of squared errors of each tile."""
    error: Floats = np.square(picture.astype(np.float64) - truth).sum(axis=2)
    for axis, length in enumerate(error.shape):
        error = np.add.reduceat(error, tile_edges(length), axis=axis)
    return error


def _costs(sets: dict[str, list[Tiles]], threshold: float) -> tuple[dict[str, float], dict[str, float]]:
    loss, restored = {}, {}
    for name, examples in sets.items():
        masks = [tiles_to_restore(tiles.need, threshold) for tiles in examples]
        whole = sum(tiles.after.sum() for tiles in examples)
        pairs = list(zip(examples, masks, strict=True))
        gated = sum(np.where(mask, tiles.after, tiles.before).sum() for tiles, mask in pairs)
        loss[name] = float(10 * np.log10((gated + 1e-9) / (whole + 1e-9)))
        restored[name] = float(np.mean(np.concatenate([mask.ravel() for mask in masks])))
    return loss, restored
