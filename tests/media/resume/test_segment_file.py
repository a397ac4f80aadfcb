"""A seal is not a signature: the contents of a sealed segment are still validated."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from av.packet import Packet

from rtdeblur.errors import OutputError
from rtdeblur.files import PrivateFolder
from rtdeblur.media.resume.segment_file import SegmentWriter, examine, glance

JOB = "ab" * 32
NAME = "00000025.segment"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[PrivateFolder]:
    folder = PrivateFolder(tmp_path / "work")
    yield folder
    folder.close()


def sealed(
    *lines: bytes, header: bytes | None = None, frames: int | None = None, delay: int = 0, **fields: Any
) -> bytes:
    """A segment whose seal is right, whatever it says."""
    facts = {"format": "rtdeblur segment 1", "job": JOB, "first": 25} | fields
    body = (json.dumps(facts).encode() if header is None else header) + b"\n" + b"".join(lines)
    body += struct.pack(">4sII", b"seal", len(lines) if frames is None else frames, delay)
    return body + hashlib.sha256(body).digest()


def packet(data: bytes = b"abcd", **fields: Any) -> bytes:
    facts = {"pts": 0, "dts": 0, "duration": 1, "key": True, "side": [], "size": len(data)} | fields
    return json.dumps(facts).encode() + b"\n" + data


def test_a_valid_segment_is_accepted(folder: PrivateFolder) -> None:
    folder.write(NAME, sealed(packet(), packet(b"xy", pts=1, dts=-1, duration=None, key=False), delay=1))
    segment = examine(folder, NAME, JOB)
    assert segment is not None
    assert (segment.first, segment.frames, segment.delay, glance(folder, NAME)) == (25, 2, 1, 2)
    packets = list(segment.packets(Fraction(1, 25)))
    assert [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in packets] == [
        (b"abcd", 0, 0, True),
        (b"xy", 1, -1, False),
    ]


def test_written_packets_are_read_back(folder: PrivateFolder) -> None:
    writer = SegmentWriter(folder, JOB, 25)
    written = Packet(b"data")
    written.pts, written.dts, written.duration = 7, 5, 2
    writer.add([written])
    assert writer.seal(1, 0) == examine(folder, NAME, JOB)


@pytest.mark.parametrize(
    "data",
    [
        *(sealed(packet(size=size)) for size in ("x", None, -1, 0, 5, 2**31, 2**40, 2**70, 1.5, True)),
        *(sealed(packet(pts=pts)) for pts in ("a", None, 2**63, -(2**63), 2**70, 1.5, [])),
        *(sealed(packet(dts=dts)) for dts in ("a", None, 2**63)),
        *(sealed(packet(duration=duration)) for duration in ("a", 2**63)),
        sealed(packet(key=1)),
        *(
            sealed(packet(side=side))
            for side in (None, "x", [["evil", 3]], [["display_matrix", 2**40]], [["display_matrix"]], [5])
        ),
        *(sealed(packet(), first=first) for first in ("x", None, -1, 0, 26, 2**70, True)),
        *(sealed(packet(), job=job) for job in (5, None, "other")),
        *(sealed(packet(), format=name) for name in ("rtdeblur segment 2", None, 5)),
        *(sealed(packet(), header=line) for line in (b"", b"[]", b"[" * 60_000, b"x" * 70_000, b"\xff")),
        sealed(b"[" * 60_000 + b"\n"),
        sealed(b"no line", frames=1),
        sealed(packet(), delay=2**32 - 1),
        sealed(packet(), frames=2**32 - 1),
        sealed(packet(), frames=250),
        sealed(packet(), packet(), frames=1),
        sealed(packet(), frames=0),
        sealed(),
        sealed(packet(b"")),
        b"", b"\n", b"seal", bytes(44), bytes(1000),
    ],
)  # fmt: skip
def test_an_invalid_segment_is_rejected(folder: PrivateFolder, data: bytes) -> None:
    folder.write(NAME, data)
    assert examine(folder, NAME, JOB) is None
    assert glance(folder, NAME) >= 0


def test_damage_after_the_check_is_an_error(folder: PrivateFolder) -> None:
    folder.write(NAME, sealed(packet(), packet()))
    segment = examine(folder, NAME, JOB)
    assert segment is not None
    folder.write(NAME, sealed(packet(), packet(size="x")))
    with pytest.raises(OutputError, match=r"segment 00000025.segment is damaged: .*; start over with -y"):
        list(segment.packets(Fraction(1, 25)))
