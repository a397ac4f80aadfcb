"""Cameras of this machine."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from av.device import enumerate_input_devices
from av.error import FFmpegError

_SYSFS = Path("/sys/class/video4linux")
_FORMATS = {"darwin": "avfoundation", "win32": "dshow"}


@dataclass(frozen=True, slots=True)
class CameraName:
    """A camera as users choose it.

    Attributes:
        number: number to open it by.
        name: what its maker calls it, printable and in one line.
        device: path of its device, '' if the system has none.
    """

    number: int
    name: str
    device: str = ""


def cameras() -> list[CameraName]:
    """Cameras connected to this machine, by number; none is opened."""
    if sys.platform.startswith("linux"):
        return sorted(_linux_cameras(_SYSFS), key=lambda camera: camera.number)
    try:
        devices = enumerate_input_devices(_FORMATS.get(sys.platform, "v4l2"))
    except (FFmpegError, ValueError):  # this build of PyAV has no such devices
        return []
    videos = [d for d in devices if "video" in d.media_types or not d.media_types]
    return [CameraName(i, _printable(d.description or d.name)) for i, d in enumerate(videos)]


def _linux_cameras(folder: Path) -> Iterator[CameraName]:
    """Read what the kernel lists: a camera's first device captures, its others carry metadata."""
    for entry in folder.glob("video*"):
        number = re.fullmatch(r"video(\d+)", entry.name)
        index = _read(entry / "index")
        if number and index in ("", "0"):
            name = _read(entry / "name") or entry.name
            yield CameraName(int(number[1]), _printable(name), f"/dev/{entry.name}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _printable(name: str) -> str:
    """Make a device's name, which may contain anything, safe for a terminal."""
    return "".join(c if c.isprintable() else "�" for c in name)
