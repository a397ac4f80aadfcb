"""Metadata of a file: tags, chapters, timecode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from av.container import OutputContainer
from av.stream import Stream

from rtdeblur.ffmpeg.container import name_of
from rtdeblur.ffmpeg.formats import ContainerTraits, traits_of
from rtdeblur.media.source import SourceInfo
from rtdeblur.plurals import counted

if TYPE_CHECKING:  # exists only in PyAV's stubs
    from av.container.core import Chapter

_MOST_UNITS = 2**31 - 1
"""Largest number of units per second in the header of mp4."""
# Written by the muxer itself, or computed from packets by mkvmerge.
_STALE_TAGS = {
    "alpha_mode",
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
    "vendor_id",
    "duration",
    # How MXF identifies one file, and the program that wrote it.
    "application_platform",
    "company_name",
    "file_package_umid",
    "generation_uid",
    "material_package_umid",
    "modification_date",
    "operational_pattern_ul",
    "product_name",
    "product_uid",
    "product_version",
    "product_version_num",
    "toolkit_version",
    "toolkit_version_num",
    "uid",
}
_STALE_PREFIXES = ("_statistics", "duration-", "bps", "number_of_frames", "number_of_bytes")


def clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that still hold with another encoder and muxer."""
    return {
        key: value
        for key, value in tags.items()
        if key.lower() not in _STALE_TAGS and not key.lower().startswith(_STALE_PREFIXES)
    }


def track_tags(stream: Stream) -> dict[str, str]:
    """Return the tags of a stream that still hold for its copy."""
    tags = clean_tags(stream.metadata)
    if "name" in tags:  # mov's demuxer reads the title as this key
        tags.setdefault("title", tags.pop("name"))
    return tags


def muxer_options(source: SourceInfo, format_name: str, seekable: bool = True) -> dict[str, str]:
    """Return muxer options for exact timestamps and all tags.

    Args:
        source: the source.
        format_name: FFmpeg's name of the container.
        seekable: False for a pipe, in which mp4 must be fragmented because its index cannot be written later.
    """
    traits = traits_of(format_name)
    flags = [] if seekable else list(traits.pipe_flags)
    if _free_tags(source, traits) and not _leaves_out_free_tags(source, traits):
        flags.append(traits.free_tags_flag)
    # Otherwise Matroska and others write random numbers, so that no two runs give the same bytes.
    options = {"fflags": "+bitexact", **traits.options}
    if "movie_timescale" in options:  # in it, what is shorter than a unit has no duration, and is hidden
        units = math.ceil(1 / source.time_base)
        options["movie_timescale"] = str(min(max(int(options["movie_timescale"]), units), _MOST_UNITS))
    return options | ({"movflags": "+".join(flags)} if flags else {})


def _free_tags(source: SourceInfo, traits: ContainerTraits) -> list[str]:
    """Return the tags for which a container has no dedicated field."""
    if traits.keys is None:
        return []
    return [key for key in clean_tags(source.tags) if key.lower() not in traits.keys]


def _leaves_out_free_tags(source: SourceInfo, traits: ContainerTraits) -> bool:
    """True if cover art is kept instead of free tags: mp4 can only store one of the two."""
    return traits.cover == "stream" and source.has_cover


def copy_tags(container: OutputContainer, source: SourceInfo) -> list[str]:
    """Copy the tags and chapters of the source.

    Returns:
        Warnings about what the container cannot store.
    """
    name, warnings = name_of(container), []
    traits = traits_of(name)
    container.metadata.update(clean_tags(source.tags))
    if _leaves_out_free_tags(source, traits) and (free := _free_tags(source, traits)):
        tags = ", ".join(sorted(free))
        warnings.append(f"tags are not kept: {name} cannot store {tags} together with cover art; .mkv can")
    timecode = _timecode(source)
    if timecode and (source.is_trimmed or not traits.timecode):
        why = "it belongs to the source's first frame" if traits.timecode else f"{name} cannot store it"
        warnings.append(f"the timecode {timecode} is not kept: {why}")
    chapters = _chapters(source)
    if chapters and not traits.chapters:
        warnings.append(f"{counted(len(chapters), 'chapter')} cannot be kept by {name}; .mkv can")
    else:
        container.set_chapters(chapters)
    return warnings


def video_tags(source: SourceInfo) -> dict[str, str]:
    """Return the tags of the main video, with the timecode from anywhere in the source.

    Muxers generate a timecode track from this tag, and do not copy one.
    """
    tags = track_tags(source.video)
    tags.pop("timecode", None)
    timecode = _timecode(source)
    if timecode and not source.is_trimmed:  # it belongs to the source's first frame
        tags["timecode"] = timecode
    return tags


def _timecode(source: SourceInfo) -> str | None:
    streams = (source.video, *(stream for stream in source.streams if stream.type == "data"))
    return next((s.metadata["timecode"] for s in streams if "timecode" in s.metadata), None)


def _chapters(source: SourceInfo) -> list[Chapter]:
    """Return the chapters of the part, on the output's clock."""
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
