"""Containers and codecs of this FFmpeg: lookup by name, and what each container can store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Literal

import av
import av.logging
from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.container import OutputContainer
from av.error import FFmpegError
from av.format import ContainerFormat, Flags
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from rtdeblur.errors import UsageError
from rtdeblur.ffmpeg.container import name_of, open_output, reason
from rtdeblur.ffmpeg.targets import is_stream

_VARIANT_ENDINGS = {".m2ts": "m2ts", ".mts": "m2ts"}  # FFmpeg itself knows only the first
# Not files that readers recognise as video: checksums, times, and data without a header.
_NOT_VIDEO = frozenset({
    "crc", "framecrc", "framehash", "framemd5", "hash", "image2pipe", "md5", "mkvtimestamp_v2",
    "rtp_mpegts", "streamhash", "uncodedframecrc",
})  # fmt: skip
_IDS_PER_KIND = 256
_PACKET_BYTES = 1024  # of a trial packet


@dataclass(frozen=True, slots=True)
class ContainerTraits:
    """Facts about a container that FFmpeg's muxer cannot be asked for; unlisted containers have the defaults.

    Attributes:
        chapters: whether it stores chapters.
        default_video: whether it stores which of several videos is the default; else players show the first.
        timecode: whether it stores the timecode of the first frame.
        rotation: whether it stores a display matrix.
        cover: where cover art goes: a stream of its own, an attachment, or nowhere.
        attachments: whether it stores attachments, such as fonts.
        numbers_frames: whether frames are numbered instead of having timestamps; raw streams, which FFmpeg
            flags itself, are not listed.
        highest_rate: frames per second above which readers take the rate for an error, if it numbers frames;
            None if there is no such limit.
        starts_in_header: whether every stream starts at zero unless its header says otherwise.
        begins_together: whether every stream starts with the main video, whatever its own start time.
        single_times: whether a packet has only one timestamp; FFmpeg reads it as the decoding time.
        least_picture: least size of a picture in bytes, so that no other begins in the same packet of the
            container, which has only one timestamp.
        counts_from_zero: whether its duration counts from zero, whatever the timestamp of the first packet.
        codecs: codecs that readers recognise, if the muxer accepts others too; None leaves it to the muxer.
        unreadable: codecs that the muxer accepts, but that readers cannot decode.
        data: codecs of data streams that readers recognise. Muxers accept others too, and lose them, write a
            track without a description or a file that nothing opens.
        start_codes: whether its H.264 and HEVC need start codes instead of lengths, and the muxer does not
            convert them.
        finite_durations: whether the muxer refuses packets that last until the next one.
        layout_codecs: codecs that need a channel layout: without one, FFmpeg 8.1's muxer aborts the process.
            Streams from the same container have one.
        first_ids: ids of the first copied stream per codec or kind ("": of any other), if the muxer itself
            numbers only some kinds and refuses the others.
        edit_units: whether each picture and its part of the audio form a unit: the main video is the first
            stream, and all streams end together.
        options: muxer options needed for exact timestamps.
        pipe_flags: muxer flags for an output that is not seekable.
        free_tags_flag: muxer flag that keeps tags with custom keys; empty if none is needed.
        keys: tags kept without that flag; None means all.
        pcm_options: options that make the muxer check the samples of PCM and ADPCM when it writes the header;
            without them it does so only at the end, too late to refuse the stream.
        suggested_ending: extension to suggest to users whose container refuses a stream; empty if other
            containers are better advice.
    """

    chapters: bool = False
    default_video: bool = False
    timecode: bool = False
    rotation: bool = False
    cover: Literal["stream", "attachment"] | None = None
    attachments: bool = False
    numbers_frames: bool = False
    highest_rate: int | None = None
    starts_in_header: bool = False
    begins_together: bool = False
    single_times: bool = False
    least_picture: int = 0
    counts_from_zero: bool = False
    codecs: frozenset[str] | None = None
    unreadable: frozenset[str] = frozenset()
    data: frozenset[str] = frozenset()
    start_codes: bool = False
    finite_durations: bool = False
    layout_codecs: frozenset[str] = frozenset()
    first_ids: Mapping[str, int] = field(default_factory=dict)
    edit_units: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    pipe_flags: tuple[str, ...] = ()
    free_tags_flag: str = ""
    keys: frozenset[str] | None = None
    pcm_options: Mapping[str, str] = field(default_factory=dict)
    suggested_ending: str = ""

    def takes(self, codec: str) -> bool:
        """Whether readers can decode a codec in it; the muxer may still refuse it."""
        return (self.codecs is None or codec in self.codecs) and codec not in self.unreadable

    def takes_data(self, codec: str, source: str) -> bool:
        """Whether readers recognise a data stream of a codec in it.

        Args:
            codec: FFmpeg's name. In mp4 and mov, bin_data is GoPro's telemetry; in others, anything.
            source: FFmpeg's name of the source's container.
        """
        return codec in self.data and (codec != "bin_data" or traits_of(source) is _MOV)

    def needs_layout(self, codec: str, source: str) -> bool:
        """Whether audio of a codec needs a channel layout first.

        Args:
            codec: FFmpeg's name.
            source: FFmpeg's name of the source's container.
        """
        return codec in self.layout_codecs and traits_of(source) is not self

    def trial_options(self, codec: str) -> Mapping[str, str]:
        """Muxer options for a trial header with a stream of a codec."""
        return self.pcm_options if codec.startswith(("pcm_", "adpcm_")) else {}


# Keys with dedicated atoms in mp4 (libavformat/movenc.c, mov_write_ilst_tag). Others need its table of free
# keys, which fewer players read.
_MP4_KEYS = frozenset({
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright",
    "grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords",
    "episode_sort", "season_number", "media_type", "hd_video", "gapless_playback", "compilation",
    "track", "disc", "tmpo", "creation_time", "timecode",
})  # fmt: skip
_MPEGTS_DATA = frozenset({"klv", "timed_id3", "smpte_2038"})
_MPEG_VIDEOS = ("mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc")
# The muxer accepts every codec, but readers cannot identify those that MPEG-TS has no type for: list the
# others.
_MPEGTS_CODECS = frozenset({
    "aac", "aac_latm", "ac3", "eac3", "dts", "mp1", "mp2", "mp3", "opus", "s302m",
    "dvb_subtitle", "dvb_teletext", *_MPEGTS_DATA, *_MPEG_VIDEOS,
})  # fmt: skip
_M2TS_CODECS = _MPEGTS_CODECS - {"timed_id3"} | {"truehd", "pcm_bluray", "hdmv_pgs_subtitle"}
# Those of Blu-ray, which has none for DVB subtitles, data and further videos.
_M2TS_IDS = {"audio": 0x1100, "hdmv_pgs_subtitle": 0x1200, "": 0x1B00}
_FLV_CODECS = frozenset({
    "adpcm_swf", "nellymoser", "speex", "pcm_alaw", "pcm_mulaw", "pcm_s16be", "pcm_s16le", "pcm_u8",
})  # fmt: skip
_MPEG_CODECS = frozenset({
    "mp1", "mp2", "mp3", "ac3", "eac3", "dts", "pcm_dvd", "pcm_s16be", "dvd_subtitle", *_MPEG_VIDEOS,
})  # fmt: skip
_MOV = ContainerTraits(
    chapters=True,
    default_video=True,
    timecode=True,
    rotation=True,
    data=frozenset({"bin_data"}),
    options={"movie_timescale": "90000"},  # else start offsets are rounded to a millisecond
    # An index cannot be written to a pipe. Without delay_moov, audio would be shifted by its priming.
    pipe_flags=("frag_keyframe", "delay_moov", "default_base_moof"),
    free_tags_flag="use_metadata_tags",
    keys=_MP4_KEYS,
    pcm_options={"movflags": "empty_moov"},
    finite_durations=True,
    suggested_ending=".mov",
)
_IPOD = replace(_MOV, cover="stream", suggested_ending="")
_WEBM = ContainerTraits(
    chapters=True, default_video=True, timecode=True, rotation=True, counts_from_zero=True
)
_EVEN = ContainerTraits(numbers_frames=True, begins_together=True)
_MPEG = ContainerTraits(codecs=_MPEG_CODECS, least_picture=2048, start_codes=True)
CONTAINERS: dict[str, ContainerTraits] = {
    "matroska": replace(_WEBM, cover="attachment", attachments=True, suggested_ending=".mkv"),
    "webm": _WEBM,
    "mp4": replace(_IPOD, suggested_ending=".mp4"),
    "mov": _MOV,
    "ipod": _IPOD,
    "3gp": _IPOD,
    "3g2": _IPOD,
    "nut": ContainerTraits(
        chapters=True,
        default_video=True,
        data=frozenset({"bin_data", "klv", "timed_id3", "smpte_2038", "smpte_436m_anc", "unknown"}),
    ),
    "ogg": ContainerTraits(chapters=True, numbers_frames=True),
    "ogv": ContainerTraits(chapters=True, numbers_frames=True),
    "asf": ContainerTraits(chapters=True, single_times=True),
    "mxf": ContainerTraits(
        timecode=True,
        numbers_frames=True,
        begins_together=True,
        edit_units=True,
        data=frozenset({"smpte_436m_anc"}),
    ),
    "rm": ContainerTraits(numbers_frames=True, begins_together=True),
    "flv": ContainerTraits(layout_codecs=_FLV_CODECS),
    "mpegts": ContainerTraits(codecs=_MPEGTS_CODECS, data=_MPEGTS_DATA, suggested_ending=".ts"),
    "m2ts": ContainerTraits(codecs=_M2TS_CODECS, data=_MPEGTS_DATA - {"timed_id3"}, first_ids=_M2TS_IDS),
    "avi": ContainerTraits(
        numbers_frames=True,
        highest_rate=1000,  # libavformat/avidec.c
        starts_in_header=True,
        single_times=True,
        start_codes=True,
    ),
    **dict.fromkeys(("amv", "dv", "gxf", "film_cpk", "roq", "yuv4mpegpipe"), _EVEN),
    "swf": replace(_EVEN, unreadable=frozenset({"png"})),
    # Codecs that need a header of their own, which wtv loses; readers take MJPEG in it for cover art.
    "wtv": ContainerTraits(
        unreadable=frozenset({"ffv1", "ffvhuff", "mjpeg", "utvideo", "zlib"}), start_codes=True
    ),
    **dict.fromkeys(("mpeg", "vob", "dvd"), _MPEG),
    **dict.fromkeys(("svcd", "vcd"), replace(_MPEG, least_picture=2324)),
}
"""Traits by FFmpeg's muxer name or that of a variant, in the order in which containers are suggested."""


def traits_of(name: str) -> ContainerTraits:
    """Return the traits of a container.

    Args:
        name: FFmpeg's name of the muxer, or of the demuxer, which may be a comma-separated list.
    """
    return CONTAINERS.get(name.partition(",")[0], ContainerTraits())


def numbers_frames(container: OutputContainer) -> bool:
    """Whether a container numbers its frames instead of giving them timestamps."""
    is_raw = Flags.no_timestamps in Flags(container.format.flags)
    return is_raw or traits_of(name_of(container)).numbers_frames


def ffmpeg_version() -> str:
    """Return the version of the FFmpeg that PyAV bundles."""
    return av.ffmpeg_version_info


def has_codec(name: str, mode: Literal["r", "w"]) -> bool:
    """Whether this build has a decoder ("r") or an encoder ("w") of that name."""
    try:
        Codec(name, mode)
    except UnknownCodecError:
        return False
    return True


def format_of(path: Path, name: str | None = None) -> str:
    """Return the name of the container for a file name: FFmpeg's, or that of a variant (`open_output`).

    Args:
        path: the output; standard output ('-') and an existing pipe or device get matroska.
        name: an explicitly requested container, by FFmpeg's name or a usual extension; overrides the path's.

    Raises:
        UsageError: the extension or name is missing or unknown, or does not stand for a single video file.
    """
    if name is not None:
        found = _video_muxer("x", name) or _video_muxer(f"x.{name}")
        if found is None:
            raise UsageError(f"format {name!r} is not a video container; try mp4, mkv, mov or webm")
        return _with_header(found, f"format {name!r}")
    if found := _video_muxer(f"x{path.suffix}"):
        return _with_header(found, f"output {str(path)!r}")
    if is_stream(path):
        return "matroska"
    if not path.suffix:
        raise UsageError(f"output {str(path)!r} has no extension; add .mp4, .mkv, .mov or .webm")
    raise UsageError(
        f"output {str(path)!r} ends in {path.suffix!r}, which is not a video container; "
        "try .mp4, .mkv, .mov or .webm"
    )


def _with_header(found: str, what: str) -> str:
    if found == "rawvideo":  # FFmpeg would write any codec to it, and nothing could read it
        raise UsageError(
            f"{what} would have no header, so that readers would not know its size; "
            "try y4m, or nut with --codec rawvideo"
        )
    return found


def output_ending(path: Path) -> str:
    """Return the extension for the output of a video: its own, or '.mkv' if FFmpeg cannot write that."""
    try:
        format_of(path)
    except UsageError:
        return ".mkv"
    return path.suffix


def ending_of(name: str) -> str:
    """Return the usual extension of a requested container, such as '.mkv'.

    Raises:
        UsageError: there is no such container.
    """
    found = format_of(Path(), name)
    if _video_muxer(f"x.{name}") == found:
        return f".{name}"
    endings = ContainerFormat(found, "w").extensions
    return f".{min(endings, key=lambda e: (len(e), e))}" if endings else ".mkv"


def _video_muxer(file: str, format_name: str | None = None) -> str | None:
    """Return the muxer for a file name or format name; None if it cannot store video."""
    try:
        container: OutputContainer = av.open(file, "w", format=format_name)  # opens no file yet
    except ValueError:
        return None
    if container.format.no_file or container.format.name in _NOT_VIDEO:
        return None
    # Audio files hold cover art at most, for which FFmpeg's default is PNG.
    holds_video = container.default_video_codec not in ("none", "png")
    return _VARIANT_ENDINGS.get(Path(file).suffix.lower(), container.format.name) if holds_video else None


def refusal(
    format_name: str,
    add: Callable[[OutputContainer], object],
    options: Mapping[str, str] | None = None,
    *,
    beside_video: bool = False,
    with_packet: bool = False,
) -> str | None:
    """Return why a container cannot be written with the streams that `add` adds; None if it can.

    Muxers only find out while writing the header, so write one to memory.

    Args:
        format_name: FFmpeg's name of the container.
        add: adds streams.
        options: options of the muxer.
        beside_video: whether these are streams other than the main video.
        with_packet: also write a packet to the stream that `add` returns.
    """
    scratch = open_output(BytesIO(), format_name, dict(options or {}))
    try:
        if beside_video and traits_of(format_name).edit_units:
            _add_video(scratch)
        stream = add(scratch)
        for codec in (s.codec_context.codec.canonical_name for s in scratch.streams if s.codec_context):
            if not traits_of(format_name).takes(codec):
                return f"readers cannot decode {codec} in it"
        scratch.start_encoding()
        if with_packet:
            assert isinstance(stream, Stream)
            packet = Packet(bytes(_PACKET_BYTES))
            packet.stream, packet.pts, packet.dts = stream, 0, 0
            scratch.mux(packet)
            scratch.close()
    except (FFmpegError, ValueError) as error:
        return reason(error)
    finally:
        with suppress(FFmpegError):
            scratch.close()
    return None


def copy_stream(container: OutputContainer, stream: Stream) -> Stream:
    """Add a stream for the packets of an input stream.

    Raises:
        ValueError: the container does not support its codec.
    """
    copy = container.add_stream_from_template(stream, opaque=True)
    ids = traits_of(name_of(container)).first_ids
    if ids:
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else ""
        first = ids.get(codec, ids.get(stream.type, ids[""]))
        copy.id = first + sum(first <= other.id < first + _IDS_PER_KIND for other in container.streams)
    return copy


def is_remade(stream: Stream) -> bool:
    """True for mov's tracks of chapters, which FFmpeg discards, and timecode: muxers generate them."""
    if stream.type != "data":
        return False
    return stream.discard is Discard.all or (stream.name is None and "timecode" in stream.metadata)


def _add_video(container: OutputContainer) -> None:
    """Add a small video stream; MXF needs its pixel format, which in PyAV only an encoder sets."""
    stream = container.add_stream("mpeg2video", 25, width=96, height=64)
    assert isinstance(stream, VideoStream)
    stream.codec_context.pix_fmt = "yuv420p"
