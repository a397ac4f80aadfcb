"""Start times of AVI streams, which FFmpeg reads but does not write."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

_HEADER_BYTES = 1 << 16  # the stream headers come first
# AVISTREAMHEADER (Microsoft, AVI RIFF File Reference): bytes from its 'strh' to dwScale, dwRate, dwStart.
_SCALE_AND_RATE, _START = 28, 36


def set_starts(path: Path, starts: Mapping[int, Fraction]) -> None:
    """Write the start times of streams into the headers of a finished AVI.

    Args:
        path: the file.
        starts: start times in seconds, 0 or more, by stream index; rounded to a frame or a sample.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("r+b") as file:
        header = file.read(_HEADER_BYTES)
        place = -1
        for index in range(max(starts, default=-1) + 1):
            place = header.find(b"strh", place + 1)
            if place < 0 or place + _START + 4 > len(header):
                return
            if start := starts.get(index):
                scale, rate = struct.unpack_from("<II", header, place + _SCALE_AND_RATE)
                file.seek(place + _START)
                file.write(struct.pack("<I", round(start * rate / max(scale, 1))))
