"""Counts of damage in an input, whether FFmpeg raises it, flags it or only logs it.

Most decoders flag a picture that they had to conceal. Some only log it (FFV1 with a wrong checksum, JPEG), as
demuxers do for truncated files: there, log messages are counted. HEVC and VP9 hide most damage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import av.logging
from av.error import FFmpegError

from rtdeblur.errors import InputError
from rtdeblur.ffmpeg.container import MAX_PIXELS, reason

READS = "reads failed"
MARKED = "packets marked as damaged by the container"
PACKETS = "packets not decoded"
FRAMES = "frames decoded with errors"
TIMES = "frame times out of order"
MISSING = "frames missing"
EARLY = "unexpected end of the file"

# Log messages about damage that is neither raised nor flagged (libavcodec/ffv1dec.c, mjpegdec.c,
# libavformat/matroskadec.c, mov.c).
_MENTIONED = {
    FRAMES: re.compile(r"slice CRC mismatch|^error count: |^error y=|^overread \d"),
    EARLY: re.compile(r"File ended prematurely|partial file"),
}
# libavutil/imgutils.c, av_image_check_size2
_TOO_LARGE = re.compile(r"Picture size (\d+)x(\d+) (?:is invalid|exceeds)")


@dataclass(slots=True)
class Damage:
    """Damage met in an input.

    Attributes:
        message: the first failure, usually FFmpeg's message.
        kinds: number of failures of each kind.
        source: name of the input.
        max_pixels: the largest picture that its decoder accepts.
        strict: raise the first failure instead of counting it.
    """

    message: str = ""
    kinds: dict[str, int] = field(default_factory=dict)
    source: str = ""
    max_pixels: int = MAX_PIXELS
    strict: bool = False

    @property
    def count(self) -> int:
        """Total of failures; one damaged spot may cause several."""
        return sum(self.kinds.values())

    def add(self, kind: str, message: str, count: int = 1) -> None:
        """Count failures.

        Raises:
            InputError: `strict` is set.
        """
        self.kinds[kind] = self.kinds.get(kind, 0) + count
        self.message = self.message or message
        if self.strict:
            what = f"input {self.source!r} is damaged ({kind}: {count}): {message}"
            raise InputError(f"{what}; without --strict, everything readable is restored")

    @contextmanager
    def watch(self, kind: str) -> Iterator[None]:
        """Count an exception from FFmpeg as damage of a kind, else its log messages; suppress both."""
        with av.logging.Capture() as log:
            try:
                yield
            except FFmpegError as error:
                failure: FFmpegError | None = error
            else:
                failure = None
        said = [entry[2].strip() for entry in log]
        if failure is not None:
            large = next(filter(None, map(_TOO_LARGE.search, said)), None)
            limit = f"more than --max-pixels {self.max_pixels}"
            self.add(kind, f"a picture of {large[1]}x{large[2]}, {limit}" if large else reason(failure))
            return
        for mentioned, pattern in _MENTIONED.items():
            words = next(filter(pattern.search, said), None)
            if words is not None:
                self.add(mentioned, words)

    def __add__(self, other: Damage) -> Damage:
        """Add up two reports; keeps the first failure of this one, if any."""
        kinds = dict(self.kinds)
        for kind, count in other.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + count
        return replace(self, message=self.message or other.message, kinds=kinds)

    def __str__(self) -> str:
        counts = ", ".join(f"{kind}: {count}" for kind, count in self.kinds.items())
        return f"{counts}; the first: {self.message}"
