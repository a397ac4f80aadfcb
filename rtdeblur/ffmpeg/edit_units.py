"""Sound in a container of edit units, one per picture, as MXF is.

FFmpeg's muxer fills the last unit of a sound that ends early with silence, and drops every picture after it.
So the sound needs silence up to the last picture. What lies after that picture is not written.
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
    """Bytes of PCM that are missing up to the last picture; negative for those after it.

    Args:
        template: the sound in the source.
        size: bytes of it that were written.
        seconds: length of all pictures.
    """
    rate = template.codec_context.sample_rate
    return math.ceil(seconds * rate) * (_byte_rate(template) // rate) - size


def silence(stream: Stream, template: AudioStream, size: int, seconds: Fraction) -> Iterator[AnyPacket]:
    """Yield packets of silence that fill a sound up to the last picture.

    Args:
        stream: the sound in the output.
        template: the sound in the source.
        size: bytes of it that were written.
        seconds: length of all pictures.
    """
    left = unfilled(template, size, seconds)
    while left > 0:
        packet: AnyPacket = Packet(bytes(min(left, _byte_rate(template) * _CHUNK_SECONDS)))
        left -= packet.size
        packet.stream = stream
        yield packet
