"""Reader of photos and animations."""

from __future__ import annotations

import io
import shlex
import struct
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from rtdeblur.errors import DependencyError, InputError
from rtdeblur.ffmpeg.container import MAX_PIXELS, reason
from rtdeblur.frames import Frame, VideoInfo
from rtdeblur.media.photos import deep
from rtdeblur.media.photos.still import Still
from rtdeblur.pictures import PictureKind, kind_named, kind_of, names
from rtdeblur.plurals import counted

_CONVERTED = {
    "1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBX": "RGB",
    "RGBA": "RGBA", "RGBa": "RGBA", "YCbCr": "RGB", "HSV": "RGB",
    "I;16": "I;16", "I;16B": "I;16", "I;16L": "I;16",
}  # fmt: skip
"""Supported Pillow modes, and the mode each is restored in."""
_EXIF = b"Exif\0\0"
"""Prefix of EXIF data in a JPEG; other formats have none."""
_WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}
_PRINT = {"CMYK": "CMYK (for printing)", "LAB": "in CIELAB colour"}
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    struct.error,
    OverflowError,
    RuntimeError,
    AttributeError,
)
"""Exceptions that Pillow raises for damaged files and for unsupported content."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """Metadata of a picture file.

    Attributes:
        exif: unchanged EXIF bytes; None if there are none.
        upright_exif: EXIF for a picture that has been rotated upright.
        orientation: EXIF orientation, 1 to 8.
        icc_profile: colour profile.
        xmp: XMP packet.
        dpi: pixels per inch, across and down.
        comment: comment of a JPEG or a GIF.
        loop: number of repetitions of an animation, 0 for endless; None if not stated.
        same_kind: options for Pillow's writer in the same format: quantization tables, compression.
        png: descriptive chunks of a PNG.
    """

    exif: bytes | None = None
    upright_exif: bytes | None = None
    orientation: int = 1
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    loop: int | None = None
    same_kind: Mapping[str, Any] = field(default_factory=dict)
    png: bytes = b""


class PictureReader:
    """The pictures of an image file: a single one, or those of an animation (a `FrameSource`).

    Frames carry their `Still`; timestamps are in milliseconds.

    Args:
        path: the file; the format is detected from its content, not its name.
        max_pixels: the largest picture accepted, in pixels; checked before memory is allocated.

    Attributes:
        path: the file.
        kind: its format.
        metadata: its metadata.
        depth: bits per sample: 8, 16, or 10 and 12 of HEIC (whose samples are scaled to 16).
        count: number of pictures.
        warnings: one line per part of the file that is not read.

    Raises:
        InputError: it is missing, not a picture that can be restored, damaged, or too large.
        DependencyError: it is HEIC, and the package that reads it is not installed.
    """

    def __init__(self, path: str | Path, *, max_pixels: int = MAX_PIXELS) -> None:
        self.path = Path(path)
        self.warnings: list[str] = []
        self._lock, self._closed, self._begun = threading.Lock(), False, False
        with self._errors():
            data = _read(self.path)
            self._image = _open(self.path, data)
            width, height = self._image.size
            if width * height > max_pixels:
                raise InputError(
                    f"picture {str(path)!r} has {width}×{height} pixels, more than {max_pixels}; "
                    "if you trust it, raise --max-pixels"
                )
            self.kind: PictureKind = kind_named(self._image.format or "")
            self.depth = _depth(self._image, data)
            self.count = self._count()
            self._mode = self._target_mode()
            # Pillow rotates the pictures of a TIFF on loading.
            self._tiff_orientation = _orientation(self._image.getexif()) if self.kind.name == "TIFF" else 1
            self.metadata = _metadata(self._image, data, self.kind)
            if self.metadata.exif and not _is_exif(self.metadata.exif):
                self.warnings.append(f"{str(self.path)!r}: its EXIF data is damaged and not kept")
                self.metadata = replace(self.metadata, exif=None, upright_exif=None)
            self._data = data if self.depth > 8 else b""
        self._warn_about_depth(data)

    @property
    def info(self) -> VideoInfo:
        """Size and number of the pictures."""
        width, height = self._image.size
        return VideoInfo(height, width, self._image.mode, None, None, self.count)

    @property
    def is_animated(self) -> bool:
        """Whether the file has more than one picture."""
        return self.count > 1

    def __iter__(self) -> Iterator[Frame]:
        """Yield each picture once, with its time; yields nothing when called again or after `close`."""
        if self._begun:
            return
        self._begun = True
        milliseconds = 0
        for still in self.stills():
            yield still.frame(milliseconds)
            milliseconds += still.milliseconds

    def stills(self) -> Iterator[Still]:
        """Yield each picture once.

        Raises:
            InputError: it is damaged.
        """
        for index in range(self.count):
            with self._lock, self._errors():
                if self._closed:
                    return
                if self.is_animated:
                    self._image.seek(index)
                self._image.load()
                still = self._deep() if self.depth > 8 else self._still()
            yield still

    def close(self) -> None:
        """Close the file; may be called twice, and from another thread while this one reads."""
        with self._lock:
            self._closed = True
            self._image.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _still(self) -> Still:
        samples = np.asarray(self._image.convert(self._mode))
        shown = round(self._image.info.get("duration", 0)) if self.is_animated else 0
        return Still(samples.reshape(*samples.shape[:2], -1), shown)

    def _deep(self) -> Still:
        if self.kind.name == "HEIF":
            import pillow_heif

            samples = np.asarray(pillow_heif.open_heif(self._data, convert_hdr_to_8bit=False))
            return Still(samples.reshape(*samples.shape[:2], -1))
        still = Still(deep.decode(self._data, "png" if self.kind.name == "PNG" else "tiff"))
        if self.kind.name == "TIFF":
            still = still.upright(self._tiff_orientation)
        deep.check(still.samples, self._image)
        return still

    def _count(self) -> int:
        count = getattr(self._image, "n_frames", 1)
        if self.kind.animated or count == 1:
            return count
        if self._image.format != "MPO":  # further pictures in a phone's JPEG are depth maps and the like
            pages = counted(count - 1, "further page")
            self.warnings.append(f"{str(self.path)!r}: only the first page is restored; {pages} left out")
        return 1

    def _target_mode(self) -> str:
        mode, name = self._image.mode, shlex.quote(str(self.path))
        if mode in _PRINT:
            raise InputError(
                f"picture {str(self.path)!r} is {_PRINT[mode]}; expected grey or RGB; convert it first, e.g. "
                f"magick {name} -colorspace sRGB rgb.tif"
            )
        if mode not in _CONVERTED:
            raise InputError(
                f"picture {str(self.path)!r} has samples of type {mode!r}, expected 8 or 16 bits; "
                f"convert it first, e.g. magick {name} -depth 16 16-bit.tif"
            )
        if self.is_animated:
            return "RGBA"  # only later pictures may have alpha
        target = _CONVERTED[mode]
        return _WITH_ALPHA.get(target, target) if "transparency" in self._image.info else target

    def _warn_about_depth(self, data: bytes) -> None:
        bits = _avif_depth(data) if self.kind.name == "AVIF" else 8
        if self.is_animated and self.kind.name == "PNG" and data[24] == 16:
            bits = 16
        if bits > self.depth:
            self.warnings.append(f"{str(self.path)!r}: its {bits} bits per sample are read as {self.depth}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with without_warnings():
                yield
        except Image.DecompressionBombError:
            raise InputError(
                f"picture {str(self.path)!r} has more pixels than can be read: {2 * Image.MAX_IMAGE_PIXELS}"  # type: ignore[operator]
            ) from None
        except deep.DeepPictureError as error:
            raise InputError(f"cannot read picture {str(self.path)!r}: {error}") from None
        except MemoryError:
            raise InputError(f"picture {str(self.path)!r} does not fit into memory") from None
        except UNREADABLE as error:
            raise InputError(f"cannot read picture {str(self.path)!r}: {reason(error)}") from error


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress Pillow's warnings about malformed EXIF and the like."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(path: Path) -> bytes:
    if not path.exists():
        raise InputError(f"input {str(path)!r} does not exist; check the name")
    if not path.is_file():
        raise InputError(f"input {str(path)!r} is not a file, expected a picture")
    data = path.read_bytes()
    if not data:
        raise InputError(f"input {str(path)!r} is empty (0 bytes), expected a picture")
    return data


def _open(path: Path, data: bytes) -> Image.Image:
    Image.init()
    has_heif = register_heif()
    known = [name for name in names() if name in Image.OPEN]
    try:
        return Image.open(io.BytesIO(data), formats=known)
    except UnidentifiedImageError:
        named = kind_of(path)
        if named is not None and named.name == "HEIF" and not has_heif:
            raise DependencyError("pillow-heif", "heic", "reading HEIC pictures") from None
        raise InputError(f"cannot read picture {str(path)!r}: unknown format, or damaged") from None


@cache
def register_heif() -> bool:
    """Register HEIC with Pillow; return False if the package for it is missing."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _depth(image: Image.Image, data: bytes) -> int:
    if image.format == "PNG":
        return 16 if data[24] == 16 and getattr(image, "n_frames", 1) == 1 else 8  # IHDR: bit depth
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return 16 if 16 in image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, ()) else 8
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8))
    return 8


def _avif_depth(data: bytes) -> int:
    """Return the bits per sample of an AVIF from its `pixi` box (ISO 23008-12, 6.5.6); 8 if it has none."""
    place = data.find(b"pixi")
    return max(data[place + 9 : place + 9 + data[place + 8]], default=8) if 0 < place < len(data) - 12 else 8


def _metadata(image: Image.Image, data: bytes, kind: PictureKind) -> Metadata:
    info = image.info
    exif = image.getexif()
    whole = _exif_bytes(image, exif)
    orientation = 1 if kind.name == "TIFF" else _orientation(exif)
    comment = info.get("comment")
    return Metadata(
        exif=whole,
        upright_exif=_upright(whole) if whole and orientation != 1 and _is_exif(whole) else whole,
        orientation=orientation,
        icc_profile=info.get("icc_profile"),
        xmp=_xmp(image),
        dpi=_dpi(info.get("dpi")),
        comment=comment.encode() if isinstance(comment, str) else comment,
        loop=info.get("loop"),
        same_kind=_same_kind(image, data),
        png=deep.metadata_of(data) if kind.name == "PNG" else b"",
    )


def _orientation(exif: Image.Exif) -> int:
    found = exif.get(ExifTags.Base.Orientation, 1)
    return found if isinstance(found, int) else 1


def _exif_bytes(image: Image.Image, exif: Image.Exif) -> bytes | None:
    """Return the file's EXIF unchanged, or made from the tags of a TIFF."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        found = image.info.get("exif")
        if not isinstance(found, bytes) or not found:  # in a PNG text chunk, or only an orientation in XMP
            return exif.tobytes() if len(exif) else None
        return found if found.startswith(_EXIF) else _EXIF + found
    kept = Image.Exif()
    for tag in exif:
        if tag not in deep.STRUCTURE:
            is_ifd = tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
            kept[tag] = exif.get_ifd(tag) if is_ifd else exif[tag]
    if ExifTags.Base.Orientation in kept:
        kept[ExifTags.Base.Orientation] = 1
    return kept.tobytes() if len(kept) else None


def _is_exif(exif: bytes) -> bool:
    """Whether Pillow can write these tags in another format."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            tags.get_ifd(ifd)
        tags.tobytes()
    except UNREADABLE:
        return False
    return True


def _upright(exif: bytes) -> bytes:
    tags = Image.Exif()
    tags.load(exif)
    tags[ExifTags.Base.Orientation] = 1
    return tags.tobytes()


def _xmp(image: Image.Image) -> bytes | None:
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        found = found or image.tag_v2.get(TiffImagePlugin.XMP)
    return found.encode() if isinstance(found, str) else found


def _dpi(found: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in found)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if across > 0 and down > 0 else None


def _same_kind(image: Image.Image, data: bytes) -> dict[str, Any]:
    """Return options to write the same format with the same settings."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        sampling = JpegImagePlugin.get_sampling(image) if image.mode in ("RGB", "YCbCr") else -1
        options: dict[str, Any] = {"qtables": image.quantization, "progressive": "progressive" in image.info}
        return options | ({"subsampling": sampling} if sampling >= 0 else {})
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return {"compress": image.info.get("compression") != "raw"}
    if image.format == "WEBP":
        return {"lossless": b"VP8L" in data[12:] and b"VP8 " not in data[12:]}
    return {}
