"""Copying of streams other than the main video: sound, subtitles, data, cover art, attachments."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
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

from rtdeblur.ffmpeg.aac import audio_specific_config
from rtdeblur.ffmpeg.container import name_of, open_output
from rtdeblur.ffmpeg.formats import CONTAINERS, ContainerTraits, copy_stream, is_remade, refusal, traits_of
from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.media.source import SourceInfo, is_cover
from rtdeblur.media.tags import track_tags

# Text subtitles are converted between these two by adding or removing a length, with FFmpeg's filters.
_TEXT_FILTERS = {
    "subrip": ("mov_text", "text2movsub"),
    "text": ("mov_text", "text2movsub"),
    "mov_text": ("subrip", "mov2textsub"),
}
_START_CODE_FILTERS = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
_IMAGES = {"mjpeg": "jpeg", "png": "png", "bmp": "bmp", "gif": "gif", "webp": "webp", "tiff": "tiff"}
_LONGEST_REORDERING_SECONDS = 3600
# FFmpeg gives subtitles that stay until the next one a duration of 2**32 - 1 ms.
_LONGEST_DURATION = 2**31 - 1
_UNKNOWN_SECONDS = 10


@dataclass(slots=True)
class Track:
    """An output stream that copies packets of an input stream.

    Attributes:
        stream: the output stream.
        bitstream_filter: filter applied to packets.
        from_zero: whether its timestamps start at zero, whenever the track starts.
        begin: presentation time of its first packet, in seconds; None before that.
        last_dts: timestamp of the last packet, in units of the stream's time base.
        next_dts: expected timestamp of the next packet, in units of the input's time base.
        packets: number of packets written.
        size: their size in bytes.
    """

    stream: Stream
    bitstream_filter: BitStreamFilterContext | None = None
    from_zero: bool = False
    begin: Fraction | None = None
    last_dts: int | None = None
    next_dts: int | None = None
    packets: int = 0
    size: int = 0

    @property
    def _traits(self) -> ContainerTraits:
        return traits_of(name_of(self.stream.container))

    def convert(self, packet: AnyPacket, zero: Fraction) -> list[AnyPacket]:
        """Return the packets to mux for a packet of the input.

        Args:
            packet: the packet; modified.
            zero: time in the input, in seconds, that becomes zero.
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
        """Return a timestamp for a packet without one; Matroska omits the first of reordered pictures."""
        if packet.pts is None or not isinstance(packet.stream, VideoStream):
            return packet.pts
        if self.next_dts is not None:
            return min(packet.pts, self.next_dts)
        context = packet.stream.codec_context
        ahead = context.has_b_frames if context is not None else 0
        return packet.pts - ahead * (packet.duration or 1)

    def place(self, packet: AnyPacket) -> AnyPacket:
        """Convert a packet's timestamps so that they increase even on a coarse clock."""
        packet.stream = self.stream
        self.packets += 1
        self.size += packet.size
        unit = Fraction(self.stream.time_base or 1)
        if packet.pts is not None and packet.dts is not None:
            # libx265 invents decoding timestamps for streams of one or two frames.
            ahead = (packet.pts - packet.dts) * Fraction(packet.time_base)
            packet.dts = packet.dts if 0 <= ahead < _LONGEST_REORDERING_SECONDS else packet.pts
        if self.begin is None and packet.pts is not None:
            self.begin = packet.pts * Fraction(packet.time_base)
        packet.rescale_ts(AVRational(unit))
        if (packet.duration or 0) > _LONGEST_DURATION and self._traits.finite_durations:
            packet.duration = round(_UNKNOWN_SECONDS / unit)
        if self.from_zero:
            shift = round((self.begin or 0) / unit)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
        if packet.dts is not None:
            if not packet.duration and self.last_dts is not None and isinstance(self.stream, AudioStream):
                # Else the last packet of an mp4 track would not be played.
                packet.duration = packet.dts - self.last_dts
            step = 0 if Flags.ts_nonstrict in Flags(self.stream.container.format.flags) else 1
            if self.last_dts is not None and packet.dts < self.last_dts + step:
                packet.dts = self.last_dts + step
                packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
            self.last_dts = packet.dts
        return packet


class Complete(Enum):
    """Reason why a stream needs no copying of packets."""

    REMADE = "the muxer makes it of the chapters or the timecode"
    ATTACHED = "its picture is an attachment"


@dataclass(frozen=True, slots=True)
class NotKept:
    """A stream that the container does not support.

    Attributes:
        stream: kind and index of the stream, or cover art.
        codec: FFmpeg's name of the codec.
        container: FFmpeg's name of the container.
        ending: extension of a container that supports it; None if unknown.
    """

    stream: str
    codec: str
    container: str
    ending: str | None

    def __str__(self) -> str:
        if self.codec == "unknown":
            return f"{self.stream} is not kept: FFmpeg does not know its codec"
        hint = f"; {self.ending} can" if self.ending else ""
        return f"{self.stream} ({self.codec}) is not kept: {self.container} cannot store it{hint}"


def add_copy(
    container: OutputContainer, stream: Stream, source: SourceInfo, *, seekable: bool = True
) -> Track | Complete | NotKept:
    """Add a copy of an input stream.

    Args:
        container: the output.
        stream: the input stream.
        source: the input.
        seekable: whether the output's header can still be changed at the end.

    Returns:
        a `Track` if its packets must be copied.
    """
    name = name_of(container)
    traits = traits_of(name)
    if is_remade(stream):
        return Complete.REMADE
    if is_cover(stream):
        if traits.cover == "attachment":
            return _attach(container, stream, source)
        if traits.cover is None:
            return _not_kept(stream, name)
    way = _way(name, stream)
    if way is None:
        codec, text_filter = _TEXT_FILTERS.get(_codec(stream), ("", ""))
        add = methodcaller("add_mux_stream", codec)
        if not codec or not traits.takes(codec) or refusal(name, add, beside_video=True):
            return _not_kept(stream, name)
        copy = container.add_mux_stream(codec)
        track = Track(copy, BitStreamFilterContext(text_filter, stream))
    else:
        copy = way(container, stream)
        bitstream_filter = _start_codes(stream, copy, traits)
        if not seekable:
            bitstream_filter = bitstream_filter or _track_header(stream, copy, container)
        track = Track(copy, bitstream_filter, from_zero=traits.starts_in_header)
    copy.metadata.update(track_tags(stream))
    copy.disposition = stream.disposition
    return track


def _start_codes(stream: Stream, copy: Stream, traits: ContainerTraits) -> BitStreamFilterContext | None:
    """Return a filter that replaces lengths by start codes in H.264 and HEVC; None if none is needed."""
    name = _START_CODE_FILTERS.get(_codec(stream))
    if name is None or not traits.start_codes or not isinstance(stream, VideoStream):
        return None
    if (stream.codec_context.extradata or b"")[:1] != b"\1":  # version of an avcC or hvcC: ISO 14496-15
        return None
    return BitStreamFilterContext(name, stream, copy)


def _track_header(stream: Stream, copy: Stream, container: OutputContainer) -> BitStreamFilterContext | None:
    """Give AAC of MPEG-TS a header for the whole track; return a filter that takes those of packets away.

    FFmpeg's muxers do this too, but write the header at the end, which a pipe does not allow.
    """
    config = audio_specific_config(stream)
    if config is None or Flags.global_header not in Flags(container.format.flags):
        return None
    copy.codec_context.extradata = config
    return BitStreamFilterContext("aac_adtstoasc", stream)


def _codec(stream: Stream) -> str:
    if stream.codec_context:
        return stream.codec_context.codec.canonical_name
    return getattr(stream, "name", None) or "unknown"  # missing for an unknown audio codec


def _refuses(format_name: str, stream: Stream) -> bool:
    return _way(format_name, stream) is None


def _way(format_name: str, stream: Stream) -> Callable[[OutputContainer, Stream], Stream] | None:
    """Find a way to add a stream that readers understand; None if the container refuses it."""
    traits = traits_of(format_name)
    source = stream.container.format.name
    if stream.type == "data" and not traits.takes_data(_codec(stream), source):
        return None
    if not traits.takes(_codec(stream)) or (stream.type == "attachment" and not traits.attachments):
        return None
    options = traits.trial_options(_codec(stream))
    needs_layout = traits.needs_layout(_codec(stream), source)
    for way in (_labelled,) if needs_layout else _WAYS.get(stream.type, (copy_stream,)):
        add, is_unlisted = partial(way, stream=stream), way is _unlisted
        if refusal(format_name, add, options, beside_video=True, with_packet=is_unlisted) is None:
            return way
    return None


def _labelled(container: OutputContainer, stream: Stream) -> Stream:
    """Add a copy of PCM without a channel layout, with the default layout, as players assume."""
    copy = copy_stream(container, stream)
    assert isinstance(copy, AudioStream)
    context = copy.codec_context
    pcm = re.match(r"pcm_(?:[suf](\d+)|alaw|mulaw)", _codec(stream))
    if pcm is None or not context.bit_rate:
        raise ValueError(f"channels of {_codec(stream)} have no layout")
    # Never read `layout` or `channels`: PyAV 18 then frees a custom layout twice, since its AudioLayout
    # shares the context's memory, and the process aborts.
    context.layout = f"{round(context.bit_rate / context.sample_rate / int(pcm[1] or 8))}c"
    return copy


def _unlisted(container: OutputContainer, stream: Stream) -> Stream:
    """Copy audio in a codec that the muxer accepts but does not list, as Matroska does for WAV codecs.

    PyAV checks the list, so the stream is created with the container's default codec; a no-op bitstream
    filter then sets the right parameters.
    """
    everything = open_output(BytesIO(), "mpegts")  # clears the source's codec tag
    copy = container.add_mux_stream(container.default_audio_codec)
    BitStreamFilterContext("null", copy_stream(everything, stream), copy)
    copy.time_base = stream.time_base
    return copy


_WAYS = {"audio": (copy_stream, _labelled, _unlisted)}


def _not_kept(stream: Stream, format_name: str) -> NotKept:
    what = "cover art" if is_cover(stream) else f"{stream.type} stream #{stream.index}"
    others = (
        traits.suggested_ending
        for name, traits in CONTAINERS.items()
        if traits.suggested_ending and name != format_name and not _refuses(name, stream)
    )
    return NotKept(what, _codec(stream), format_name, next(others, None))


def _attach(container: OutputContainer, stream: Stream, source: SourceInfo) -> Complete | NotKept:
    """Attach cover art under the name by which Matroska players recognise it (matroska.org, cover art)."""
    kind = _IMAGES.get(_codec(stream))
    picture = source.covers.get(stream.index)
    if kind is None or picture is None:
        return _not_kept(stream, name_of(container))
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    name = tags.get("filename", f"cover.{'jpg' if kind == 'jpeg' else kind}")
    container.add_attachment(name, tags.get("mimetype", f"image/{kind}"), picture)
    return Complete.ATTACHED
