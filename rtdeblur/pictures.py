"""Picture formats by extension, and what each can hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PictureKind:
    """A picture format.

    Attributes:
        name: Pillow's name.
        endings: file extensions, the usual one first.
        depth: most bits per sample that are written.
        alpha: whether it holds transparency.
        animated: whether it holds several pictures with times.
        exif: whether it holds EXIF, the orientation included.
        icc: whether it holds a colour profile.
        xmp: whether it holds XMP.
        dpi: whether it holds a resolution.
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


KINDS = (
    PictureKind("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), dpi=True),
    PictureKind("PNG", (".png", ".apng"), depth=16, alpha=True, animated=True, dpi=True),
    PictureKind("TIFF", (".tif", ".tiff"), depth=16, alpha=True, dpi=True),
    PictureKind("WEBP", (".webp",), alpha=True, animated=True),
    PictureKind("GIF", (".gif",), alpha=True, animated=True, exif=False, icc=False, xmp=False),
    PictureKind("BMP", (".bmp", ".dib"), exif=False, icc=False, xmp=False, dpi=True),
    PictureKind("AVIF", (".avif",), alpha=True, animated=True),
    PictureKind("HEIF", (".heic", ".heif", ".hif"), depth=10, alpha=True),
)

_BY_ENDING = {ending: kind for kind in KINDS for ending in kind.endings}
_BY_NAME = {kind.name: kind for kind in KINDS} | {"MPO": KINDS[0]}  # JPEG with further pictures behind it


def kind_of(path: Path) -> PictureKind | None:
    """The format that a file name's extension stands for; None if that is not a picture."""
    return _BY_ENDING.get(path.suffix.lower())


def kind_named(name: str) -> PictureKind:
    """The format by Pillow's name."""
    return _BY_NAME[name]


def names() -> tuple[str, ...]:
    """Pillow's names of all formats that are read."""
    return tuple(_BY_NAME)
