"""Writer of photos and animations."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import IO, Any, Self

from PIL import Image, PngImagePlugin, TiffImagePlugin

from rtdeblur.device import DeviceBatch
from rtdeblur.errors import DependencyError, OutputError, UsageError
from rtdeblur.ffmpeg.container import reason
from rtdeblur.ffmpeg.targets import PartFile
from rtdeblur.frames import FrameBatch, Interlude
from rtdeblur.media.photos import deep
from rtdeblur.media.photos.reader import UNREADABLE, PictureReader, register_heif, without_warnings
from rtdeblur.media.photos.still import Still
from rtdeblur.pictures import PictureKind, kind_of

# Beyond visible differences, and near the size of a camera's own file.
_QUALITY: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"quality": 95, "method": 4, "exact": True},
    "AVIF": {"quality": 90},
    "HEIF": {"quality": 90},
}
_BACKGROUND = 2  # GIF89a, section 23: restore to background


class PictureWriter:
    """Writes the restored pictures of a `PictureReader` (a `FrameSink`).

    Alpha, EXIF, colour profile, XMP, resolution, timing and quality of the source are kept. A picture whose
    format changes is rotated upright, since not every format has an orientation.

    Args:
        reader: the source.
        path: the output, whose extension determines the format.
        overwrite: replace an existing file.

    Attributes:
        kind: the format.
        warnings: one line per property that the output does not keep.

    Raises:
        UsageError: the extension is not a picture's or does not support animation, the output exists, or it
            is the input.
        OutputError: the folder is not writable.
        DependencyError: the format needs a package that is not installed.
    """

    def __init__(self, reader: PictureReader, path: str | Path, *, overwrite: bool = False) -> None:
        self._reader, self._path = reader, Path(path)
        kind = kind_of(self._path)
        if kind is None:
            raise UsageError(
                f"output {str(path)!r} ends in {self._path.suffix!r}, which is not a picture; "
                "try .jpg, .png, .tif or .webp"
            )
        if reader.is_animated and not kind.animated:
            raise UsageError(
                f"{str(reader.path)!r} is an animation of {reader.count} pictures, {kind.name} holds one; "
                "try .gif, .webp, .png, or a video such as .mp4"
            )
        if kind.name == "HEIF" and not register_heif():
            raise DependencyError("pillow-heif", "heic", "writing HEIC pictures")
        self.kind: PictureKind = kind
        self.warnings = self._losses()
        self._stills: list[Still] = []
        self._lock, self._closed = threading.RLock(), False
        self._file = PartFile(self._path, source=reader.path, overwrite=overwrite)

    def needs(self, index: int) -> bool:
        """Return True: pictures are never resumed."""
        return True

    def write(self, batch: FrameBatch | DeviceBatch | Interlude) -> None:
        """Write the pictures of a batch.

        Raises:
            OutputError: the writer was closed.
        """
        assert isinstance(batch, FrameBatch)
        with self._lock:
            self._check_open()
            for index, still in enumerate(batch.carriers):
                restored: Still = still.with_planes([plane[index, 0] for plane in batch.planes])
                if self._turns:
                    restored = restored.upright(self._reader.metadata.orientation)
                self._stills.append(restored)

    def commit(self) -> None:
        """Write the file and rename it to its final name.

        Raises:
            OutputError: the disk is full, the format cannot store the picture, or the writer was closed.
        """
        with self._lock:
            self._check_open()
            try:
                with Path(self._file.url).open("wb") as file, without_warnings():
                    self._save(file)
            except MemoryError:
                raise OutputError(f"cannot write {str(self._path)!r}: out of memory") from None
            except UNREADABLE as error:
                raise OutputError(
                    f"cannot write {str(self._path)!r} as {self.kind.name}: {reason(error)}"
                ) from error
            self._file.commit()

    def close(self) -> None:
        """Discard uncommitted output; may be called twice, and from another thread."""
        with self._lock:
            self._closed = True
            self._stills.clear()
            self._file.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise OutputError(f"cannot write {str(self._path)!r}: it has already been closed")

    @property
    def _same(self) -> bool:
        return self.kind.name == self._reader.kind.name

    @property
    def _turns(self) -> bool:
        """Whether to rotate pictures upright: in another format, fewer programs honour the orientation."""
        return not self._same

    def _losses(self) -> list[str]:
        reader, kind, held = self._reader, self.kind, self._reader.metadata
        lost = [
            f"the {what} is not kept: {kind.name} cannot store it; .png can"
            for what, value, holds in (
                ("EXIF data", held.exif, kind.exif),
                ("colour profile", held.icc_profile, kind.icc),
                ("XMP data", held.xmp, kind.xmp),
            )
            if value and not holds
        ]
        if reader.depth > kind.depth:
            better = ".png and .tif keep them"
            lost.append(
                f"{reader.depth} bits per sample become {kind.depth}: {kind.name} supports no more; {better}"
            )
        if kind.name == "GIF" and reader.kind.name != "GIF":
            lost.append(
                "colours are reduced to 256 per picture, the most that GIF supports; .webp and .png keep them"
            )
        return [f"{self._path}: {line}" for line in lost]

    def _save(self, file: IO[bytes]) -> None:
        stills = self._stills
        if not self.kind.alpha and stills[0].has_alpha:
            self.warnings.append(
                f"{self._path}: the transparency is not kept: {self.kind.name} cannot store it, so the "
                "picture is placed on white; .png keeps it"
            )
        if self.kind.name == "TIFF":
            compress = self._reader.metadata.same_kind.get("compress", True)
            return deep.write_tiff(file, stills[0].samples, compress=compress, **self._words())
        if stills[0].depth == 16 and self.kind.depth > 8:
            return self._save_deep(file, stills[0])
        images = [_image(still, self.kind) for still in stills]
        options = self._options()
        if self._reader.is_animated:
            options |= self._animation(images, stills)
        if self.kind.name != "PNG":
            return images[0].save(file, self.kind.name, **options)
        png = io.BytesIO()
        images[0].save(png, "PNG", **options)
        file.write(deep.with_metadata(png.getvalue(), self._png_metadata()))
        return None

    def _save_deep(self, file: IO[bytes], still: Still) -> None:
        if self.kind.name == "PNG":
            file.write(deep.encode_png(still.samples, self._png_metadata()))
        else:
            import pillow_heif

            height, width, channels = still.samples.shape
            mode = {1: "L;16", 3: "RGB;16", 4: "RGBA;16"}[channels]
            picture = pillow_heif.from_bytes(mode, (width, height), still.samples.tobytes())
            words = {key: value for key, value in self._words().items() if key in ("exif", "xmp")}
            if profile := self._reader.metadata.icc_profile:
                picture.info["icc_profile"] = profile
            picture.save(file, **words, **_QUALITY["HEIF"])

    def _png_metadata(self) -> bytes:
        if self._same:
            return self._reader.metadata.png
        dummy = io.BytesIO()
        Image.new("L", (1, 1)).save(dummy, "PNG", **self._words())
        return deep.metadata_of(dummy.getvalue())

    def _options(self) -> dict[str, Any]:
        """Return options for Pillow's writer."""
        options = _QUALITY.get(self.kind.name, {})
        if self._same:
            same = dict(self._reader.metadata.same_kind)
            options = same if "qtables" in same else options | same
        return options | self._words()

    def _words(self) -> dict[str, Any]:
        """Return the metadata as options for Pillow's writer."""
        held, kind = self._reader.metadata, self.kind
        words: dict[str, Any] = {}
        if held.exif and kind.exif:
            words["exif"] = held.upright_exif if self._turns else held.exif
        if held.icc_profile and kind.icc:
            words["icc_profile"] = held.icc_profile
        if held.xmp and kind.xmp:
            words |= self._xmp_words(held.xmp, words.get("exif"))
        if held.dpi and kind.dpi:
            words["dpi"] = held.dpi
        if held.comment and kind.name in ("JPEG", "GIF"):
            words["comment"] = held.comment
        return words

    def _xmp_words(self, xmp: bytes, exif: bytes | None) -> dict[str, Any]:
        if self.kind.name == "PNG":
            chunks = PngImagePlugin.PngInfo()
            chunks.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
            return {"pnginfo": chunks}
        if self.kind.name == "TIFF":  # stored as one of the EXIF tags
            tags = Image.Exif()
            tags.load(exif or b"")
            tags[TiffImagePlugin.XMP] = xmp
            return {"exif": tags}
        return {"xmp": xmp}

    def _animation(self, images: list[Image.Image], stills: list[Still]) -> dict[str, Any]:
        loop = self._reader.metadata.loop
        options: dict[str, Any] = {
            "save_all": True,
            "append_images": images[1:],
            "duration": [still.milliseconds for still in stills],
        }
        if self.kind.name == "GIF":
            if any(image.mode == "RGBA" for image in images):
                options["disposal"] = _BACKGROUND
            return options | ({"loop": loop} if loop is not None else {})
        if self.kind.name == "AVIF":
            return options
        return options | {"loop": 1 if loop is None else loop}


def _image(still: Still, kind: PictureKind) -> Image.Image:
    """Convert to an 8-bit Pillow image, without alpha if it is opaque or unsupported."""
    samples = still.in_8_bits().samples
    if samples.shape[2] == 1:
        return Image.fromarray(samples[..., 0])
    if not still.has_alpha:
        return Image.fromarray(samples)
    if still.milliseconds and samples[..., -1].min() == 255:
        return Image.fromarray(samples[..., :3].copy())
    image = Image.fromarray(samples, "LA" if samples.shape[2] == 2 else "RGBA")
    if kind.alpha:
        return image if image.mode == "RGBA" or kind.name in ("PNG", "TIFF") else image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("L" if samples.shape[2] == 2 else "RGB")
