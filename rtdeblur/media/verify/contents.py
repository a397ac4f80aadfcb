"""Contents of a file for comparison: frame timestamps, packets of every stream, tags, colour.

Independent of the reader and the writer of restored files, so that it can find their faults.
"""

from __future__ import annotations

import hashlib
from contextlib import closing, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.codec.context import Flags
from av.container import InputContainer
from av.error import FFmpegError
from av.format import Flags as FormatFlags
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc
from av.video.stream import VideoStream

from rtdeblur.errors import InputError
from rtdeblur.ffmpeg.container import frame_rate, main_video, open_input
from rtdeblur.ffmpeg.formats import is_remade, traits_of
from rtdeblur.ffmpeg.pixels import depth_of, has_alpha, is_full_range, is_rgb
from rtdeblur.ffmpeg.side_data import display_matrix, light_level, mastering_display
from rtdeblur.ffmpeg.splices import Splicer
from rtdeblur.media.verify.thumbnails import Thumbnail, thumbnail

_DATA = {"bin_data": "binary data", "unknown": "unknown data"}
# Written by a muxer itself, or computed from packets by an earlier one.
_MADE_TAGS = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "vendor_id", "duration", "handler_name",
    "language", "filename", "mimetype", "timecode", "creation_time",
    "application_platform", "company_name", "file_package_umid", "generation_uid", "material_package_umid",
    "modification_date", "operational_pattern_ul", "product_name", "product_uid", "product_version",
    "product_version_num", "toolkit_version", "toolkit_version_num", "uid",  # of MXF
}  # fmt: skip
_MADE_PREFIXES = ("_statistics", "duration-", "bps", "number_of_frames", "number_of_bytes")
_SAME_TAGS = {"name": "title"}  # mov's name
_TEXT = ("mov_text", "subrip", "text", "webvtt")
# Bits of the NAL unit type, and types without picture data: ITU-T H.264, table 7-1; H.265, table 7-1.
# The header of HEVC may include its prefix SEI (39), which is then in the first packet in other containers.
_UNITS = {"h264": (0, 31, {7, 8, 9, 10, 11, 12}), "hevc": (1, 63, {32, 33, 34, 35, 36, 37, 38, 39})}
# ITU-T H.273, table 4
_MATRICES = {
    0: "rgb", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 14: "ictcp",
}  # fmt: skip
UNTAGGED = "untagged"
"""Colour tags that mean unspecified."""
_UPRIGHT = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


@dataclass(slots=True)
class StreamContents:
    """A stream other than the main video.

    Attributes:
        kind: audio, subtitle, data, attachment, video or cover.
        codec: FFmpeg's name of the codec.
        language: language tag; empty if untagged.
        tags: other tags, by lower-case key.
        disposition: flags such as 'default' or 'forced'.
        hashes: hash per packet in file order, without container-dependent framing.
        times: presentation time per packet, in seconds; None if not stated.
        lengths: duration per packet, in seconds; 0 if not stated.
        shown: per packet, False if players decode but do not play it.
        time_base: seconds per unit of its clock.
        end: end of the last packet, in seconds.
        whole: hash of everything that is played, however it is split into packets.
    """

    kind: str
    codec: str
    language: str
    tags: dict[str, str]
    disposition: frozenset[str]
    hashes: list[bytes] = field(default_factory=list)
    times: list[Fraction | None] = field(default_factory=list)
    lengths: list[Fraction] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)
    time_base: Fraction = Fraction(1)
    end: Fraction | None = None
    whole: Any = field(default_factory=hashlib.blake2b)

    def add(self, packet: Packet[Any]) -> None:
        """Add a packet."""
        data = bytes(packet)
        if self.codec in _TEXT:
            data = _text(data, self.codec)
            if not data:
                return  # mp4 fills the time between two subtitles with empty ones
        elif self.codec == "aac":
            data = _without_adts(data)
        elif self.codec in _UNITS:
            data = _units(data, self.codec)
        unit = Fraction(packet.time_base)
        time = None if packet.pts is None else packet.pts * unit
        self.hashes.append(_digest(data))
        self.times.append(time)
        self.lengths.append((packet.duration or 0) * unit)
        self.shown.append(not packet.is_discard)
        if not packet.is_discard:
            self.whole.update(data)
        if time is not None:
            self.end = max(self.end or time, time + (packet.duration or 0) * unit)


@dataclass(slots=True)
class Contents:
    """Contents of a file.

    Attributes:
        format: FFmpeg's name of the container.
        main: the main video; its packets are not kept.
        frames: presentation time of each of its frames, in seconds.
        thumbnails: thumbnail of each of its frames.
        concealed: numbers of the frames that differ from one decoding to another, because they contain or
            follow damage: FFmpeg fills it from memory that an earlier frame has left.
        sizes: width and height of its pictures, one entry per change.
        picture: display properties of its pictures, by name.
        tracks: the other streams.
        chapters: start and end in seconds, and title.
        tags: tags of the container, by lower-case key.
        timecode: timecode of the first frame; empty if missing.
        created: recording time; empty if not stated.
    """

    format: str
    main: StreamContents
    frames: list[Fraction]
    thumbnails: list[Thumbnail]
    concealed: frozenset[int]
    sizes: list[tuple[int, int]]
    picture: dict[str, Any]
    tracks: list[StreamContents]
    chapters: list[tuple[Fraction, Fraction, str]]
    tags: dict[str, str]
    timecode: str
    created: str

    @property
    def first(self) -> Fraction:
        """Time of the first frame, in seconds."""
        return self.frames[0] if self.frames else Fraction(0)


def read_contents(path: Path) -> Contents:
    """Read a file in full.

    Raises:
        InputError: it cannot be read, or has no decodable video.
    """
    with closing(open_input(path)) as container:
        contents = _read(container, main_video(container, path))
    if not contents.frames:
        raise InputError(f"cannot decode any frame of {str(path)!r}; nothing to compare")
    return contents


def _read(container: InputContainer, video: VideoStream) -> Contents:
    video.codec_context.thread_type = "SLICE"  # frame threads lose the end of a truncated file
    video.codec_context.flags |= Flags.output_corrupt
    tracks = {stream.index: _track(stream) for stream in container.streams if not is_remade(stream)}
    pictures = _Pictures(video)
    splicer = Splicer() if FormatFlags.ts_discont in FormatFlags(container.format.flags) else None
    for packet in _packets(container):
        index = packet.stream.index  # packet.stream_index is 0 in those without data
        if not packet.size or index not in tracks:
            continue
        if splicer is not None:
            _splice(packet, splicer)
        if index == video.index:
            pictures.decode(packet)
        else:
            tracks[index].add(packet)
    pictures.decode(None)
    main = tracks.pop(video.index)
    tags = {key.lower(): value for key, value in container.metadata.items()}
    everywhere = {
        key.lower(): value for stream in container.streams for key, value in stream.metadata.items()
    }
    return Contents(
        format=container.format.name,
        main=main,
        frames=pictures.times,
        thumbnails=pictures.thumbnails,
        concealed=frozenset(pictures.concealed),
        sizes=pictures.sizes,
        picture=_appearance(video, pictures.first) if pictures.first else {},
        tracks=list(tracks.values()),
        chapters=_chapters(container),
        tags=_told(container.metadata),
        timecode=(everywhere | tags).get("timecode", ""),
        created=tags.get("creation_time", ""),
    )


def _splice(packet: Packet[Any], splicer: Splicer) -> None:
    """Put a packet of a transport stream on a continuous clock, however often the file's clock restarts."""
    clock = packet.dts if packet.dts is not None else packet.pts
    if clock is None:
        return
    unit = Fraction(packet.time_base)
    offset = splicer.offset(clock * unit, (packet.duration or 0) * unit, packet.stream.index)
    shift = round(offset / unit)
    packet.dts = None if packet.dts is None else packet.dts + shift
    packet.pts = None if packet.pts is None else packet.pts + shift


class _Pictures:
    """Decoded frames of the main video: timestamps, sizes and thumbnails."""

    def __init__(self, video: VideoStream) -> None:
        self._video = video
        self._unit = Fraction(video.time_base or 1)
        self._rate = frame_rate(video) or Fraction(25)
        self.times: list[Fraction] = []
        self.thumbnails: list[Thumbnail] = []
        self.concealed: set[int] = set()
        self._is_concealed = False
        self.sizes: list[tuple[int, int]] = []
        self.first: VideoFrame | None = None
        self._next = Fraction(0)
        # With one timestamp per packet, decoding and presentation timestamps are the same when sorted.
        self._single_times = traits_of(video.container.format.name).single_times
        self._sent: list[int] = []

    def decode(self, packet: Packet[Any] | None) -> None:
        """Add the frames that a packet completes; None flushes the decoder."""
        decoded: list[VideoFrame] = []
        with suppress(FFmpegError):
            decoded = self._video.decode(packet)
        if packet is not None and packet.dts is not None:
            self._sent.append(packet.dts)
        for frame in decoded:
            self.first = self.first or frame
            unit = Fraction(frame.time_base or self._unit)
            time = self._next if frame.pts is None else frame.pts * unit
            # Raw streams have no timestamps; their headers' frame rate is in the duration of each frame.
            self._next = time + (frame.duration * unit or 1 / self._rate)
            self._is_concealed = frame.is_corrupt or (self._is_concealed and not frame.key_frame)
            if self._is_concealed:
                self.concealed.add(len(self.times))
            self.times.append(time)
            self.thumbnails.append(thumbnail(frame))
            if not self.sizes or self.sizes[-1] != (frame.width, frame.height):
                self.sizes.append((frame.width, frame.height))
        if packet is None and self._single_times and len(self._sent) == len(self.times):
            self.times = [time * self._unit for time in sorted(self._sent)]


def _packets(container: InputContainer) -> Any:
    packets = container.demux()
    for _ in range(16):  # reads of damaged files may fail now and then
        try:
            yield from packets
        except FFmpegError:
            packets = container.demux()
        else:
            return


def _track(stream: Stream) -> StreamContents:
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    language = tags.get("language", "")
    picture = bool(stream.disposition & Disposition.attached_pic)
    track = StreamContents(
        kind="cover" if picture else stream.type,
        codec=_codec(stream),
        language="" if language == "und" else language,
        tags=_told(stream.metadata),
        disposition=frozenset(d.name for d in Disposition if d & stream.disposition and d.name),
        time_base=Fraction(stream.time_base or 1),
    )
    if isinstance(stream, AttachmentStream):
        track.tags = {key: tags[key] for key in ("filename", "mimetype") if key in tags}
        track.hashes.append(_digest(stream.data))
    return track


def _codec(stream: Stream) -> str:
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    name = getattr(stream, "name", None) or "unknown"
    return _DATA.get(name, name) if stream.type == "data" else name


def _told(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags that people write, without those that programs generate."""
    return {
        _SAME_TAGS.get(key.lower(), key.lower()): value
        for key, value in tags.items()
        if key.lower() not in _MADE_TAGS and not key.lower().startswith(_MADE_PREFIXES)
    }


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=12).digest()


def _text(data: bytes, codec: str) -> bytes:
    """Return the text of a plain subtitle, without mp4's length before it and style after it."""
    if codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    return data.strip()


def _without_adts(data: bytes) -> bytes:
    """Strip the ADTS header that transport streams put before each AAC frame (ISO 14496-3, 1.A.2)."""
    if len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        if length == len(data):
            return data[7 if data[1] & 1 else 9 :]
    return data


def _units(data: bytes, codec: str) -> bytes:
    """Return the NAL units of a picture with start codes, whether separated by start codes or lengths.

    Omits units that muxers add or move to the header: parameter sets, delimiters, filler.
    """
    units, place = [], 0
    while place + 4 < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        units.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    if place != len(data):  # else a length of 256 to 511 would look like a start code
        units = data.split(b"\0\0\1")[1:]
    shift, mask, made = _UNITS[codec]
    kept = (unit.rstrip(b"\0") for unit in units if unit and (unit[0] >> shift) & mask not in made)
    return b"\0\0\1".join(kept) or data


def _chapters(container: InputContainer) -> list[tuple[Fraction, Fraction, str]]:
    chapters = []
    for chapter in container.chapters():
        unit = Fraction(chapter["time_base"] or 1)
        title = {key.lower(): value for key, value in chapter["metadata"].items()}.get("title", "")
        chapters.append((chapter["start"] * unit, chapter["end"] * unit, title))
    return chapters


def _appearance(video: VideoStream, frame: VideoFrame) -> dict[str, Any]:
    """Return display properties of a video by name: aspect ratio, rotation, colour, HDR, fields.

    Args:
        video: the stream.
        frame: its first picture.
    """
    source = frame.format
    colours = [component for component in source.components if not component.is_alpha]
    chroma = "4:4:4" if is_rgb(source) else _chroma(source.chroma_width(8), source.chroma_height(8))
    return {
        "aspect ratio": Fraction(video.sample_aspect_ratio or 1),
        "rotation": _rotation(frame),
        "depth": depth_of(source),
        "chroma": "none" if len(colours) == 1 else chroma,
        "alpha": has_alpha(source),
        "rgb": is_rgb(source),
        "colour range": "full" if is_full_range(frame) else "limited",
        "colour matrix": _MATRICES.get(int(frame.colorspace), UNTAGGED),
        "colour transfer": _name(ColorTrc, frame.color_trc),
        "colour primaries": _name(ColorPrimaries, frame.color_primaries),
        "mastering display": _mastering(frame),
        "light levels": light_level(frame),
        "interlaced": frame.interlaced_frame,
    }


def _chroma(width: int, height: int) -> str:
    names = {
        (8, 8): "4:4:4",
        (4, 8): "4:2:2",
        (4, 4): "4:2:0",
        (8, 4): "4:4:0",
        (2, 8): "4:1:1",
        (2, 2): "4:1:0",
    }
    return names.get((width, height), f"{width}x{height} of 8x8")


def _name(kind: type[IntEnum], value: int) -> str:
    try:
        name = kind(value).name.lower()
    except ValueError:
        return str(value)
    return UNTAGGED if name == "unspecified" or value == 0 else name


def _rotation(frame: VideoFrame) -> tuple[int, ...] | None:
    matrix = display_matrix(frame)
    return None if matrix == _UPRIGHT else matrix


def _mastering(frame: VideoFrame) -> tuple[float, ...] | None:
    display = mastering_display(frame)
    return None if display is None else tuple(round(value, 5) for value in display.values)
