"""All that a file holds, read for comparison: frame times, packets of every stream, tags, colour.

It shares no bookkeeping with the reader and the writer of restored files, so that it can judge them.
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
from rtdeblur.ffmpeg.formats import traits_of
from rtdeblur.ffmpeg.pixels import depth_of, has_alpha, is_full_range, is_rgb
from rtdeblur.ffmpeg.side_data import display_matrix, light_level, mastering_display
from rtdeblur.ffmpeg.splices import Splicer
from rtdeblur.media.verify.thumbnails import Thumbnail, thumbnail

# What a muxer writes by itself, or an earlier one computed from packets.
_MADE_TAGS = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "vendor_id", "duration", "handler_name",
    "language", "filename", "mimetype", "timecode", "creation_time",
    "application_platform", "company_name", "file_package_umid", "generation_uid", "material_package_umid",
    "modification_date", "operational_pattern_ul", "product_name", "product_uid", "product_version",
    "product_version_num", "toolkit_version", "toolkit_version_num", "uid",  # of MXF
}  # fmt: skip
_MADE_PREFIXES = ("_statistics", "duration-", "bps", "number_of_frames", "number_of_bytes")
_SAME_TAGS = {"name": "title"}  # as mov calls it
_TEXT = ("mov_text", "subrip", "text", "webvtt")
# Where a NAL unit has its type, and those that hold no picture: ITU-T H.264, table 7-1; H.265, table 7-1.
_UNITS = {"h264": (0, 31, {7, 8, 9, 10, 11, 12}), "hevc": (1, 63, {32, 33, 34, 35, 36, 37, 38})}
# ITU-T H.273, table 4
_MATRICES = {
    0: "rgb", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 14: "ictcp",
}  # fmt: skip
UNTAGGED = "untagged"
"""A colour tag that says nothing."""
_UPRIGHT = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


@dataclass(slots=True)
class StreamContents:
    """A stream beside the main video.

    Attributes:
        kind: audio, subtitle, data, attachment, video or cover.
        codec: FFmpeg's name of what its packets hold.
        language: as tagged; empty where it is not.
        tags: what else describes it, by lower-case key.
        disposition: what it is for, as 'default' or 'forced'.
        hashes: of its packets in file order, framing that depends on the container left out.
        times: when each packet is presented, in seconds; None where the file does not say.
        lengths: how long each packet lasts, in seconds; 0 where the file does not say.
        shown: for each packet, False where players decode it and do not play it.
        time_base: seconds a unit of its clock.
        end: seconds where the last packet ends.
        whole: hash of all that is played, however it is cut into packets.
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
        """Take in one packet."""
        data = bytes(packet)
        if self.codec in _TEXT:
            data = _text(data, self.codec)
            if not data:
                return  # mp4 fills the time between two lines with empty ones
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
    """What a file holds.

    Attributes:
        format: FFmpeg's name of the container.
        main: the video that players show; its packets are not kept.
        frames: the presentation time of each of its frames, in seconds.
        thumbnails: of each of its frames.
        sizes: width and height of its pictures, one for each change.
        picture: what is known of how its pictures are shown, by name.
        tracks: the other streams.
        chapters: start and end in seconds, and title.
        tags: of the container, by lower-case key.
        timecode: of the first frame; empty where there is none.
        created: when it was recorded; empty where it does not say.
    """

    format: str
    main: StreamContents
    frames: list[Fraction]
    thumbnails: list[Thumbnail]
    sizes: list[tuple[int, int]]
    picture: dict[str, Any]
    tracks: list[StreamContents]
    chapters: list[tuple[Fraction, Fraction, str]]
    tags: dict[str, str]
    timecode: str
    created: str

    @property
    def first(self) -> Fraction:
        """The time of the first frame, in seconds."""
        return self.frames[0] if self.frames else Fraction(0)


def read_contents(path: Path) -> Contents:
    """Read a whole file.

    Raises:
        InputError: it cannot be read, or holds no video, or none of which a frame can be decoded.
    """
    with closing(open_input(path)) as container:
        contents = _read(container, main_video(container, path))
    if not contents.frames:
        raise InputError(f"cannot decode any frame of {str(path)!r}; nothing to compare")
    return contents


def _read(container: InputContainer, video: VideoStream) -> Contents:
    video.codec_context.thread_type = "SLICE"  # frame threads lose the end of a truncated file
    video.codec_context.flags |= Flags.output_corrupt
    tracks = {stream.index: _track(stream) for stream in container.streams}
    pictures = _Pictures(video)
    splicer = Splicer() if FormatFlags.ts_discont in FormatFlags(container.format.flags) else None
    for packet in _packets(container):
        index = packet.stream.index  # packet.stream_index is 0 in those without data
        if not packet.size:
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
        sizes=pictures.sizes,
        picture=_appearance(video, pictures.first) if pictures.first else {},
        tracks=list(tracks.values()),
        chapters=_chapters(container),
        tags=_told(container.metadata),
        timecode=(everywhere | tags).get("timecode", ""),
        created=tags.get("creation_time", ""),
    )


def _splice(packet: Packet[Any], splicer: Splicer) -> None:
    """Put a packet of a transport stream on one clock, however often that of the file restarts."""
    clock = packet.dts if packet.dts is not None else packet.pts
    if clock is None:
        return
    unit = Fraction(packet.time_base)
    offset = splicer.offset(clock * unit, (packet.duration or 0) * unit, packet.stream.index)
    shift = round(offset / unit)
    packet.dts = None if packet.dts is None else packet.dts + shift
    packet.pts = None if packet.pts is None else packet.pts + shift


class _Pictures:
    """The decoded frames of the main video: their times, sizes and thumbnails."""

    def __init__(self, video: VideoStream) -> None:
        self._video = video
        self._unit = Fraction(video.time_base or 1)
        self._rate = frame_rate(video) or Fraction(25)
        self.times: list[Fraction] = []
        self.thumbnails: list[Thumbnail] = []
        self.sizes: list[tuple[int, int]] = []
        self.first: VideoFrame | None = None
        self._next = Fraction(0)
        # Packets with one time each, of decoding or showing: either way the frames have the same, sorted.
        self._single_times = traits_of(video.container.format.name).single_times
        self._sent: list[int] = []

    def decode(self, packet: Packet[Any] | None) -> None:
        """Take in the frames that one packet completes; None completes what the decoder still holds."""
        decoded: list[VideoFrame] = []
        with suppress(FFmpegError):
            decoded = self._video.decode(packet)
        if packet is not None and packet.dts is not None:
            self._sent.append(packet.dts)
        for frame in decoded:
            self.first = self.first or frame
            unit = Fraction(frame.time_base or self._unit)
            time = self._next if frame.pts is None else frame.pts * unit
            # Raw streams have no times; what their own headers say is in the length of each frame.
            self._next = time + (frame.duration * unit or 1 / self._rate)
            self.times.append(time)
            self.thumbnails.append(thumbnail(frame))
            if not self.sizes or self.sizes[-1] != (frame.width, frame.height):
                self.sizes.append((frame.width, frame.height))
        if packet is None and self._single_times and len(self._sent) == len(self.times):
            self.times = [time * self._unit for time in sorted(self._sent)]


def _packets(container: InputContainer) -> Any:
    packets = container.demux()
    for _ in range(16):  # damaged files fail to be read now and then
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
    context = stream.codec_context
    track = StreamContents(
        kind="cover" if picture else stream.type,
        codec=context.codec.canonical_name
        if context is not None
        else getattr(stream, "name", None) or "unknown",
        language="" if language == "und" else language,
        tags=_told(stream.metadata),
        disposition=frozenset(d.name for d in Disposition if d & stream.disposition and d.name),
        time_base=Fraction(stream.time_base or 1),
    )
    if isinstance(stream, AttachmentStream):
        track.tags = {key: tags[key] for key in ("filename", "mimetype") if key in tags}
        track.hashes.append(_digest(stream.data))
    return track


def _told(tags: dict[str, str]) -> dict[str, str]:
    """The tags that somebody wrote, without those that a program makes."""
    return {
        _SAME_TAGS.get(key.lower(), key.lower()): value
        for key, value in tags.items()
        if key.lower() not in _MADE_TAGS and not key.lower().startswith(_MADE_PREFIXES)
    }


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=12).digest()


def _text(data: bytes, codec: str) -> bytes:
    """The words of a plain subtitle: mp4 puts their length before them, and their style after."""
    if codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    return data.strip()


def _without_adts(data: bytes) -> bytes:
    """An AAC frame without the header that transport streams put before each (ISO 14496-3, 1.A.2)."""
    if len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        if length == len(data):
            return data[7 if data[1] & 1 else 9 :]
    return data


def _units(data: bytes, codec: str) -> bytes:
    """The NAL units of a picture, whether start codes or lengths part them, joined by start codes.

    Units that muxers add or move to the header are left out: parameter sets, delimiters, filler.
    """
    units, place = [], 0
    while place + 4 < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        units.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    if place != len(data):  # else a length of 256 to 511 would be taken for a start code
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
    """How the pictures of a video are to be shown, by name: sample size, rotation, colour, HDR, fields.

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
