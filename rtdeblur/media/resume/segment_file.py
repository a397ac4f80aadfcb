"""A piece of the encoded video on disk: packets, sealed so that damage shows.

    header    a line of JSON: the format, the job, the index of the first frame
    packet    a line of JSON (times, flags, sizes), its side data, its data
    …
    seal      how many frames, how many of them the encoder holds back, sha256 of all before

A file gets its name after its seal has reached the disk: what bears the name was whole once.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

from av.packet import Packet, PacketSideData, PktSideDataT

from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.ffmpeg.targets import sync_folder

_FORMAT = "rtdeblur segment 1"
_COUNTS = struct.Struct(">4sII")
_MARK = b"seal"
_DIGEST_BYTES = 32
_SEAL_BYTES = _COUNTS.size + _DIGEST_BYTES
_CHUNK = 1 << 20
_KINDS: tuple[str, ...] = get_args(PktSideDataT)


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished piece.

    Attributes:
        path: where it is.
        first: index of its first frame in the whole video.
        frames: how many it holds.
        delay: by how many frames decoding is ahead of showing.
    """

    path: Path
    first: int
    frames: int
    delay: int

    def packets(self, time_base: Fraction) -> Iterator[AnyPacket]:
        """Yield the packets in the order of decoding.

        Args:
            time_base: seconds a unit of their times.
        """
        with self.path.open("rb") as file:
            file.readline()
            end = self.path.stat().st_size - _SEAL_BYTES
            while file.tell() < end:
                facts = json.loads(file.readline())
                side = [(kind, file.read(size)) for kind, size in facts["side"]]
                packet: AnyPacket = Packet(file.read(facts["size"]))
                packet.pts, packet.dts, packet.duration = facts["pts"], facts["dts"], facts["duration"]
                packet.is_keyframe, packet.time_base = facts["key"], time_base
                for kind, data in side:
                    entry = _side_data(_KINDS.index(kind), len(data))
                    memoryview(entry)[:] = data
                    packet.set_sidedata(entry)
                yield packet


class SegmentWriter:
    """Writes one piece.

    Args:
        path: the name that it gets in the end.
        job: identifies the job.
        first: index of its first frame in the whole video.
    """

    def __init__(self, path: Path, job: str, first: int) -> None:
        self._path, self._first = path, first
        self._part = path.with_suffix(".part")
        self._file = self._part.open("wb")
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
        """Put the piece on the disk, then under its name.

        Args:
            frames: how many it holds.
            delay: by how many frames the encoder says that decoding is ahead; more where the times say so.
        """
        begin = min((pts for pts, _ in self._times), default=0)
        delay = max(delay, sum(dts < begin for _, dts in self._times))
        self._put(_COUNTS.pack(_MARK, frames, delay))
        self._file.write(self._digest.digest())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)
        sync_folder(self._path.parent)
        return Segment(self._path, self._first, frames, delay)

    def close(self) -> None:
        """Give up what was not sealed."""
        with suppress(OSError):  # the last bytes of what goes away
            self._file.close()
        self._part.unlink(missing_ok=True)

    def _put(self, data: Any) -> None:
        self._digest.update(data)
        self._file.write(data)


def glance(path: Path) -> int:
    """How many frames a piece says that it holds, unchecked; 0 where it says nothing."""
    try:
        with path.open("rb") as file:
            file.seek(-_SEAL_BYTES, os.SEEK_END)
            mark, frames, _ = _COUNTS.unpack(file.read(_COUNTS.size))
    except OSError:
        return 0
    return int(frames) if mark == _MARK else 0


def examine(path: Path, job: str) -> Segment | None:
    """Read a piece through; None where it is damaged or of another job."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline(1000))
            left = path.stat().st_size - _DIGEST_BYTES
            digest = hashlib.sha256()
            file.seek(0)
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                digest.update(chunk)
                left -= len(chunk)
            if file.read() != digest.digest() or header["format"] != _FORMAT or header["job"] != job:
                return None
            file.seek(-_SEAL_BYTES, os.SEEK_END)
            _, frames, delay = _COUNTS.unpack(file.read(_COUNTS.size))
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return Segment(path, header["first"], frames, delay)


def _line(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, separators=(",", ":")).encode() + b"\n"


def _side_data(kind: int, size: int) -> PacketSideData:
    make: Any = PacketSideData  # its stubs leave the arguments out
    entry: PacketSideData = make(kind, size)
    return entry
