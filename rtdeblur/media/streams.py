"""Copies the streams beside the main video: sound, subtitles, data, cover art, attachments."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from io import BytesIO
from operator import methodcaller

from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.format import Flags
from av.rational import AVRational
from av.stream import Stream
from av.video.stream import VideoStream

from rtdeblur.ffmpeg.container import open_output
from rtdeblur.ffmpeg.formats import COVERS, MOV, refusal
from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.media.source import SourceInfo, is_cover
from rtdeblur.media.tags import clean_tags

# Plain text passes between these two by adding or removing a length; FFmpeg's filters do it.
_TEXT_FILTERS = {
    "subrip": ("mov_text", "text2movsub"),
    "text": ("mov_text", "text2movsub"),
    "mov_text": ("subrip", "mov2textsub"),
}
_IMAGES = {"mjpeg": "jpeg", "png": "png", "bmp": "bmp", "gif": "gif", "webp": "webp", "tiff": "tiff"}
# The muxer takes every codec, and what it does not know comes back as nothing: allow what does not.
_MPEGTS_CODECS = {
    "aac", "aac_latm", "ac3", "eac3", "dts", "mp1", "mp2", "mp3", "opus", "s302m", "truehd",
    "dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle", "h264", "hevc", "mpeg2video", "timed_id3", "klv",
}  # fmt: skip
_LONGEST_REORDERING_SECONDS = 3600
# What to suggest for a stream that a container refuses, the most common first.
_ALTERNATIVES = {"matroska": ".mkv", "mp4": ".mp4", "mov": ".mov", "mpegts": ".ts"}


@dataclass(slots=True)
class Track:
    """A stream of the output, filled with packets of one of the input.

    Attributes:
        stream: the stream of the output.
        bitstream_filter: what packets pass through on their way.
        last_dts: the time of the last packet, in units of the stream's time base.
        next_dts: the time expected of the next packet, in units of the input's time base.
    """

    stream: Stream
    bitstream_filter: BitStreamFilterContext | None = None
    last_dts: int | None = None
    next_dts: int | None = None

    def convert(self, packet: AnyPacket, zero: Fraction) -> list[AnyPacket]:
        """Packets to mux for one packet of the input.

        Args:
            packet: the packet, which is changed.
            zero: the time in the input, in seconds, that becomes zero.
        """
        shift = round(zero / Fraction(packet.time_base))
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = self._decoding_time(packet) if packet.dts is None else packet.dts - shift
        self.next_dts = None if packet.dts is None else packet.dts + (packet.duration or 1)
        if self.bitstream_filter is None:
            return [self.place(packet)]
        unit = packet.time_base
        filtered = self.bitstream_filter.filter(packet)
        for new in filtered:
            new.time_base = unit
        return [self.place(new) for new in filtered]

    def _decoding_time(self, packet: AnyPacket) -> int | None:
        """A time for a packet that has none, as Matroska leaves out the first of reordered pictures."""
        if packet.pts is None or not isinstance(packet.stream, VideoStream):
            return packet.pts
        if self.next_dts is not None:
            return min(packet.pts, self.next_dts)
        context = packet.stream.codec_context
        ahead = context.has_b_frames if context is not None else 0
        return packet.pts - ahead * (packet.duration or 1)

    def place(self, packet: AnyPacket) -> AnyPacket:
        """Put a packet into the stream, after its predecessor even where their clock is too coarse."""
        packet.stream = self.stream
        unit = Fraction(self.stream.time_base or 1)
        if packet.pts is not None and packet.dts is not None:
            # libx265 makes up decoding times for streams of one or two frames.
            ahead = (packet.pts - packet.dts) * Fraction(packet.time_base)
            packet.dts = packet.dts if 0 <= ahead < _LONGEST_REORDERING_SECONDS else packet.pts
        packet.rescale_ts(AVRational(unit))
        if packet.dts is not None:
            if not packet.duration and self.last_dts is not None and isinstance(self.stream, AudioStream):
                packet.duration = packet.dts - self.last_dts  # the last of a track in mp4 would not be played
            step = 0 if Flags.ts_nonstrict in Flags(self.stream.container.format.flags) else 1
            if self.last_dts is not None and packet.dts < self.last_dts + step:
                packet.dts = self.last_dts + step
                packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
            self.last_dts = packet.dts
        return packet


def add_copy(container: OutputContainer, stream: Stream, source: SourceInfo) -> Track | str | None:
    """Add a copy of one stream of the input.

    Returns:
        The track to fill; None where no packets are to come; or a warning that the stream is not kept.
    """
    name = container.format.name
    if stream.type == "data" and _is_remade(stream, source):
        return None
    if is_cover(stream):
        if name == "matroska":
            return _attach(container, stream, source)
        if name not in COVERS:
            return _not_kept(stream, name)
    way = _way(name, stream)
    if way is None:
        codec, bitstream_filter = _TEXT_FILTERS.get(_codec(stream), ("", ""))
        if not codec or name == "mpegts" or refusal(name, methodcaller("add_mux_stream", codec)):
            return _not_kept(stream, name)
        copy = container.add_mux_stream(codec)
        track = Track(copy, BitStreamFilterContext(bitstream_filter, stream))
    else:
        copy = way(container, stream)
        track = Track(copy)
    copy.metadata.update(clean_tags(stream.metadata))
    copy.disposition = stream.disposition
    return track


def _codec(stream: Stream) -> str:
    if stream.codec_context:
        return stream.codec_context.codec.canonical_name
    return getattr(stream, "name", None) or "unknown"  # sound of no known codec has none


def _refuses(format_name: str, stream: Stream) -> bool:
    return _way(format_name, stream) is None


def _way(format_name: str, stream: Stream) -> Callable[[OutputContainer, Stream], Stream] | None:
    """How a stream is added to a container, so that a reader finds it there; None if the container refuses it."""
    if format_name == "mpegts" and _codec(stream) not in _MPEGTS_CODECS:
        return None
    if stream.type == "attachment" and format_name != "matroska":
        return None
    # mp4 looks at a channel layout when it writes its index: here in front, or it would be too late.
    options = {"movflags": "empty_moov"} if format_name in MOV and _codec(stream).startswith("pcm_") else {}
    for way in _WAYS.get(stream.type, (_copied,)):
        if refusal(format_name, partial(way, stream=stream), options) is None:
            return way
    return None


def _copied(container: OutputContainer, stream: Stream) -> Stream:
    return container.add_stream_from_template(stream, opaque=True)


def _labelled(container: OutputContainer, stream: Stream) -> Stream:
    """A copy of PCM whose source does not name its channels: FFmpeg's default for as many, as players guess."""
    copy = _copied(container, stream)
    assert isinstance(copy, AudioStream)
    context = copy.codec_context
    bits = re.match(r"pcm_[suf](\d+)", _codec(stream))
    if bits is None or not context.bit_rate:
        raise ValueError(f"channels of {_codec(stream)} have no names")
    # Never read `layout` or `channels`: PyAV 18 then frees a layout of custom order twice, since its
    # AudioLayout shares the memory of the context's, and the process aborts.
    context.layout = f"{round(context.bit_rate / context.sample_rate / int(bits[1]))}c"
    return copy


def _unlisted(container: OutputContainer, stream: Stream) -> Stream:
    """A copy of sound of a codec that the muxer writes and does not list, as Matroska does of all in WAV.

    PyAV asks for the list, so the stream begins as one of the container's own codec; a filter that changes
    nothing then sets it up as it should be.
    """
    everything = open_output(BytesIO(), "mpegts")  # which removes the tag that the codec has in the source
    copy = container.add_mux_stream(container.default_audio_codec)
    BitStreamFilterContext("null", _copied(everything, stream), copy)
    copy.time_base = stream.time_base
    return copy


_WAYS = {"audio": (_copied, _labelled, _unlisted)}


def _is_remade(stream: Stream, source: SourceInfo) -> bool:
    """True for tracks that muxers make from the chapters and the timecode tag."""
    chapters = stream.name == "bin_data" and bool(source.chapters)
    return chapters or "timecode" in stream.metadata


def _not_kept(stream: Stream, format_name: str) -> str:
    what = "cover art" if is_cover(stream) else f"{stream.type} stream #{stream.index}"
    others = [e for n, e in _ALTERNATIVES.items() if n != format_name and not _refuses(n, stream)]
    hint = f"; {others[0]} can" if others else ""
    return f"{what} ({_codec(stream)}) is not kept: {format_name} cannot hold it{hint}"


def _attach(container: OutputContainer, stream: Stream, source: SourceInfo) -> str | None:
    """Matroska holds cover art as an attachment, known by its name (matroska.org, cover art)."""
    kind = _IMAGES.get(_codec(stream))
    picture = source.covers.get(stream.index)
    if kind is None or picture is None:
        return _not_kept(stream, container.format.name)
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    name = tags.get("filename", f"cover.{'jpg' if kind == 'jpeg' else kind}")
    container.add_attachment(name, tags.get("mimetype", f"image/{kind}"), picture)
    return None
