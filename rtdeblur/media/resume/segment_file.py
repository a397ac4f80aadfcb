"""Segment file: packets of the encoded video, sealed so that damage is detected.

    header    a line of JSON: the format, the job, the index of the first frame
    packet    a line of JSON (timestamps, flags, sizes), its side data, its data
    …
    seal      number of frames, the encoder's delay in frames, sha256 of everything before

A file gets its final name only after its seal is on disk, so a named file was once complete. The seal is not
a signature, so the contents are still checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from av.packet import Packet, PacketSideData, PktSideDataT

from rtdeblur.decode import Count, DecodeError, Timestamp, from_json
from rtdeblur.errors import OutputError
from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.files import PrivateFolder, open_own

_FORMAT: Literal["rtdeblur segment 1"] = "rtdeblur segment 1"
_COUNTS = struct.Struct(">4sII")
_MARK = b"seal"
_DIGEST_BYTES = 32
_SEAL_BYTES = _COUNTS.size + _DIGEST_BYTES
_CHUNK = 1 << 20
_LONGEST_LINE = 1 << 16
_MOST_FRAMES = 1 << 16
_MOST_DELAY = 1 << 10
"""Limit of the delay, far above any encoder's reordering."""
_KINDS: tuple[str, ...] = get_args(PktSideDataT)


@dataclass(frozen=True, slots=True)
class _Header:
    format: Literal["rtdeblur segment 1"]
    job: str
    first: Count


@dataclass(frozen=True, slots=True)
class _Facts:
    """Header of a packet, written before its side data and data."""

    pts: Timestamp
    dts: Timestamp
    duration: Timestamp | None
    key: bool
    side: tuple[tuple[PktSideDataT, Count], ...]
    size: Count


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished segment.

    Attributes:
        folder: its folder.
        first: index of its first frame in the whole video.
        frames: number of frames.
        delay: number of frames by which decoding precedes presentation.
    """

    folder: PrivateFolder
    first: int
    frames: int
    delay: int

    @property
    def name(self) -> str:
        """File name."""
        return name_of(self.first)

    def packets(self, time_base: Fraction) -> Iterator[AnyPacket]:
        """Yield the packets in decoding order.

        Args:
            time_base: seconds per unit of their timestamps.

        Raises:
            OutputError: the file was damaged after it was checked.
        """
        with self.folder.open_file(self.name) as file:
            try:
                for facts in _entries(file):
                    side = [(kind, file.read(size)) for kind, size in facts.side]
                    packet: AnyPacket = Packet(file.read(facts.size))
                    packet.pts, packet.dts, packet.duration = facts.pts, facts.dts, facts.duration
                    packet.is_keyframe, packet.time_base = facts.key, time_base
                    for kind, data in side:
                        entry = _side_data(_KINDS.index(kind), len(data))
                        memoryview(entry)[:] = data
                        packet.set_sidedata(entry)
                    yield packet
            except DecodeError as error:
                raise OutputError(
                    f"the segment {self.name} is damaged: {error}; start over with -y"
                ) from None


class SegmentWriter:
    """Writes a segment.

    Args:
        folder: its folder.
        job: key of the job.
        first: index of its first frame in the whole video.
        shared: whether another process may be writing the same segment; both write the same bytes.
    """

    def __init__(self, folder: PrivateFolder, job: str, first: int, *, shared: bool = False) -> None:
        self._folder, self._first = folder, first
        self._part = f"{first:08d}.{secrets.token_hex(4)}.part" if shared else f"{first:08d}.part"
        self._file = folder.create(self._part)
        self._digest = hashlib.sha256()
        self._times: list[tuple[int, int]] = []
        self._put(_line({"format": _FORMAT, "job": job, "first": first}))

    def add(self, packets: Iterable[AnyPacket]) -> None:
        """Append packets."""
        for packet in packets:
            pts = packet.pts or 0
            dts = pts if packet.dts is None else packet.dts
            self._times.append((pts, dts))
            side = [(entry.data_type, bytes(entry)) for entry in packet.iter_sidedata()]
            facts = {"pts": pts, "dts": dts, "duration": packet.duration, "key": packet.is_keyframe}
            sizes = [(kind, len(data)) for kind, data in side]
            self._put(_line({**facts, "side": sizes, "size": packet.size}))
            for _, data in side:
                self._put(data)
            self._put(packet)

    def seal(self, frames: int, delay: int) -> Segment:
        """Flush the segment to disk, then rename it.

        Args:
            frames: number of frames.
            delay: the encoder's delay in frames; raised if the timestamps require it.
        """
        begin = min((pts for pts, _ in self._times), default=0)
        delay = max(delay, sum(dts < begin for _, dts in self._times))
        self._put(_COUNTS.pack(_MARK, frames, delay))
        self._file.write(self._digest.digest())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._folder.rename(self._part, name_of(self._first))
        self._folder.sync()
        return Segment(self._folder, self._first, frames, delay)

    def close(self) -> None:
        """Discard an unsealed segment."""
        with suppress(OSError):  # flushing a file that is discarded
            self._file.close()
        self._folder.remove(self._part)

    def _put(self, data: Any) -> None:
        self._digest.update(data)
        self._file.write(data)


def glance(folder: PrivateFolder | Path, name: str) -> int:
    """Return the number of frames that a segment claims, unchecked; 0 if unreadable."""
    try:
        with open_own(folder / name) if isinstance(folder, Path) else folder.open_file(name) as file:
            mark, frames, _ = _counts(file)
    except (OSError, DecodeError):
        return 0
    return frames if mark == _MARK else 0


def examine(folder: PrivateFolder, name: str, job: str) -> Segment | None:
    """Read and check a segment; None if it is damaged or belongs to another job."""
    try:
        with folder.open_file(name) as file:
            if not _is_sealed(file):
                return None
            _, frames, delay = _counts(file)
            file.seek(0)
            header: _Header = from_json(_Header, file.readline(_LONGEST_LINE))
            sizes = [facts.size for facts in _entries(file)]
    except (OSError, DecodeError):
        return None
    is_sound = (
        header.job == job
        and name_of(header.first) == name
        and 0 < frames <= _MOST_FRAMES
        and delay <= _MOST_DELAY
        and len(sizes) == frames
        and min(sizes) > 0
    )
    return Segment(folder, header.first, frames, delay) if is_sound else None


def _is_sealed(file: BinaryIO) -> bool:
    """Whether the digest at the end matches everything before it."""
    left = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
    digest = hashlib.sha256()
    file.seek(0)
    while left > 0 and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    return file.read() == digest.digest()


def _counts(file: BinaryIO) -> tuple[bytes, int, int]:
    """Parse the seal: its mark, number of frames, and delay."""
    if os.fstat(file.fileno()).st_size < _SEAL_BYTES:
        raise DecodeError("it is too short")
    file.seek(-_SEAL_BYTES, os.SEEK_END)
    mark, frames, delay = _COUNTS.unpack(file.read(_COUNTS.size))
    return mark, frames, delay


def _entries(file: BinaryIO) -> Iterator[_Facts]:
    """Yield the header of each packet, with the file positioned at its side data."""
    end = os.fstat(file.fileno()).st_size - _SEAL_BYTES
    file.seek(0)
    file.readline(_LONGEST_LINE)
    place = file.tell()
    while place < end:
        file.seek(place)
        facts: _Facts = from_json(_Facts, file.readline(_LONGEST_LINE))
        place = file.tell() + sum(size for _, size in facts.side) + facts.size
        if place > end:
            raise DecodeError("a packet is longer than the file")
        yield facts


def name_of(first: int) -> str:
    """Return the file name of the segment that begins with a frame."""
    return f"{first:08d}.segment"


def _line(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, separators=(",", ":")).encode() + b"\n"


def _side_data(kind: int, size: int) -> PacketSideData:
    make: Any = PacketSideData  # arguments missing from its stubs
    entry: PacketSideData = make(kind, size)
    return entry
