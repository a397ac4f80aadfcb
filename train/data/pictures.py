"""Pictures on disk: reading, finding pairs and clips, and reporting damage before a run starts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from train.errors import DataError

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Pair = tuple[Path, Path]
"""A blurred picture and its sharp counterpart."""

Triple = tuple[Pair, Pair, Pair]
"""Pairs of three consecutive frames."""

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
_NUMBERED = re.compile(r"(.*?)(\d+)")


def read_picture(path: Path) -> Picture:
    """Read a picture as (H, W, 3) uint8 RGB.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with Image.open(path) as image:  # OpenCV would accept a truncated JPEG
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"cannot read {path} as a picture: {error}; remove it or replace it") from None


def write_picture(path: Path, picture: Picture) -> None:
    """Write an (H, W, 3) uint8 RGB picture in the format of the path's extension."""
    try:
        Image.fromarray(picture).save(path, quality=95, subsampling="4:4:4")
    except OSError as error:
        raise DataError(f"cannot write the picture {path}: {error}") from None


def sharpness(picture: Picture) -> float:
    """Variance of the Laplacian of the grey picture (Pech-Pacheco et al., ICPR 2000)."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def list_pictures(folder: str | Path) -> list[Path]:
    """List the pictures in a folder, sorted by name.

    Raises:
        DataError: there are none.
    """
    inside = Path(folder).iterdir() if Path(folder).is_dir() else ()
    found = sorted(path for path in inside if path.suffix.lower() in EXTENSIONS)
    if not found:
        where = f"no pictures in {folder}" if Path(folder).is_dir() else f"the folder {folder} does not exist"
        raise DataError(f"{where}; expected {', '.join(sorted(EXTENSIONS))} files")
    return found


def find_pairs(folder: str | Path, blurred: str = "blur") -> list[Pair]:
    """Find the pairs in a folder, matched by name.

    Args:
        folder: contains `blur/` and `sharp/`, or scenes that do, like GoPro's `train/` and `test/` (Nah et
            al., CVPR 2017).
        blurred: name of the folder of blurred pictures; GoPro also has `blur_gamma`.

    Raises:
        DataError: there are none, or one lacks its counterpart.
    """
    root = Path(folder)
    scenes = [root] if (root / blurred).is_dir() else sorted(p.parent for p in root.glob(f"*/{blurred}"))
    if not scenes:
        where = f"no pairs in {folder}" if root.is_dir() else f"the folder {folder} does not exist"
        raise DataError(f"{where}; expected {blurred}/ and sharp/ in it, or in each of its folders")
    pairs = [
        (path, scene / "sharp" / path.name) for scene in scenes for path in list_pictures(scene / blurred)
    ]
    for path, twin in pairs:
        if not twin.is_file():
            raise DataError(f"{path} has no sharp twin; expected {twin}")
    return pairs


def find_triples(pairs: Iterable[Pair]) -> list[Triple]:
    """Find all pairs that have neighbours in time, each between the pair before and the pair after.

    Frames are consecutive if they are in the same folder, and the numbers at the end of their names are, and
    the names are otherwise equal.
    """
    numbered: dict[tuple[Path, str, int], Pair] = {}
    for pair in pairs:
        if match := _NUMBERED.fullmatch(pair[0].stem):
            numbered[pair[0].parent, match[1], int(match[2])] = pair
    triples = []
    for scene, prefix, number in sorted(numbered):
        before, current, after = (numbered.get((scene, prefix, number + step)) for step in (-1, 0, 1))
        if before and current and after:
            triples.append((before, current, after))
    return triples


def find_clips(folder: str | Path) -> list[list[Path]]:
    """Find clips of consecutive sharp frames: the folder itself, or each folder in it.

    Raises:
        DataError: there are none.
    """
    inner = sorted(path for path in Path(folder).glob("*") if path.is_dir())
    return [list_pictures(clip) for clip in inner or [Path(folder)]]


class Pictures:
    """Pictures by path. Each is decoded once on creation, so that damage is found before a run.

    Args:
        paths: paths of the pictures.
        cache_mib: memory for decoded pictures; those that do not fit are read again when needed.

    Attributes:
        sizes: (height, width) of every picture.

    Raises:
        DataError: a picture cannot be read.
    """

    def __init__(self, paths: Iterable[Path], cache_mib: int) -> None:
        self.sizes: dict[Path, tuple[int, int]] = {}
        self._kept: dict[Path, Picture] = {}
        wanted = list(dict.fromkeys(paths))
        room = cache_mib * 2**20
        threads = os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as executor:
            # In slices, to limit the number of decoded pictures in memory.
            for start in range(0, len(wanted), 4 * threads):
                some = wanted[start : start + 4 * threads]
                for path, picture in zip(some, executor.map(read_picture, some), strict=True):
                    self.sizes[path] = picture.shape[:2]
                    if picture.nbytes <= room:
                        room -= picture.nbytes
                        self._kept[path] = picture

    def __getitem__(self, path: Path) -> Picture:
        """Return the decoded picture."""
        kept = self._kept.get(path)
        return read_picture(path) if kept is None else kept

    def check_pairs(self, pairs: Iterable[Pair]) -> None:
        """Raise DataError if the pictures of a pair differ in size."""
        for blurred, sharp in pairs:
            self._check_size(blurred, sharp, "its sharp twin")

    def check_triples(self, triples: Iterable[Triple]) -> None:
        """Raise DataError if three consecutive frames differ in size."""
        for before, current, after in triples:
            for other in (before, after):
                self._check_size(current[0], other[0], f"{other[0]}, next to it in time,")

    def _check_size(self, path: Path, other: Path, words: str) -> None:
        """Raise DataError if another picture, described by `words`, differs in size."""
        (h, w), (other_h, other_w) = self.sizes[path], self.sizes[other]
        if (h, w) != (other_h, other_w):
            raise DataError(
                f"{path} is {h}×{w} but {words} {other_h}×{other_w} (height×width); expected one size"
            )

    def check_crop(self, size: int) -> None:
        """Raise DataError if a picture is smaller than the crop size `size`."""
        path, (h, w) = min(self.sizes.items(), key=lambda item: min(item[1]))
        if min(h, w) < size:
            raise DataError(
                f"the crop is {size}×{size} but {path} only {h}×{w} (height×width); make the crop smaller"
            )
