"""Self-contained training folder for a machine with a GPU and PyTorch but no network.

The folder contains the trainer, the packages missing from an image with PyTorch, NumPy, OpenCV and
safetensors, the initial weights, the pictures, reduced until they fit, and `run.toml`.
"""

from __future__ import annotations

import importlib.metadata
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import cv2
from PIL import Image
from safetensors.torch import save_file

from train.data.pairs import DataOptions
from train.data.pictures import find_pairs, list_pictures, read_picture
from train.errors import ConfigError
from train.fit.checkpoint import start_from
from train.fit.config import Config
from train.fit.options import to_table
from train.measure.card import as_toml

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "lightning-fabric",
    "lightning-utilities",
    "packaging",
    "typing-extensions",
    "click",
    "rich",
    "pillow",
)
"""Packages imported by `fit` that an image with PyTorch may lack."""
ARCHIVE = "packages.tar.xz"
"""Archive of the packages, which would take five times as much space unpacked."""
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 27, 28, 31, 34, 35)] + [
    "manylinux2014_x86_64"
]
_NEEDLESS = ("*/__pycache__/*", "*.pyi", "PIL/_avif*", "pillow.libs/libavif*", "*/tests/*", "../*")
"""Files of the packages that `fit` does not need."""
_SHARE_OF_PAIRS = 0.45
"""The pairs' share of the space for pictures; the rest is for sharp pictures."""


@dataclass(frozen=True)
class Level:
    """Level of size reduction for pictures.

    Attributes:
        side: longest side, pixels.
        quality: quality of WebP, 0 to 100.
        every: keep one in this many pictures.
    """

    side: int
    quality: int
    every: int = 1


PAIR_LEVELS = [
    *(Level(1440, quality) for quality in (92, 86, 80)),
    *(Level(side, 80, every) for every in (2, 3) for side in (1280, 1024, 896)),
    *(Level(768, 75, every) for every in (4, 8, 16, 32)),
]
"""Levels, best first. Frames of a clip are similar, so dropping some comes before losing detail."""
SHARP_LEVELS = [
    Level(1440, 92),
    *(Level(side, 84) for side in (1440, 1280, 1024, 896, 768)),
    *(Level(side, 78) for side in (640, 512, 448)),
    *(Level(512, 78, every) for every in (2, 4, 8, 16, 32)),
]


def pack(config: Config, start: Path, output: Path, mib: float, python: str) -> list[str]:
    """Write the training folder.

    Args:
        config: configuration of the run, whose data are packed.
        start: checkpoint or bundle with the weights to start from.
        output: the folder; output of an earlier call is replaced.
        mib: maximum size.
        python: Python version of the target machine, such as 3.12.

    Returns:
        lines on what was packed.

    Raises:
        ConfigError: the folder contains something else, or the size limit is too low.
        DataError: a picture cannot be read.
    """
    if output.exists() and any(output.iterdir()) and not (output / ARCHIVE).exists():
        raise ConfigError(
            f"{output} contains something else; expected a new folder, or one from an earlier pack"
        )
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    _copy_code(output)
    generator = config.generator.build()
    start_from(start, generator)
    save_file(
        {name: value.half() for name, value in generator.state_dict().items()}, output / "start.safetensors"
    )
    write_packages(output / ARCHIVE, python)
    room = int(mib * 2**20) - size_of(output) - 2**16
    data, lines = pack_data(config.data, output / "data", room)
    packed = replace(config, data=data, start="start.safetensors", output="run", weights="")
    (output / "run.toml").write_text(as_toml(to_table(packed)) + "\n", encoding="utf-8")
    return [*lines, f"{output}: {size_of(output) / 2**20:.1f} MiB"]


def size_of(folder: Path) -> int:
    """Return the size of all files in a folder in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _copy_code(output: Path) -> None:
    for package in ("train", "rtdeblur"):
        for path in sorted((ROOT / package).rglob("*.py")):
            copy = output / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    (output / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "on_gpu.sh", output / "scripts")


def write_packages(archive: Path, python: str) -> None:
    """Write the installed packages to a tar file.

    Those of this Python are copied; for another version wheels are downloaded.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for name, data in _installed() if python == here else _downloaded(python):
            if not any(fnmatch(name, pattern) for pattern in _NEEDLESS):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o644
                tar.addfile(info, io.BytesIO(data))


def _installed() -> Iterable[tuple[str, bytes]]:
    for package in PACKAGES:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(f"{package} is not installed; try: pip install -e '.[train]'") from None
        for file in files:
            path = Path(str(file.locate()))
            if path.is_file():
                yield str(file), path.read_bytes()


def _downloaded(python: str) -> Iterable[tuple[str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", python, "--implementation", "cp", *platforms, "-d", folder, *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ConfigError(
                f"cannot download wheels for Python {python}: {reason}; check the network connection"
            )
        for wheel in sorted(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(wheel) as file:
                yield from ((name, file.read(name)) for name in file.namelist() if not name.endswith("/"))


def pack_data(options: DataOptions, folder: Path, room: int) -> tuple[DataOptions, list[str]]:
    """Write a run's pictures to a folder, reduced to at most `room` bytes.

    Returns:
        the options for reading them, relative to the folder's parent; summary lines.

    Raises:
        ConfigError: they do not fit even at the smallest level.
    """
    if options.clips:
        raise ConfigError(
            "clips cannot be packed; leave them out, e.g. --set data.clips=[] --set data.averaged=0"
        )
    lines, new = (
        [],
        replace(options, exclude=(), video=0.0),
    )  # H.264 needs a library that the target machine lacks
    pairs = [pair for source in options.pairs for pair in find_pairs(source, options.blurred)]
    pairs = [pair for pair in pairs if not _excluded(options, pair[0])]
    if pairs:
        share = _SHARE_OF_PAIRS if options.sharp else 1.0
        level, files = _fit(pairs, PAIR_LEVELS, int(room * share))
        for i, file in enumerate(files):
            _write(folder / "pairs" / ("blur", "sharp")[i % 2] / f"{i // 2:04d}.webp", file)
        lines.append(_line("pairs", len(files) // 2, len(pairs), level, files))
        room -= sum(map(len, files))
        new = replace(new, pairs=(f"{folder.name}/pairs",), blurred="blur")
    sharp = [path for source in options.sharp for path in list_pictures(source)]
    sharp = [path for path in sharp if not _excluded(options, path)]
    if sharp:
        level, files = _fit([(path,) for path in sharp], SHARP_LEVELS, room)
        for i, file in enumerate(files):
            _write(folder / "sharp" / f"{i:04d}.webp", file)
        lines.append(_line("sharp pictures", len(files), len(sharp), level, files))
        new = replace(new, sharp=(f"{folder.name}/sharp",))
    return new, lines


def _excluded(options: DataOptions, path: Path) -> bool:
    return any(fnmatch(path.name, pattern) for pattern in options.exclude)


def _fit(groups: Sequence[Sequence[Path]], levels: Sequence[Level], room: int) -> tuple[Level, list[bytes]]:
    """Return the first level at which the pictures fit, and their files; groups stay together."""
    for level in levels:
        chosen = groups[:: level.every]
        # A sample shows whether encoding all is worthwhile.
        some = chosen[:: max(1, len(chosen) // 8)]
        guess = sum(len(file) for file in _encoded(some, level)) / len(some) * len(chosen)
        if guess > 1.1 * room:
            continue
        files = _encoded(chosen, level)
        if sum(map(len, files)) <= room:
            return level, files
    raise ConfigError(
        f"{len(groups)} pictures or pairs do not fit into {room / 2**20:.1f} MiB; allow more with PACK_MIB"
    )


def _encoded(groups: Iterable[Sequence[Path]], level: Level) -> list[bytes]:
    def encode(path: Path) -> bytes:
        picture = read_picture(path)
        scale = min(1.0, level.side / max(picture.shape[:2]))
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        data = io.BytesIO()
        Image.fromarray(small).save(data, "webp", quality=level.quality, method=4)
        return data.getvalue()

    with ThreadPoolExecutor() as executor:
        return list(executor.map(encode, [path for group in groups for path in group]))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _line(what: str, count: int, total: int, level: Level, files: list[bytes]) -> str:
    size = sum(map(len, files)) / 2**20
    return f"{count} of {total} {what}, up to {level.side} pixels, WebP {level.quality}: {size:.1f} MiB"
