"""Size of a file according to its own header, which shows whether the end is missing.

A recorder fills in the size when it ends, so a file that was written to a pipe states none.
"""

from __future__ import annotations

import struct
from pathlib import Path

from rtdeblur.ffmpeg.container import is_seekable

_HEADER_BYTES = 1 << 16
_UNKNOWN_RIFF = 0xFFFFFFFF
# Advanced Systems Format Specification, sections 10.1 and 10.2; in the properties, bytes from the GUID to the
# size of the file and to the flags, the first of which marks a broadcast.
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_SIZE, _ASF_FLAGS = 40, 88
# RFC 8794 (EBML), section 4; RFC 9559 (Matroska), section 5.1.
_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
# A property of onMetaData: the length of its name, the name, and type 0, a number (AMF 0, section 2).
_FLV_SIZE = b"\x00\x08filesize\x00"


def missing_bytes(path: Path) -> int:
    """Return by how many bytes a file is smaller than its header states; 0 if it is whole or states no size.

    Known for AVI, ASF, Matroska, WebM and FLV.
    """
    if not is_seekable(path):
        return 0
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    try:
        return max(0, _stated(header) - path.stat().st_size)
    except struct.error:  # the header itself is incomplete
        return 0


def _stated(header: bytes) -> int:
    """Return the size that a header states; 0 if none."""
    if header.startswith(b"RIFF"):
        (size,) = struct.unpack_from("<I", header, 4)
        return 0 if size == _UNKNOWN_RIFF else size + 8
    if header.startswith(_ASF):
        place = header.find(_ASF_PROPERTIES)
        (size,) = struct.unpack_from("<Q", header, place + _ASF_SIZE)
        (flags,) = struct.unpack_from("<I", header, place + _ASF_FLAGS)
        return 0 if place < 0 or flags & 1 else int(size)
    if header.startswith(_EBML):
        begin, size = _ebml_size(header, len(_EBML))
        place = begin + (size or 0)
        if header[place : place + len(_SEGMENT)] != _SEGMENT:
            return 0
        begin, size = _ebml_size(header, place + len(_SEGMENT))
        return 0 if size is None else begin + size
    if header.startswith(b"FLV") and (place := header.find(_FLV_SIZE)) >= 0:
        (number,) = struct.unpack_from(">d", header, place + len(_FLV_SIZE))
        return int(number) if 0 < number < 2**53 else 0
    return 0


def _ebml_size(header: bytes, place: int) -> tuple[int, int | None]:
    """Return where the data of an element begin, and their size; None if it is unknown.

    Args:
        header: start of the file.
        place: of the size, after the element's id.
    """
    (first,) = struct.unpack_from("B", header, place)
    length = 9 - first.bit_length()
    (value,) = struct.unpack(">Q", header[place : place + length].rjust(8, b"\0"))
    value &= (1 << 7 * length) - 1
    return place + length, None if value == (1 << 7 * length) - 1 else value
