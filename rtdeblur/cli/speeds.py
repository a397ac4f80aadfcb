"""Speeds measured by `rtdeblur bench`, kept for `rtdeblur models`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from rtdeblur import cache

_FILE = "speeds.json"


@dataclass(frozen=True)
class Speed:
    """Speed of a model on this machine.

    Attributes:
        fps: frames per second of inference.
        width: width of the frames in pixels.
        height: height of the frames in pixels.
        where: backend and device.
        day: date of the measurement, such as 2026-01-31.
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
    return cache.read(_FILE, Speed)


def record(sha256: str, fps: float, size: tuple[int, int], where: str) -> None:
    """Keep a speed in place of the model's last one; nothing happens if the cache cannot be written.

    Args:
        sha256: checksum of the model.
        fps: frames per second of inference.
        size: height and width of the frames.
        where: backend and device.
    """
    height, width = size
    cache.add(_FILE, sha256, Speed(round(fps, 3), width, height, where, date.today().isoformat()))
