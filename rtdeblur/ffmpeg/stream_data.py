"""Side data that a container states for a whole stream: rotation, projection, HDR metadata."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, get_args

import av.logging
from av.error import FFmpegError
from av.packet import PacketSideData, PktSideDataT
from av.sidedata.sidedata import Type
from av.video.codeccontext import VideoCodecContext

from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.ffmpeg.side_data import side_data

# Kinds that FFmpeg copies from a stream or packet to frames (libavcodec/decode.c, ff_sd_global_map).
_KINDS: dict[Type, PktSideDataT] = {
    Type.DISPLAYMATRIX: "display_matrix",
    Type.SPHERICAL: "spherical",
    Type.STEREO3D: "stereo_3d",
    Type.MASTERING_DISPLAY_METADATA: "mastering_display_metadata",
    Type.CONTENT_LIGHT_LEVEL: "content_light_level",
    Type.ICC_PROFILE: "icc_profile",
    Type.AMBIENT_VIEWING_ENVIRONMENT: "ambient_viewing_environment",
}


class StreamData:
    """Copies a stream's side data to its packets, for a decoder that was created without it.

    Only the stream's default decoder has it, and PyAV shows it only on frames: the first frame is decoded
    with that one too.

    Args:
        default: the stream's default decoder, otherwise unused.
    """

    def __init__(self, default: VideoCodecContext) -> None:
        self._default = default
        self._entries: list[PacketSideData] | None = None

    def add_to(self, packet: AnyPacket) -> None:
        """Add the side data to a packet, before it is decoded; the first packets are decoded here too."""
        if self._entries is None:
            self._entries = self._read(packet)
        for entry in self._entries or ():
            packet.set_sidedata(entry)

    def _read(self, packet: AnyPacket) -> list[PacketSideData] | None:
        """Return the side data of a packet's frame; None if it has no frame."""
        frames = []
        with av.logging.Capture(), suppress(FFmpegError):
            frames = [*self._default.decode(packet), *self._default.decode(None)]
        if not frames:
            self._default.flush_buffers()
            return None
        found = ((name, side_data(frames[0], kind)) for kind, name in _KINDS.items())
        return [_entry(name, data) for name, data in found if data is not None]


def _entry(name: PktSideDataT, data: bytes) -> PacketSideData:
    make: Any = PacketSideData  # arguments missing from its stubs
    entry: PacketSideData = make(get_args(PktSideDataT).index(name), len(data))
    memoryview(entry)[:] = data
    return entry
