"""What describes a file as a whole: tags, chapters, timecode."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from av.container import OutputContainer
from av.stream import Stream

from rtdeblur.ffmpeg.formats import ContainerTraits, traits_of
from rtdeblur.media.source import SourceInfo

if TYPE_CHECKING:  # PyAV has it in its stubs alone
    from av.container.core import Chapter

# What the muxer writes itself, or mkvmerge computed from packets.
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
    """The tags that are still true of a file with another encoder and muxer."""
    return {
        key: value
        for key, value in tags.items()
        if key.lower() not in _STALE_TAGS and not key.lower().startswith(_STALE_PREFIXES)
    }


def track_tags(stream: Stream) -> dict[str, str]:
    """The tags of a stream that are still true of its copy."""
    tags = clean_tags(stream.metadata)
    if "name" in tags:  # as mov's demuxer calls what every muxer takes as the title
        tags.setdefault("title", tags.pop("name"))
    return tags


def muxer_options(source: SourceInfo, format_name: str, seekable: bool = True) -> dict[str, str]:
    """Options with which a muxer keeps exact times and every tag.

    Args:
        source: the source.
        format_name: FFmpeg's name of the container.
        seekable: False for a pipe, where mp4 needs fragments, as it cannot go back to write its index.
    """
    traits = traits_of(format_name)
    flags = [] if seekable else list(traits.pipe_flags)
    if _free_tags(source, traits) and not _leaves_out_free_tags(source, traits):
        flags.append(traits.free_tags_flag)
    # Else Matroska and others write random numbers, and no two runs give the same bytes.
    options = {"fflags": "+bitexact", **traits.options}
    return options | ({"movflags": "+".join(flags)} if flags else {})


def _free_tags(source: SourceInfo, traits: ContainerTraits) -> list[str]:
    """The tags for which a container has no place of their own."""
    if traits.keys is None:
        return []
    return [key for key in clean_tags(source.tags) if key.lower() not in traits.keys]


def _leaves_out_free_tags(source: SourceInfo, traits: ContainerTraits) -> bool:
    """True if cover art is to be kept in their place: mp4 keeps one of the two."""
    return traits.cover == "stream" and source.has_cover


def copy_tags(container: OutputContainer, source: SourceInfo) -> list[str]:
    """Copy the tags and chapters of the source.

    Returns:
        Warnings about what the container cannot hold.
    """
    name, warnings = container.format.name, []
    traits = traits_of(name)
    container.metadata.update(clean_tags(source.tags))
    if _leaves_out_free_tags(source, traits) and (free := _free_tags(source, traits)):
        tags = ", ".join(sorted(free))
        warnings.append(f"tags are not kept: {name} cannot hold {tags} beside cover art; .mkv can")
    timecode = _timecode(source)
    if timecode and (source.is_trimmed or not traits.timecode):
        why = "it names the first frame of the source" if traits.timecode else f"{name} cannot hold it"
        warnings.append(f"the timecode {timecode} is not kept: {why}")
    chapters = _chapters(source)
    if chapters and not traits.chapters:
        warnings.append(f"{len(chapters)} chapters are not kept: {name} cannot hold them; .mkv can")
    else:
        container.set_chapters(chapters)
    return warnings


def video_tags(source: SourceInfo) -> dict[str, str]:
    """The tags of the main video, with the timecode wherever the source has it.

    Muxers make a timecode track from this tag, and copy none.
    """
    tags = track_tags(source.video)
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
