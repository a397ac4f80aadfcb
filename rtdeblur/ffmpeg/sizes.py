"""Sizes of the packets of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rtdeblur.ffmpeg.container import main_video, open_input


@dataclass(frozen=True, slots=True)
class PacketSizes:
    """Packet sizes in bytes.

    Attributes:
        key_frames: size of each key frame of the main video.
        other_frames: size of each of its other frames.
        rest: total size of all other streams.
    """

    key_frames: tuple[int, ...]
    other_frames: tuple[int, ...]
    rest: int


def packet_sizes(path: Path) -> PacketSizes:
    """Read a whole file without decoding it.

    Raises:
        InputError: it cannot be opened, or contains no video.
    """
    keys: list[int] = []
    others: list[int] = []
    rest = 0
    with open_input(path) as container:
        video = main_video(container, path).index
        for packet in container.demux():
            if packet.stream_index != video:
                rest += packet.size
            elif packet.size:
                (keys if packet.is_keyframe else others).append(packet.size)
    return PacketSizes(tuple(keys), tuple(others), rest)
