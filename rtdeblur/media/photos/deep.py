"""PNG and TIFF with 16 bits per sample, which Pillow supports only in grey.

FFmpeg codes the samples of PNG, zlib those of TIFF, and Pillow reads and writes everything else. FFmpeg
misreads some TIFFs without an error, so its result must agree with Pillow's 8-bit result.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import IO, Any

import numpy as np
from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, TiffTags

from rtdeblur.ffmpeg.pixels import plane_views

Samples = NDArray[np.uint8 | np.uint16]

_NAMES = ("gray16", "ya16", "rgb48", "rgba64")
"""FFmpeg's packed formats of 1 to 4 channels, without byte order."""
_METADATA = {
    b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"eXIf", b"pHYs", b"tIME",
    b"tEXt", b"zTXt", b"iTXt",
}  # fmt: skip
"""PNG chunks that describe the picture and do not depend on the coding of its samples."""
_SIGNATURE_BYTES = 8
_RAW, _DEFLATE, _HORIZONTAL = 1, 8, 2  # TIFF 6.0 and its supplements 1 and 2: Compression, Predictor

STRUCTURE = frozenset({
    254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 297, 317, 320, 322, 323,
    324, 325, 330, 332, 333, 334, 336, 338, 339, 340, 341, 347, 512, 513, 514, 519, 520, 521, 529, 530,
    531, 532, 34675,
})  # fmt: skip
"""TIFF tags that describe the storage of samples; the colour profile is passed separately."""


class DeepPictureError(Exception):
    """16-bit samples cannot be decoded; the message is the reason."""


def decode(data: bytes, codec: str) -> Samples:
    """Decode 16-bit samples.

    Args:
        data: the whole file.
        codec: FFmpeg's codec name, png or tiff.

    Returns:
        (H, W, C) uint16, to be checked by `check`.

    Raises:
        DeepPictureError: FFmpeg cannot decode it.
    """
    context = CodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    try:
        frames = [*context.decode(Packet(data)), *context.decode(None)]
    except FFmpegError as error:
        raise DeepPictureError(error.strerror or str(error)) from None
    if not frames:
        raise DeepPictureError("it contains no picture")
    return _samples(frames[0])


def check(samples: Samples, reference: Image.Image) -> None:
    """Compare samples with Pillow's version of the picture, usually in 8 bits.

    Raises:
        DeepPictureError: they differ.
    """
    seen = np.atleast_3d(np.asarray(reference))
    if samples.shape[2] == 2 and seen.shape[2] == 4:  # grey with alpha
        seen = seen[..., (0, 3)]
    coarse = samples if seen.dtype == np.uint16 else samples >> 8
    shared = min(coarse.shape[2], seen.shape[2])
    if coarse.shape[:2] != seen.shape[:2] or not np.array_equal(coarse[..., :shared], seen[..., :shared]):
        raise DeepPictureError("16 bits in a layout that is not supported; save it interleaved, in strips")


def _samples(frame: VideoFrame) -> Samples:
    name = frame.format.name
    if name.startswith("gbrp16"):
        green, blue, red = plane_views(frame)
        return np.stack([red, green, blue], axis=-1)
    base = name.removesuffix("le").removesuffix("be")
    if base not in _NAMES:
        raise DeepPictureError(f"unsupported sample format {name}")
    channels = _NAMES.index(base) + 1
    order = ">u2" if name.endswith("be") else "<u2"
    rows = np.frombuffer(memoryview(frame.planes[0]), order).reshape(frame.height, -1)
    packed = rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels)
    return packed.astype(np.uint16)


def encode_png(samples: Samples, metadata: bytes) -> bytes:
    """Encode a 16-bit PNG.

    Args:
        samples: (H, W, C) uint16.
        metadata: chunks from `metadata_of`.
    """
    height, width, channels = samples.shape
    frame = VideoFrame(width, height, f"{_NAMES[channels - 1]}be")
    rows = np.frombuffer(memoryview(frame.planes[0]), ">u2").reshape(height, -1)
    rows[:, : width * channels] = samples.reshape(height, -1)
    context = CodecContext.create("png", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, frame.format.name
    context.time_base = Fraction(1)
    data = b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
    return with_metadata(data, metadata)


def with_metadata(png: bytes, metadata: bytes) -> bytes:
    """Replace the descriptive chunks of a PNG."""
    kept = [chunk for kind, chunk in _chunks(png) if kind not in _METADATA]
    return b"".join([png[:_SIGNATURE_BYTES], kept[0], metadata, *kept[1:]])


def metadata_of(png: bytes) -> bytes:
    """Return the descriptive chunks of a PNG, unchanged."""
    return b"".join(chunk for kind, chunk in _chunks(png) if kind in _METADATA)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and bytes of each complete chunk (PNG, section 5.3)."""
    place = _SIGNATURE_BYTES
    while place + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        end = place + 12 + length
        if end > len(png):
            return
        yield kind, png[place:end]
        place = end


def write_tiff(file: IO[bytes], samples: Samples, *, compress: bool = True, **metadata: Any) -> None:
    """Write a TIFF, including 8-bit ones, because Pillow cannot write EXIF tags through libtiff.

    Args:
        file: open for writing.
        samples: (H, W, C) uint8 or uint16.
        compress: deflate it, with the horizontal predictor.
        metadata: options of Pillow's TIFF writer, such as exif, icc_profile, dpi.
    """
    height, width, channels = samples.shape
    tags = _tags(**metadata)
    tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH] = width, height
    tags[TiffImagePlugin.BITSPERSAMPLE] = (8 * samples.itemsize,) * channels
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if channels < 3 else 2
    if channels in (2, 4):
        tags[TiffImagePlugin.EXTRASAMPLES] = 2  # unassociated (straight) alpha
    rows = samples.astype(samples.dtype.newbyteorder("<"))
    tags[TiffImagePlugin.COMPRESSION] = _DEFLATE if compress else _RAW
    if compress:
        tags[TiffImagePlugin.PREDICTOR] = _HORIZONTAL
        rows[:, 1:] -= rows[:, :-1].copy()
    data = zlib.compress(rows.tobytes()) if compress else rows.tobytes()
    tags[TiffImagePlugin.ROWSPERSTRIP] = height
    tags[TiffImagePlugin.STRIPOFFSETS], tags[TiffImagePlugin.STRIPBYTECOUNTS] = 0, len(data)
    tags.save(file)  # offset counted from the end of the tags
    file.write(data)


def _tags(**metadata: Any) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Return the tags that Pillow writes for a picture's metadata."""
    dummy = io.BytesIO()
    Image.new("L", (1, 1)).save(dummy, "TIFF", **metadata)
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    with Image.open(dummy, formats=["TIFF"]) as written:
        assert isinstance(written, TiffImagePlugin.TiffImageFile)
        exif = written.getexif()
        for tag, value in written.tag_v2.items():
            if tag in STRUCTURE and tag != TiffImagePlugin.ICCPROFILE:
                continue
            tags.tagtype[tag] = written.tag_v2.tagtype[tag]
            tags[tag] = exif.get_ifd(tag) if tag in TiffTags.TAGS_V2_GROUPS else value
    return tags
