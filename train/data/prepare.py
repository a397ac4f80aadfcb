"""Preparation of downloaded data sets for `fit`: layout, checks, and a summary."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import cv2

from train.data.pictures import (
    EXTENSIONS,
    Picture,
    Pictures,
    find_pairs,
    read_picture,
    sharpness,
    write_picture,
)
from train.errors import DataError

GOPRO_PAIRS = {"train": 2103, "test": 1111}
"""Nah et al., CVPR 2017, section 2."""
REDS_PAIRS = {"train": 24000, "val": 3000}
"""Nah et al., NTIRE 2019, table 1."""


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a ZIP file and return its folder; a folder is returned unchanged.

    Raises:
        DataError: neither a folder nor an intact ZIP file.
    """
    if archive.is_dir():
        return archive
    try:
        with ZipFile(archive) as file:
            file.extractall(folder)
    except (OSError, BadZipFile) as error:
        raise DataError(f"cannot unpack {archive}: {error}; download it again") from None
    return folder


def check_pairs(folder: Path, expected: int) -> str:
    """Decode every pair of a folder; return a summary line.

    Raises:
        DataError: a pair is missing or damaged.
    """
    pairs = find_pairs(folder)
    Pictures([path for pair in pairs for path in pair], cache_mib=0).check_pairs(pairs)
    scenes = len({path.parent for path, _ in pairs})
    missing = "" if len(pairs) == expected else f"; the whole set has {expected}"
    return f"{folder}: {len(pairs)} pairs of {scenes} scenes are intact{missing}"


def prepare_gopro(source: Path, folder: Path) -> list[str]:
    """Check GoPro (Nah et al., CVPR 2017), GOPRO_Large as ZIP or unpacked, and link its parts into a folder.

    Returns:
        a summary line each for `folder/train` and `folder/test`.
    """
    root = unpack(source, folder / "unpacked")
    lines = []
    for part, expected in GOPRO_PAIRS.items():
        found = [path for path in [root / part, *root.glob(f"*/{part}")] if path.is_dir()]
        if not found:
            raise DataError(f"no folder {part} in {root}; expected GOPRO_Large with train/ and test/")
        _link(found[0], folder / part)
        lines.append(check_pairs(folder / part, expected))
    return lines


def prepare_reds(source: Path, folder: Path) -> list[str]:
    """Link REDS (Nah et al., NTIRE 2019) into GoPro's layout.

    Args:
        source: a folder that contains `train_sharp` and `train_blur`, and optionally those of `val`,
            anywhere.
        folder: receives `train/<scene>/{blur,sharp}` and `val/<scene>/{blur,sharp}`.

    Returns:
        a summary line per part.
    """
    lines = []
    for part, expected in REDS_PAIRS.items():
        for kind in ("blur", "sharp"):
            for scenes in source.rglob(f"{part}_{kind}"):
                for scene in sorted(path for path in scenes.iterdir() if path.name.isdecimal()):
                    _link(scene, folder / part / scene.name / kind)
        if (folder / part).is_dir():
            lines.append(check_pairs(folder / part, expected))
    if not lines:
        raise DataError(f"no train_sharp and train_blur below {source}; expected the unpacked files of REDS")
    return lines


def prepare_photos(source: Path, folder: Path, least_side: int, least_sharpness: float) -> str:
    """Copy photographs suitable for training (readable, large, sharp, unique) as PNG, large ones halved.

    Args:
        source: a folder, searched recursively.
        folder: output folder.
        least_side: least length of the shorter side, pixels.
        least_sharpness: least variance of the Laplacian.

    Returns:
        a summary line with the reasons for rejection.

    Raises:
        DataError: none is suitable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fates: Counter[str] = Counter()
    seen: set[str] = set()
    for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in EXTENSIONS):
        picture, fate = _judge(path, least_side, least_sharpness)
        if picture is not None:
            digest = hashlib.sha256(picture.tobytes()).hexdigest()
            fate = "twice" if digest in seen else "kept"
            seen.add(digest)
        if picture is not None and fate == "kept":
            write_picture(folder / f"{digest[:16]}.png", picture)
        fates[fate] += 1
    if not fates["kept"]:
        raise DataError(f"no photograph in {source} is usable: {_tell(fates) or 'there are none'}")
    return f"{folder}: {_tell(fates)}"


def _judge(path: Path, least_side: int, least_sharpness: float) -> tuple[Picture | None, str]:
    """Return the picture to keep, or None and the reason."""
    try:
        picture = read_picture(path)
    except DataError:
        return None, "unreadable"
    # Halving hides JPEG blocks and the softness of the lens.
    while min(picture.shape[:2]) >= 4 * least_side:
        picture = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if min(picture.shape[:2]) < least_side:
        return None, f"smaller than {least_side}"
    if sharpness(picture) < least_sharpness:
        return None, "not sharp"
    return picture, "kept"


def _tell(fates: Counter[str]) -> str:
    return ", ".join(f"{count} {fate}" for fate, count in fates.most_common())


def _link(target: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    if link.exists():
        raise DataError(f"{link} already exists; expected an empty output folder")
    link.symlink_to(target.resolve(), target_is_directory=True)
