"""Training pairs: crops of real pairs, of averaged video, and of sharp photographs blurred on the fly.

Every example is determined by (seed, index), so a resumed run sees the same examples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from train.data.blur import Blur, Example, MotionBlur, from_linear, to_linear
from train.data.degrade import degrade
from train.data.pictures import Picture, Pictures, find_clips, find_pairs, find_triples, list_pictures
from train.data.text import render_text
from train.data.trajectory import Floats
from train.errors import ConfigError, DataError


@dataclass(frozen=True)
class DataOptions:
    """Training data.

    Attributes:
        sharp: folders of sharp pictures, blurred on the fly.
        pairs: folders of real pairs (see `train.data.pictures.find_pairs`).
        clips: folders of consecutive sharp frames of high-rate video (see `train.data.pictures.find_clips`).
        exclude: patterns of picture names to exclude, such as "test001*", which are kept for validation.
        blurred: name of the folder of blurred pictures within the pairs.
        real: share of examples taken from the pairs; the paper's Comb has 1/3.
        averaged: share made by averaging 7 to 13 frames of a clip; the rest is blurred on the fly.
        blur: kind of blur.
        text: share of sharp crops that are rendered text.
        min_scale: crops of pictures that are blurred here are shrunk by a random factor down to this.
        real_scale: crops of real pairs are scaled by a random factor between these; enlarged blur is longer.
        full_size: share of the crops of real pairs that keep their size, as the pictures to restore do.
        long: share of the crops of real pairs whose exposure is three times as long: the mean of three
            consecutive frames, shrunk by a random factor. Only for pairs whose exposures follow each other
            without a gap, such as GoPro's.
        recolour: whether to shuffle channels and change brightness.
        noise: largest standard deviation of the noise on the blurred picture at mid-grey, code values of 255.
        sensor: whether every blurred picture gets a sensor's noise; else half of them get Gaussian noise.
        jpeg: share of blurred crops that are compressed as JPEG (see `train.data.degrade`).
        video: share of them that are compressed as H.264.
        cache_mib: memory per process for decoded pictures.
    """

    sharp: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    blurred: Literal["blur", "blur_gamma"] = "blur"
    real: float = 0.35
    averaged: float = 0.0
    blur: Blur = field(default_factory=MotionBlur)
    text: float = 0.08
    min_scale: float = 0.45
    real_scale: tuple[float, float] = (0.55, 1.3)
    full_size: float = 0.4
    long: float = 0.0
    recolour: bool = True
    noise: float = 3.0
    sensor: bool = True
    jpeg: float = 0.25
    video: float = 0.2
    cache_mib: int = 2048

    def __post_init__(self) -> None:
        if not (self.sharp or self.pairs or self.clips):
            raise ConfigError("no training data; expected a folder under sharp, pairs or clips")
        if self.real and not self.pairs:
            raise ConfigError(f"real is {self.real} but there are no pairs; add a folder or set real to 0")
        if bool(self.averaged) != bool(self.clips):
            raise ConfigError(
                f"averaged is {self.averaged}, clips are {list(self.clips)}; expected both or none"
            )
        if not 0 <= self.real + self.averaged <= 1:
            raise ConfigError(f"real + averaged is {self.real + self.averaged}, expected 0 to 1")
        if not 0 < self.real_scale[0] <= self.real_scale[1]:
            raise ConfigError(
                f"real_scale is {list(self.real_scale)}, expected two positive factors, the smaller one first"
            )
        if not 0 <= self.jpeg + self.video <= 1:
            raise ConfigError(f"jpeg + video is {self.jpeg + self.video}, expected 0 to 1")


class TrainingPairs(Dataset[tuple[Tensor, Tensor]]):
    """Endless data set of blurred and sharp crops, (3, size, size) in [-1, 1] or as code values.

    Args:
        options: the data; everything is checked now.
        size: side of the square crops, pixels.
        seed: seed of every random choice.

    Raises:
        DataError: pictures are missing, damaged or too small.
    """

    def __init__(self, options: DataOptions, size: int, seed: int) -> None:
        # Forked DataLoader workers would wait forever for the threads of OpenCV's pool.
        cv2.setNumThreads(1)
        self.options, self.size, self.seed = options, size, seed
        pairs = [pair for folder in options.pairs for pair in find_pairs(folder, options.blurred)]
        self.pairs = [pair for pair in pairs if not self._excluded(pair[0])]
        if pairs and not self.pairs:
            raise DataError(f"exclude leaves none of the {len(pairs)} pairs; it is {list(options.exclude)}")
        self.triples = find_triples(self.pairs) if options.long else []
        if options.long and not self.triples:
            raise DataError(
                f"long is {options.long}, but none of the {len(self.pairs)} pairs is between two others; "
                "expected names that end in consecutive numbers, such as 000047.png, 000048.png, 000049.png"
            )
        self.clips = [clip for folder in options.clips for clip in find_clips(folder)]
        for clip in self.clips:
            if len(clip) < _MOST_FRAMES:
                raise DataError(f"{clip[0].parent} has {len(clip)} frames, expected at least {_MOST_FRAMES}")
        sharp = [path for folder in options.sharp for path in list_pictures(folder)]
        self.sharp = [path for path in sharp if not self._excluded(path)]
        self.sharp += [sharp for _, sharp in self.pairs] + [path for clip in self.clips for path in clip]
        self.pictures = Pictures([*self.sharp, *(blurred for blurred, _ in self.pairs)], options.cache_mib)
        self.pictures.check_pairs(self.pairs)
        self.pictures.check_triples(self.triples)
        self.pictures.check_crop(size)
        self._sides = {path: min(self.pictures.sizes[path]) for path in self.sharp}
        self._usual_side = sorted(self._sides[path] for path in self.sharp)[len(self.sharp) // 2]
        self._large: dict[int, list[Path]] = {}

    def _excluded(self, path: Path) -> bool:
        return any(fnmatch(path.name, pattern) for pattern in self.options.exclude)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return pair number `index`, blurred and sharp."""
        blurred, sharp = to_floats(self.codes(index))
        return blurred, sharp

    def codes(self, index: int) -> Tensor:
        """Return pair number `index` as code values: (2, 3, size, size) uint8, blurred and sharp."""
        rng = np.random.default_rng([self.seed, index])
        kind = rng.random()
        if kind < self.options.real:
            example = self._real(rng)
        elif kind < self.options.real + self.options.averaged:
            example = self._averaged(rng)
        else:
            example = self._synthetic(rng)
        codes = [np.rint(picture * 255).astype(np.uint8) for picture in _augment(rng, *example)]
        return torch.from_numpy(np.stack(codes).transpose(0, 3, 1, 2).copy())

    def _real(self, rng: np.random.Generator) -> Example:
        if self.triples and rng.random() < self.options.long:
            crops = self._long(rng)
        else:
            blurred, sharp = self.pairs[rng.integers(len(self.pairs))]
            keeps_size = rng.random() < self.options.full_size
            scale = 1.0 if keeps_size else _log_uniform(rng, *self.options.real_scale)
            crops = self._crop(rng, self.size, scale, self.pictures[blurred], self.pictures[sharp])
        values = _CODES
        if self.options.recolour:
            # GoPro's blur is a mean of code values, which commutes with an affine map of the channels.
            order, gain, offset = rng.permutation(3), rng.uniform(0.7, 1.15), rng.uniform(-0.05, 0.1)
            crops = [crop[..., order] for crop in crops]
            values = np.clip(_CODES * gain + offset, 0, 1).astype(np.float32)
        return _mapped(crops[0], values), _mapped(crops[1], values)

    def _long(self, rng: np.random.Generator) -> list[Picture]:
        """Crop a frame blurred by its own exposure and those before and after it, and the sharp frame."""
        before, current, after = self.triples[rng.integers(len(self.triples))]
        paths = (before[0], current[0], after[0], current[1])
        crops = self._crop(
            rng, self.size, _log_uniform(rng, *_LONG_SCALE), *(self.pictures[p] for p in paths)
        )
        return [np.rint(np.mean(crops[:3], axis=0)).astype(np.uint8), crops[3]]

    def _averaged(self, rng: np.random.Generator) -> Example:
        """Average an odd number of frames in linear light; the middle one is the sharp picture."""
        clip = self.clips[rng.integers(len(self.clips))]
        count = int(rng.choice(np.arange(_FEWEST_FRAMES, _MOST_FRAMES + 1, 2)))
        first = int(rng.integers(len(clip) - count + 1))
        frames = [self.pictures[path] for path in clip[first : first + count]]
        crops = self._crop(rng, self.size, self._reduction(rng), *frames)
        light = np.stack([_mapped(crop, to_linear(_CODES)) for crop in crops]).mean(axis=0)
        return self._degrade(rng, from_linear(light)), _mapped(crops[count // 2], _CODES)

    def _synthetic(self, rng: np.random.Generator) -> Example:
        motion = self.options.blur.draw(rng)
        # The margin keeps the convolution's mirrored border out of the crop; at least half of the pictures
        # are large enough for it.
        full = min(self.size + 2 * motion.reach, self._usual_side)
        blurred, sharp = motion.blur(self._sharp_crop(rng, full), rng, lambda: self._sharp_crop(rng, full))
        start = (full - self.size) // 2
        inner = slice(start, start + self.size)
        return self._degrade(rng, blurred[inner, inner]), sharp[inner, inner]

    def _degrade(self, rng: np.random.Generator, blurred: Floats) -> Floats:
        options = self.options
        return degrade(rng, blurred, options.noise, options.jpeg, options.video, options.sensor)

    def _sharp_crop(self, rng: np.random.Generator, size: int) -> Floats:
        if rng.random() < self.options.text:
            return render_text(rng, size)
        large = self._large_pictures(size)
        (crop,) = self._crop(rng, size, self._reduction(rng), self.pictures[large[rng.integers(len(large))]])
        if not self.options.recolour:
            return _mapped(crop, _CODES)
        gamma, gain = np.exp(rng.normal(0, 0.2)), rng.uniform(0.7, 1.1)
        return _mapped(crop, np.clip(_CODES**gamma * gain, 0, 1).astype(np.float32))

    def _large_pictures(self, side: int) -> list[Path]:
        """Sharp pictures of at least this height and width."""
        if side not in self._large:
            self._large[side] = [path for path in self.sharp if self._sides[path] >= side]
        return self._large[side]

    def _reduction(self, rng: np.random.Generator) -> float:
        return min(1.0, rng.uniform(self.options.min_scale, 1.1))

    def _crop(self, rng: np.random.Generator, size: int, scale: float, *pictures: Picture) -> list[Picture]:
        """Crop the same square from each picture, scaled by a factor or by the least that fits."""
        height, width = pictures[0].shape[:2]
        scale = max(scale, size / min(height, width))
        # Flat areas such as sky and walls teach little: of three windows, take the one with the most edges.
        side = min(round(size / scale), height, width)
        windows = [_window(rng, (height, width), side) for _ in range(3)]
        window = max(windows, key=lambda window: _edges(pictures[-1][window]))
        how = cv2.INTER_AREA if scale <= 1 else cv2.INTER_CUBIC
        return [
            np.asarray(cv2.resize(p[window], (size, size), interpolation=how), np.uint8) for p in pictures
        ]


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


_LONG_SCALE = (0.4, 0.85)
_FEWEST_FRAMES, _MOST_FRAMES = 7, 13  # Nah et al., CVPR 2017, section 2


_CODES = np.arange(256, dtype=np.float32) / np.float32(255)
"""All 256 code values in [0, 1], for lookup tables, which are faster than arithmetic per pixel."""


def _mapped(picture: Picture, values: Floats) -> Floats:
    """Look up each code value: (H, W, 3) uint8 to float32, given a (256,) float32 table."""
    return np.asarray(cv2.LUT(np.ascontiguousarray(picture), values), np.float32)


def _window(rng: np.random.Generator, shape: tuple[int, int], size: int) -> tuple[slice, slice]:
    top, left = (int(rng.integers(0, extent - size + 1)) for extent in shape)
    return slice(top, top + size), slice(left, left + size)


def _edges(picture: Picture) -> float:
    """Mean absolute gradient of the green channel of every fourth pixel: contours, not fine texture."""
    coarse = picture[::4, ::4, 1].astype(np.int16)
    return float(sum(np.abs(np.diff(coarse, axis=axis)).mean() for axis in (0, 1)))


def _augment(rng: np.random.Generator, *pictures: Floats) -> list[Floats]:
    """Apply one of the eight symmetries of the square to all pictures."""
    turns, mirror = int(rng.integers(4)), rng.random() < 0.5
    return [np.rot90(p[:, ::-1] if mirror else p, turns) for p in pictures]


def to_floats(codes: Tensor, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    """Convert uint8 code values (N, 3, H, W) to float32 in [-1, 1]."""
    return codes.contiguous(memory_format=layout).float().div_(127.5).sub_(1)
