"""Calibration of the blur gate: how much the restoration of a tile helps, learned from pairs.

A tile needs restoration if that lowers its mean squared error visibly. A logistic regression on the
features of `rtdeblur.need` learns to predict that from the blurred frame only. Examples are weighted by the
cost of an error, and all sets alike, however many tiles they have.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

import rtdeblur
from rtdeblur.frames import Colour
from rtdeblur.model import GateFit, base_name, files_of
from rtdeblur.need import features_of, need_of, quadratic, tile_edges
from train.data.blur import MotionBlur
from train.data.degrade import degrade
from train.data.leaves import draw_leaves
from train.data.pictures import Picture, find_pairs, list_pictures, read_picture
from train.data.text import render_text
from train.errors import DataError
from train.measure.evaluate import psnr
from train.measure.suite import KEPT_CLIP, Suite

VISIBLE = 3.0
"""Decrease of a tile's mean squared error from which restoring it is worthwhile, code values squared."""
MOST_LOSS = 0.05
"""PSNR that the threshold may cost any blurred set, dB."""
_LEAST_COST, _MOST_COST = 0.2, 20.0
"""Limits of the weight of an example, so that neither easy nor extreme tiles decide."""
_DECAY = 1e-3
_BLURS = {
    "long": MotionBlur(max_length=48, sharp=0),
    "short": MotionBlur(max_length=10, sharp=0),
    "objects": MotionBlur(sharp=0, layered=1),
    "part": MotionBlur(max_length=24, sharp=0),
    "sharp": MotionBlur(sharp=1),
}
_STILL = (np.ones((1, 1), np.float32),)
"""Kernel of a camera that does not move."""
_LARGEST = (768, 1024)
"""Height and width of the largest photographs."""
_SIZES = (0.3, 0.36, 0.43, 0.52, 0.62, 0.75, 0.87, 1.0)
"""Photographs are shown at one of these fractions of that. A frame counts in the estimate of each of its
tiles, so many small frames teach more than few large ones. The network is compiled for each size.
"""
_PAGES = 60
"""Pages of rendered text, for screens and signs, and as many drawn scenes."""
_REDUCTIONS = (1.4, 2.0, 2.8, 4.0)
"""Real pairs are shown reduced by one of these factors, too."""
_LEAST_REDUCED = 128
_NOISE, _JPEG, _H264 = 2.0, 0.25, 0.45
"""Degradation (see `train.data.degrade`): most frames of users come out of a video encoder."""
_COLOUR = Colour()

Floats = NDArray[np.float64]
Values = NDArray[np.float32]
"""Code values of a picture in [0, 1], (H, W, 3)."""
Size = tuple[int, int]
"""Height and width."""
Restore = Callable[[Picture], Picture]


@dataclass(frozen=True)
class Tiles:
    """Tiles of a picture.

    Attributes:
        features: (rows, columns, features).
        before: sum of squared errors of each tile of the blurred picture, (rows, columns).
        after: the same for the restored picture.
        samples: number of samples of each tile.
    """

    features: Floats
    before: Floats
    after: Floats
    samples: Floats


@dataclass(frozen=True)
class Calibrated:
    """A calibration.

    Attributes:
        fit: the calibration for the manifest.
        loss: PSNR that the gate costs, by set, dB.
        restored: share of the tiles restored, by set.
    """

    fit: GateFit
    loss: dict[str, float]
    restored: dict[str, float]


def calibrate(
    model: Path,
    pairs: Sequence[Path],
    photos: Sequence[Path],
    every: int = 1,
    progress: Callable[[int], None] = lambda count: None,
) -> Calibrated:
    """Calibrate the gate of a bundle, and write the result to the manifests of all its precisions.

    Args:
        model: the bundle's .onnx.
        pairs: folders of real pairs; the sharp picture of each is an example that needs nothing.
        photos: folders of sharp photographs, blurred here.
        every: use every n-th picture only.
        progress: called with the number of frames measured so far, after each.

    Raises:
        DataError: no folder is given, or one has no pictures.
    """
    sets: dict[str, list[Tiles]] = defaultdict(list)
    with rtdeblur.Deblurrer(model=model, precision="fp32", gate="off") as deblurrer:
        pictures = calibration_pictures(pairs, photos, every)
        for count, (name, blurred, sharp) in enumerate(pictures, 1):
            sets[name].append(measured(blurred, sharp, deblurrer.restore))
            progress(count)
    if not sets:
        raise DataError("nothing to calibrate on; add --pairs or --photos")
    result = fit_gate(sets)
    for path in files_of(model.parent, base_name(model.stem)):
        if path.suffix == ".json":
            manifest = json.loads(path.read_text(encoding="utf-8")) | {"gate": asdict(result.fit)}
            path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return result


def fit_gate(sets: dict[str, list[Tiles]]) -> Calibrated:
    """Fit the regression, and choose the highest threshold that costs no blurred set more than MOST_LOSS."""
    tiles = [tile for examples in sets.values() for tile in examples]
    counts = [sum(tile.before.size for tile in examples) for examples in sets.values()]
    share = np.concatenate([np.full(count, np.mean(counts) / count) for count in counts])
    features = np.concatenate([_flat(tile.features) for tile in tiles])
    gain = np.concatenate([((tile.before - tile.after) / tile.samples).ravel() for tile in tiles])
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-3
    weights = _regress(quadratic((features - mean) / scale), gain, share)
    digits = [tuple(float(f"{value:.6g}") for value in values) for values in (mean, scale, weights)]
    best: Calibrated | None = None
    for threshold in np.linspace(0.02, 0.98, 49):
        fit = GateFit(round(float(threshold), 2), *digits)
        loss, restored = _costs(sets, fit)
        lost = max((loss[name] for name in sets if not name.endswith("sharp")), default=0.0)
        if best is not None and lost > MOST_LOSS:
            break
        best = Calibrated(fit, loss, restored)
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


def calibration_pictures(
    pairs: Sequence[Path], photos: Sequence[Path], every: int = 1
) -> Iterator[tuple[str, Picture, Picture]]:
    """Yield the pictures of a calibration: name of the set, blurred and sharp, both (H, W, 3) uint8 RGB.

    Args:
        pairs: see `calibrate`.
        photos: see `calibrate`; pages of text and drawn scenes come with them.
        every: see `calibrate`.
    """
    rng = np.random.default_rng(0)
    for folder in pairs:
        found = [pair for pair in find_pairs(folder) if not pair[0].name.startswith(KEPT_CLIP)]
        for paths in found[::every]:
            blurred, sharp = (_whole(read_picture(path)) for path in paths)
            yield folder.name, _coded(blurred, rng), sharp
            yield f"{folder.name}, sharp", _coded(sharp, rng), sharp
            height, width = _even(sharp.shape[:2], 1 / rng.choice(_REDUCTIONS))
            if min(height, width) >= _LEAST_REDUCED:
                smaller = [
                    np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
                    for picture in (blurred, sharp)
                ]
                yield f"{folder.name}, small", _coded(smaller[0], rng), smaller[1]
                yield f"{folder.name}, small and sharp", _coded(smaller[1], rng), smaller[1]
    for folder in photos:
        files = list_pictures(folder)[::every]
        yield from _blurred(folder.name, len(files), partial(_photo, files), rng)
    if photos:
        for name, draw in (("text", _text), ("drawn", _drawn)):
            yield from _blurred(name, -(-_PAGES // every), partial(draw, rng), rng)


def _blurred(
    name: str, count: int, draw: Callable[[int, Size], Values], rng: np.random.Generator
) -> Iterator[tuple[str, Picture, Picture]]:
    """Blur `count` sharp pictures in every way; `draw` makes one of a number and a size."""
    for number in range(count):
        for kind, blur in _BLURS.items():
            size = _even(_LARGEST, rng.choice(_SIZES))
            motion = blur.draw(rng)
            if kind == "objects":  # fast, in front of a sharp background
                motion = replace(motion, kernels=_STILL)
            other = partial(draw, int(rng.integers(count)), size)
            soft, truth = motion.blur(draw(number, size), rng, other)
            if kind == "part":
                soft = np.where(_half_plane(rng, size), soft, truth)
            noise = 0.0 if kind == "sharp" else _NOISE
            degraded = degrade(rng, soft, noise, _JPEG, _H264, sensor=True)
            yield f"{name}, {kind}", _codes(degraded), _codes(truth)


def _half_plane(rng: np.random.Generator, size: Size) -> NDArray[np.bool_]:
    """Draw a side of a line through a frame: (height, width, 1)."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.arange(length) - rng.uniform(0.25, 0.75) * length for length in size)
    side: NDArray[np.bool_] = np.sin(angle) * y[:, None, None] + np.cos(angle) * x[:, None] > 0
    return side


def _even(size: tuple[int, ...], factor: float) -> Size:
    """Scale (height, width) to even numbers, as video has."""
    height, width = (2 * round(length * factor / 2) for length in size)
    return height, width


def _whole(picture: Picture) -> Picture:
    """Cut a picture to even sides."""
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]


def _photo(files: Sequence[Path], number: int, size: Size) -> Values:
    """Read a photograph as (height, width) of `size`, cut to its aspect ratio."""
    picture = read_picture(files[number]).astype(np.float32) / 255
    (height, width), (rows, columns) = size, picture.shape[:2]
    scale = max(height / rows, width / columns)
    whole = max(width, round(columns * scale)), max(height, round(rows * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, whole, interpolation=how), np.float32)[:height, :width].clip(0, 1)


def _text(rng: np.random.Generator, number: int, size: Size) -> Values:
    """Render another page of text, whatever its number."""
    return render_text(rng, max(size))[: size[0], : size[1]]


def _drawn(rng: np.random.Generator, number: int, size: Size) -> Values:
    """Draw another scene, whatever its number."""
    return draw_leaves(rng, *size)


def _codes(values: NDArray[np.floating[Any]]) -> Picture:
    codes: Picture = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    return codes


def _coded(picture: Picture, rng: np.random.Generator) -> Picture:
    """Compress some pictures, whose sides are even."""
    return _codes(degrade(rng, np.asarray(picture / 255, np.float32), 0, _JPEG, _H264, sensor=True))


def measured(blurred: Picture, sharp: Picture, restore: Restore) -> Tiles:
    """Measure the tiles of a pair of pictures, each (H, W, 3) uint8 RGB."""
    matrix = _COLOUR.rgb_to_yuv()
    luma = np.rint(blurred / 255 @ matrix[0, :3] + matrix[0, 3]).astype(np.uint8)
    before, after = _by_tile(blurred, sharp), _by_tile(restore(blurred), sharp)
    samples = _by_tile(np.ones_like(sharp), np.zeros_like(sharp))
    return Tiles(features_of(luma, _COLOUR).astype(np.float64), before, after, samples)


def _by_tile(picture: Picture, truth: Picture) -> Floats:
    """Sum of squared errors of each tile."""
    error: Floats = np.square(picture.astype(np.float64) - truth).sum(axis=2)
    for axis, length in enumerate(error.shape):
        error = np.add.reduceat(error, tile_edges(length), axis=axis)
    return error


def _flat(features: Floats) -> Floats:
    return features.reshape(-1, features.shape[-1])


def _regress(terms: Floats, gain: Floats, share: Floats) -> Floats:
    """Fit weights to (examples, terms); `share` is what each example counts."""
    x, wanted = torch.from_numpy(terms), torch.from_numpy((gain > VISIBLE).astype(np.float64))
    costs = torch.from_numpy(np.clip(np.abs(gain - VISIBLE), _LEAST_COST, _MOST_COST) * share)
    weights = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        cost = (
            F.binary_cross_entropy_with_logits(x @ weights, wanted, costs) + _DECAY * weights.square().sum()
        )
        cost.backward()  # type: ignore[no-untyped-call]
        return cost

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    found: Floats = weights.detach().numpy()
    return found


def _costs(sets: dict[str, list[Tiles]], fit: GateFit) -> tuple[dict[str, float], dict[str, float]]:
    loss, restored = {}, {}
    for name, examples in sets.items():
        masks = [need_of(tile.features.astype(np.float32), fit) >= fit.threshold for tile in examples]
        whole = sum(tile.after.sum() for tile in examples)
        pairs = list(zip(examples, masks, strict=True))
        gated = sum(np.where(mask, tile.after, tile.before).sum() for tile, mask in pairs)
        loss[name] = float(10 * np.log10((gated + 1e-9) / (whole + 1e-9)))
        restored[name] = float(np.mean(np.concatenate([mask.ravel() for mask in masks])))
    return loss, restored
