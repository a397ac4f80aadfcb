"""What the packets of a file take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rtdeblur.ffmpeg.container import main_video, open_input


@dataclass(frozen=True, slots=True)
class PacketSizes:
    """Bytes of packets.

    Attributes:
        key_frames: of each key frame of the main video.
        other_frames: of each of its other frames.
        rest: of all other streams together.
    """

    key_frames: tuple[int, ...]
    other_frames: tuple[int, ...]
    rest: int


def packet_sizes(path: Path) -> PacketSizes:
    """Read a file through without decoding it.

    Raises:
        InputError: it cannot be opened, or holds no video.
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
