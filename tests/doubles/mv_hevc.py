"""Turns a plain HEVC stream into the base view of a stereo film (MV-HEVC, ITU-T H.265 annexes F and G)."""

from __future__ import annotations

import re

_VPS = 32


class _Bits:
    """Bits in the order of the standard's syntax tables; numbers as u(n), or as ue(v) if n is None."""

    def __init__(self) -> None:
        self.text = ""

    def put(self, value: int, bits: int | None = None) -> _Bits:
        code = format(value + 1, "b") if bits is None else ""
        self.text += "0" * (len(code) - 1) + code if bits is None else format(value, f"0{bits}b")
        return self

    def align(self, fill: str) -> None:
        self.text += fill * (-len(self.text) % 8)


def with_two_views(stream: bytes, width: int, height: int) -> bytes:
    """The stream with a VPS that announces a second view, of 8 bits and 4:2:0, which is missing."""
    units = re.split(rb"\x00*\x00\x00\x01", stream)[1:]
    return b"".join(
        b"\0\0\0\1" + (_two_views(unit, width, height) if unit[0] >> 1 & 63 == _VPS else unit)
        for unit in units
    )


def _two_views(unit: bytes, width: int, height: int) -> bytes:
    plain = "".join(f"{byte:08b}" for byte in unit[2:].replace(b"\0\0\3", b"\0\0"))
    profile, level = int(plain[32:120], 2), int(plain[120:128], 2)
    vps = _Bits()
    # video_parameter_set_rbsp: ids, one layer more, one sub-layer, profile and buffers of the base layer
    for value, bits in (
        (0, 4),
        (3, 2),
        (1, 6),
        (0, 3),
        (1, 1),
        (0xFFFF, 16),
        (profile, 88),
        (level, 8),
        (1, 1),
    ):
        vps.put(value, bits)
    vps.put(4).put(0).put(0).put(1, 6).put(1).put(3, 2).put(0, 1).put(1, 1)
    vps.align("1")
    # vps_extension: profile, scalability by view, ids of the second layer, which depends on the first
    vps.put(level, 8)
    for value, bits in ((0, 1), (0x4000, 16), (0, 3), (0, 1), (1, 1), (1, 4), (0, 1), (1, 1), (1, 1), (0, 1)):
        vps.put(value, bits)
    vps.put(0, 1).put(1, 1).put(1).put(0).put(0, 2).put(0, 1).put(1, 1).put(0)
    # rep_format, then the buffers of both layers
    for value, bits in ((width, 16), (height, 16), (1, 1), (1, 2), (0, 1), (0, 4), (0, 4), (0, 1)):
        vps.put(value, bits)
    vps.put(1, 1).put(1, 1).put(0, 1).put(0, 1).put(4).put(4).put(0).put(0)
    vps.put(0).put(1, 1).put(2, 2).put(0).put(1, 1).put(0, 1).put(0, 1)
    vps.put(1, 1)
    vps.align("0")
    raw = int(vps.text, 2).to_bytes(len(vps.text) // 8, "big")
    return unit[:2] + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", raw)
