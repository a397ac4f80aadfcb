"""What describes a file as a whole: tags, chapters, timecode."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from av.container import OutputContainer

from rtdeblur.ffmpeg.formats import COVERS, MATROSKA, MOV
from rtdeblur.media.source import SourceInfo

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


def clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that are still true of a file with another encoder and muxer."""
    return {
        key: value
        for key, value in tags.items()
        if key.lower() not in _STALE_TAGS and not key.lower().startswith(_STALE_PREFIXES)
    }


def muxer_options(source: SourceInfo, format_name: str, seekable: bool = True) -> dict[str, str]:
    """Options with which a muxer keeps exact times and every tag.

    Args:
        source: the source.
        format_name: FFmpeg's name of the container.
        seekable: False for a pipe, where mp4 needs fragments, as it cannot go back to write its index.
    """
    # Else Matroska and others write random numbers, and no two runs give the same bytes.
    options = {"fflags": "+bitexact"}
    if format_name not in MOV:
        return options
    options["movie_timescale"] = "90000"  # else start offsets are rounded to a millisecond
    flags = [] if seekable else list(_FRAGMENTED)
    if _free_tags(source) and not (format_name in COVERS and source.has_cover):
        flags.append("use_metadata_tags")
    return options | ({"movflags": "+".join(flags)} if flags else {})


def _free_tags(source: SourceInfo) -> list[str]:
    return [key for key in clean_tags(source.tags) if key.lower() not in _MP4_KEYS]


def copy_tags(container: OutputContainer, source: SourceInfo) -> list[str]:
    """Copy the tags and chapters of the source.

    Returns:
        Warnings about what the container cannot hold.
    """
    name, warnings = container.format.name, []
    container.metadata.update(clean_tags(source.tags))
    if name in COVERS and source.has_cover and (free := _free_tags(source)):
        tags = ", ".join(sorted(free))
        warnings.append(f"tags are not kept: {name} cannot hold {tags} beside cover art; .mkv can")
    timecode = _timecode(source)
    if timecode and (source.is_trimmed or name not in _TIMECODES):
        why = "it names the first frame of the source" if name in _TIMECODES else f"{name} cannot hold it"
        warnings.append(f"the timecode {timecode} is not kept: {why}")
    chapters = _chapters(source)
    if chapters and name not in _CHAPTERS:
        warnings.append(f"{len(chapters)} chapters are not kept: {name} cannot hold them; .mkv can")
    else:
        container.set_chapters(chapters)
    return warnings


def video_tags(source: SourceInfo) -> dict[str, str]:
    """The tags of the main video, with the timecode wherever the source has it.

    Muxers make a timecode track from this tag, and copy none.
    """
    tags = clean_tags(source.video.metadata)
    tags.pop("timecode", None)
    timecode = _timecode(source)
    if timecode and not source.is_trimmed:  # it names the first frame of the source
        tags["timecode"] = timecode
    return tags


def _timecode(source: SourceInfo) -> str | None:
    streams = (source.video, *(stream for stream in source.streams if stream.type == "data"))
    return next((s.metadata["timecode"] for s in streams if "timecode" in s.metadata), None)


def _chapters(source: SourceInfo) -> list[Chapter]:
    """The chapters of the part that is read, on the clock of the output."""
    chapters: list[Chapter] = []
    for chapter in source.chapters:
        unit = Fraction(chapter["time_base"] or 1)
        start, end = chapter["start"] * unit, chapter["end"] * unit
        if end <= source.zero or (source.end is not None and start >= source.end):
            continue
        if source.end is not None:
            end = min(end, source.end)
        moved = chapter.copy()
        moved["start"] = max(0, round((start - source.zero) / unit))
        moved["end"] = round((end - source.zero) / unit)
        chapters.append(moved)
    return chapters
