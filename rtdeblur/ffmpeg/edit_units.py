"""Audio in containers made of edit units, one per picture, such as MXF.

If audio ends early, FFmpeg's muxer pads its last unit and drops every later picture, so audio needs silence
up to the last picture. Audio after that picture is not written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream

from rtdeblur.ffmpeg.packets import AnyPacket

_CHUNK_SECONDS = 1


def _byte_rate(template: AudioStream) -> int:
    return (template.codec_context.bit_rate or 0) // 8


def unfilled(template: AudioStream, size: int, seconds: Fraction) -> int:
    """Return the bytes of PCM missing up to the end of the video; negative if there are too many.

    Args:
        template: audio stream of the source.
        size: bytes written so far.
        seconds: duration of the video.
    """
    rate = template.codec_context.sample_rate
    return math.ceil(seconds * rate) * (_byte_rate(template) // rate) - size


def silence(stream: Stream, template: AudioStream, size: int, seconds: Fraction) -> Iterator[AnyPacket]:
    """Yield packets of silence up to the end of the video.

    Args:
        stream: audio stream of the output.
        template: audio stream of the source.
        size: bytes written so far.
        seconds: duration of the video.
    """
    left = unfilled(template, size, seconds)
    while left > 0:
        packet: AnyPacket = Packet(bytes(min(left, _byte_rate(template) * _CHUNK_SECONDS)))
        left -= packet.size
        packet.stream = stream
        yield packet
