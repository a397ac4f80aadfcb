"""AAC of MPEG-TS, which has a header in each packet (ADTS); other containers have one for the whole track."""

from __future__ import annotations

from av.audio.stream import AudioStream
from av.stream import Stream

# ISO/IEC 14496-3, tables 1.18 and 1.19.
_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 8: 7}
_LOW_COMPLEXITY = 2  # audio object type, table 1.17
_DOUBLED = ("HE-AAC", "HE-AACv2")
"""Profiles whose stated rate is twice the rate of the coded samples (spectral band replication)."""


def audio_specific_config(stream: Stream) -> bytes | None:
    """Return the AudioSpecificConfig (ISO/IEC 14496-3, section 1.6.2.1) of an AAC track that lacks one.

    Returns:
        two bytes; None for other codecs, for a track that has one, and for unusual rates and channels.
    """
    if not isinstance(stream, AudioStream) or stream.codec_context.codec.canonical_name != "aac":
        return None
    context = stream.codec_context
    profile, rate, channels = context.profile, context.sample_rate, context.channels
    if profile == "HE-AACv2":
        channels = 1  # parametric stereo
    rate //= 2 if profile in _DOUBLED else 1
    if (
        context.extradata
        or profile not in ("LC", *_DOUBLED)
        or rate not in _RATES
        or channels not in _CHANNELS
    ):
        return None
    bits = _LOW_COMPLEXITY << 11 | _RATES.index(rate) << 7 | _CHANNELS[channels] << 3
    return bits.to_bytes(2, "big")
