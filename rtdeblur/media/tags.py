"""What describes a file as a whole: tags, chapters, timecode."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from av.container import OutputContainer
from av.stream import Disposition

from rtdeblur.ffmpeg.formats import COVERS, MATROSKA, MOV
from rtdeblur.media.reader import FileReader

if TYPE_CHECKING:  # PyAV has it in its stubs alone
    from av.container.core import Chapter

_TIMECODES = MOV | MATROSKA | {"mxf"}
_CHAPTERS = MOV | MATROSKA | {"nut", "ogg", "asf"}
# What the muxer writes itself, or mkvmerge computed from packets.
_STALE_TAGS = {
    "alpha_mode",
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
    "vendor_id",
    "duration",
}
_STALE_PREFIXES = ("_statistics", "duration-", "bps", "number_of_frames", "number_of_bytes")
# Without delay_moov the sound would be moved by its priming.
_FRAGMENTED = ("frag_keyframe", "delay_moov", "default_base_moof")
# Keys for which mp4 has places of its own (libavformat/movenc.c, mov_write_ilst_tag); others need
# its table of free keys, which fewer players read.
_MP4_KEYS = {
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright",
    "grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords",
    "episode_sort", "season_number", "media_type", "hd_video", "gapless_playback", "compilation",
    "track", "disc", "tmpo", "creation_time", "timecode",
}  # fmt: skip


def clean_tags(tags: dict[str, str]) -> dict[str, str]:
    """The tags that are still true of a file with another encoder and muxer."""
    return {
        key: value
        for key, value in tags.items()
        if key.lower() not in _STALE_TAGS and not key.lower().startswith(_STALE_PREFIXES)
    }


def muxer_options(reader: FileReader, format_name: str, seekable: bool = True) -> dict[str, str]:
    """Options with which a muxer keeps exact times and every tag.

    Args:
        reader: the source.
        format_name: FFmpeg's name of the container.
        seekable: False for a pipe, where mp4 needs fragments, as it cannot go back to write its index.
    """
    # Else Matroska and others write random numbers, and no two runs give the same bytes.
    options = {"fflags": "+bitexact"}
    if format_name not in MOV:
        return options
    options["movie_timescale"] = "90000"  # else start offsets are rounded to a millisecond
    flags = [] if seekable else list(_FRAGMENTED)
    if _free_tags(reader) and not (format_name in COVERS and _has_cover(reader)):
        flags.append("use_metadata_tags")
    return options | ({"movflags": "+".join(flags)} if flags else {})


def _free_tags(reader: FileReader) -> list[str]:
    return [key for key in clean_tags(reader.container.metadata) if key.lower() not in _MP4_KEYS]


def _has_cover(reader: FileReader) -> bool:
    return any(stream.disposition & Disposition.attached_pic for stream in reader.container.streams.video)


def copy_tags(container: OutputContainer, reader: FileReader) -> list[str]:
    """Copy the tags and chapters of the source.

    Returns:
        Warnings about what the container cannot hold.
    """
    name, warnings = container.format.name, []
    container.metadata.update(clean_tags(reader.container.metadata))
    if name in COVERS and _has_cover(reader) and (free := _free_tags(reader)):
        tags = ", ".join(sorted(free))
        warnings.append(f"tags are not kept: {name} cannot hold {tags} beside cover art; .mkv can")
    timecode = _timecode(reader)
    if timecode and (reader.is_trimmed or name not in _TIMECODES):
        why = "it names the first frame of the source" if name in _TIMECODES else f"{name} cannot hold it"
        warnings.append(f"the timecode {timecode} is not kept: {why}")
    chapters = _chapters(reader)
    if chapters and name not in _CHAPTERS:
        warnings.append(f"{len(chapters)} chapters are not kept: {name} cannot hold them; .mkv can")
    else:
        container.set_chapters(chapters)
    return warnings


def video_tags(reader: FileReader) -> dict[str, str]:
    """The tags of the main video, with the timecode wherever the source has it.

    Muxers make a timecode track from this tag, and copy none.
    """
    tags = clean_tags(reader.stream.metadata)
    tags.pop("timecode", None)
    timecode = _timecode(reader)
    if timecode and not reader.is_trimmed:  # it names the first frame of the source
        tags["timecode"] = timecode
    return tags


def _timecode(reader: FileReader) -> str | None:
    streams = (reader.stream, *reader.container.streams.data)
    return next((s.metadata["timecode"] for s in streams if "timecode" in s.metadata), None)


def _chapters(reader: FileReader) -> list[Chapter]:
    """The chapters of the part that is read, on the clock of the output."""
    chapters: list[Chapter] = []
    for chapter in reader.container.chapters():
        unit = Fraction(chapter["time_base"] or 1)
        start, end = chapter["start"] * unit, chapter["end"] * unit
        if end <= reader.zero or (reader.end is not None and start >= reader.end):
            continue
        if reader.end is not None:
            end = min(end, reader.end)
        chapter["start"] = max(0, round((start - reader.zero) / unit))
        chapter["end"] = round((end - reader.zero) / unit)
        chapters.append(chapter)
    return chapters
