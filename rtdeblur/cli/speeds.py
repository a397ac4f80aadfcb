"""Speeds measured by `rtdeblur bench`, kept for `rtdeblur models`."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from rtdeblur import files
from rtdeblur.decode import DecodeError, from_json

_MOST_BYTES = 1 << 20
_MOST_MODELS = 1000


@dataclass(frozen=True)
class Speed:
    """How fast a model ran on this machine.

    Attributes:
        fps: frames per second of inference.
        width: of the frames.
        height: of the frames.
        where: backend and device.
        day: of the measurement, as 2026-01-31.
    """

    fps: float
    width: int
    height: int
    where: str
    day: str

    def __str__(self) -> str:
        return f"{self.fps:.3g} fps at {self.width}×{self.height} on {self.where} ({self.day})"


def measured() -> dict[str, Speed]:
    """Return the speeds by sha256 of the model; {} if nothing was measured."""
    with suppress(OSError, DecodeError):
        return from_json(dict[str, Speed], files.read_own(_path(), _MOST_BYTES))
    return {}


def record(sha256: str, fps: float, size: tuple[int, int], where: str) -> None:
    """Keep a speed in place of the model's last one; nothing happens if the cache cannot be written.

    Args:
        sha256: of the model.
        fps: frames per second of inference.
        size: height and width of the frames.
        where: backend and device.
    """
    height, width = size
    speeds = measured() | {sha256: Speed(round(fps, 3), width, height, where, date.today().isoformat())}
    newest = dict(list(speeds.items())[-_MOST_MODELS:])
    with suppress(OSError):
        _path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write_whole(_path(), json.dumps({key: asdict(speed) for key, speed in newest.items()}).encode())


def _path() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("rtdeblur", appauthor=False) / "speeds.json"
