"""Picture formats by extension, and what each can store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PictureKind:
    """A picture format.

    Attributes:
        name: Pillow's name.
        endings: file extensions, the usual one first.
        depth: most bits per sample written.
        alpha: whether it can store transparency.
        animated: whether it can store several pictures with timing.
        exif: whether it can store EXIF, including the orientation.
        icc: whether it can store a colour profile.
        xmp: whether it can store XMP.
        dpi: whether it can store a resolution.
        video: whether FFmpeg reads an animation like a video, with its rate and length.
    """

    name: str
    endings: tuple[str, ...]
    depth: int = 8
    alpha: bool = False
    animated: bool = False
    exif: bool = True
    icc: bool = True
    xmp: bool = True
    dpi: bool = False
    video: bool = False


KINDS = (
    PictureKind("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), dpi=True),
    PictureKind("PNG", (".png", ".apng"), depth=16, alpha=True, animated=True, dpi=True),
    PictureKind("TIFF", (".tif", ".tiff"), depth=16, alpha=True, dpi=True),
    PictureKind("WEBP", (".webp",), alpha=True, animated=True),
    PictureKind("GIF", (".gif",), alpha=True, animated=True, exif=False, icc=False, xmp=False, video=True),
    PictureKind("BMP", (".bmp", ".dib"), exif=False, icc=False, xmp=False, dpi=True),
    PictureKind("AVIF", (".avif",), alpha=True, animated=True),
    PictureKind("HEIF", (".heic", ".heif", ".hif"), depth=10, alpha=True),
)

_BY_ENDING = {ending: kind for kind in KINDS for ending in kind.endings}
_BY_NAME = {kind.name: kind for kind in KINDS} | {"MPO": KINDS[0]}  # JPEG followed by further pictures


def kind_of(path: Path) -> PictureKind | None:
    """Return the format for a file name's extension; None if it is not a picture."""
    return _BY_ENDING.get(path.suffix.lower())


def kind_named(name: str) -> PictureKind:
    """Return the format by Pillow's name."""
    return _BY_NAME[name]


def names() -> tuple[str, ...]:
    """Return Pillow's names of all readable formats."""
    return tuple(_BY_NAME)
