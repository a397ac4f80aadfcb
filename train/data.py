"""Training pairs: crops of sharp photographs blurred on the fly, and of real blurred and sharp pairs.

Every example follows from (seed, index) alone, so a resumed run sees the same examples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from train.blur import BlurOptions, blur

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


class DataError(Exception):
    """The data are missing or damaged; one line says which file and what was expected."""


@dataclass(frozen=True)
class DataOptions:
    """What is trained on.

    Attributes:
        sharp: folders of sharp pictures, blurred on the fly.
        pairs: folders that hold `blur/` and `sharp/` with the same file names.
        real: share of examples taken from the pairs.
        text: share of sharp crops that are rendered text.
        noise: largest standard deviation of the noise on the blurred picture, code values of 255.
        jpeg: share of blurred crops that are compressed as JPEG, quality 60 to 98.
        blur: what blur is drawn.
    """

    sharp: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    real: float = 0.35
    text: float = 0.08
    noise: float = 3.0
    jpeg: float = 0.4
    blur: BlurOptions = field(default_factory=BlurOptions)


def read_picture(path: Path) -> Picture:
    """Read a picture as (H, W, 3) uint8 RGB; DataError names a file that cannot be read."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise DataError(f"cannot read {path} as a picture; remove it or replace it")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def list_pictures(folder: str | Path) -> list[Path]:
    """The pictures in a folder by name; DataError where there are none."""
    found = (
        sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in EXTENSIONS)
        if Path(folder).is_dir()
        else []
    )
    if not found:
        raise DataError(f"no pictures in {folder}; expected {', '.join(sorted(EXTENSIONS))} files")
    return found


def read_pairs(folder: str | Path) -> list[tuple[Picture, Picture]]:
    """The pairs of `folder/blur` and `folder/sharp`, matched by name, blurred first."""
    pairs = []
    for path in list_pictures(Path(folder) / "blur"):
        blurred, sharp = read_picture(path), read_picture(Path(folder) / "sharp" / path.name)
        if blurred.shape != sharp.shape:
            raise DataError(
                f"{path} is {blurred.shape[:2]} but its sharp twin {sharp.shape[:2]}; expected one size"
            )
        pairs.append((blurred, sharp))
    return pairs


def _window(rng: np.random.Generator, shape: tuple[int, int], size: int) -> tuple[slice, slice]:
    top, left = (int(rng.integers(0, extent - size + 1)) for extent in shape)
    return slice(top, top + size), slice(left, left + size)


def _random_crop(rng: np.random.Generator, size: int, *pictures: Picture) -> list[Floats]:
    """The same square of each picture at a random scale of at most 1 (smaller is sharper): float32 in [0, 1]."""
    height, width = pictures[0].shape[:2]
    scale = min(1.0, max(rng.uniform(0.45, 1.1), size / min(height, width)))
    for _ in range(3):  # sky and walls teach little: look again, twice
        window = _window(rng, (height, width), min(round(size / scale), height, width))
        if pictures[-1][window][::4, ::4].std() > 25:
            break
    return [
        cv2.resize(p[window], (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        for p in pictures
    ]


def _render_text(rng: np.random.Generator, size: int) -> Floats:
    """Lines of random words on a plain or shaded ground: (size, size, 3) float32 in [0, 1]."""
    from PIL import Image, ImageDraw, ImageFont

    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:-?!&")
    ground, ink = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    ink = np.where(np.abs(ink - ground) < 90, (ground + 128) % 256, ink)
    canvas = Image.new("RGB", (size, size), tuple(int(c) for c in ground))
    draw = ImageDraw.Draw(canvas)
    y = float(rng.uniform(-10, 10))
    while y < size:
        height = float(rng.uniform(10, 48))
        words = "".join(rng.choice(letters, int(rng.integers(8, 40))))
        spaced = " ".join(words[i : i + 6] for i in range(0, len(words), 6))
        draw.text(
            (rng.uniform(-20, 20), y), spaced, tuple(int(c) for c in ink), ImageFont.load_default(height)
        )
        y += height * rng.uniform(1.1, 1.6)
    return np.asarray(canvas, np.float32) / 255


class TrainingPairs(Dataset[tuple[Tensor, Tensor]]):
    """Blurred and sharp crops, (3, size, size) float32 in [-1, 1], endless by index.

    Args:
        options: what is trained on; everything is read and checked now.
        size: side of the square crops, pixels.
        seed: of every random choice.
    """

    def __init__(self, options: DataOptions, size: int, seed: int) -> None:
        self.options, self.size, self.seed = options, size, seed
        self.pairs = [pair for folder in options.pairs for pair in read_pairs(folder)]
        self.sharp = [read_picture(path) for folder in options.sharp for path in list_pictures(folder)]
        self.sharp += [sharp for _, sharp in self.pairs]
        if not self.sharp:
            raise DataError("no training data; expected at least one folder under 'sharp' or 'pairs'")
        smallest = min(min(p.shape[:2]) for p in self.sharp)
        if size > smallest:
            raise DataError(
                f"crop size is {size} but the smallest picture has a side of {smallest}; make the crop smaller"
            )

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The pair number `index`, blurred and sharp."""
        rng = np.random.default_rng([self.seed, index])
        make = self._real if self.pairs and rng.random() < self.options.real else self._synthetic
        blurred, sharp = _augment(rng, *make(rng))
        return _to_tensor(blurred), _to_tensor(sharp)

    def _real(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        crops = _random_crop(rng, self.size, *self.pairs[rng.integers(len(self.pairs))])
        # The blur of these pairs is a mean of code values, with which any affine map of the channels commutes.
        order = rng.permutation(3)
        gain, offset = rng.uniform(0.7, 1.15), rng.uniform(-0.05, 0.1)
        blurred, sharp = (np.clip(crop[..., order] * gain + offset, 0, 1) for crop in crops)
        return blurred, sharp

    def _synthetic(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        # A margin keeps the mirrored border of the convolution out of the crop.
        margin = int(self.options.blur.max_length // 2) + 4
        limit = min(min(p.shape[:2]) for p in self.sharp)
        full = min(self.size + 2 * margin, limit)
        sharp = self._sharp_crop(rng, full)
        blurred, sharp = blur(sharp, rng, self.options.blur, lambda: self._sharp_crop(rng, full))
        start = (full - self.size) // 2
        inner = slice(start, start + self.size)
        return _degrade(rng, blurred[inner, inner], self.options), sharp[inner, inner]

    def _sharp_crop(self, rng: np.random.Generator, size: int) -> Floats:
        if rng.random() < self.options.text:
            return _render_text(rng, size)
        (crop,) = _random_crop(rng, size, self.sharp[rng.integers(len(self.sharp))])
        return np.clip(
            crop ** np.float32(np.exp(rng.normal(0, 0.2))) * np.float32(rng.uniform(0.7, 1.1)), 0, 1
        )


def _degrade(rng: np.random.Generator, picture: Floats, options: DataOptions) -> Floats:
    """Sensor noise (half of the crops) and compression, on the blurred picture."""
    if rng.random() < 0.5:
        sigma = rng.uniform(0, options.noise) / 255
        picture = picture + rng.standard_normal(picture.shape, np.float32) * np.float32(sigma)
    if rng.random() < options.jpeg:
        code = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
        _, data = cv2.imencode(".jpg", code[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 99))])
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
    # What a decoder hands over is 8 bits.
    return np.round(np.clip(picture, 0, 1) * 255) / 255


def _augment(rng: np.random.Generator, *pictures: Floats) -> list[Floats]:
    """The same one of the eight symmetries of the square for all."""
    turns, mirror = int(rng.integers(4)), rng.random() < 0.5
    return [np.rot90(p[:, ::-1] if mirror else p, turns) for p in pictures]


def _to_tensor(picture: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32)) * 2 - 1
