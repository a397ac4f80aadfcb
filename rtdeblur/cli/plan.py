"""Plan of a command: the files to restore and their outputs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from rtdeblur.cli.options import as_path
from rtdeblur.errors import InputError, UsageError
from rtdeblur.pictures import kind_of

STANDARD = Path("-")
"""Standard input or output."""

# Extensions of videos in folders; a file given by name may have any extension.
_ENDINGS = {
    ".3g2", ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc", ".ivf", ".m2t",
    ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut",
    ".obu", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
}  # fmt: skip


_MARK = ".deblurred"
"""Inserted before the extension to name an output."""


@dataclass(frozen=True)
class Job:
    """One file to restore.

    Attributes:
        input: what to read; `-` is standard input.
        output: what to write; `-` is standard output.
        found: True for a file found in a folder, False for one named on the command line.
        frames: pictures that become one video, in which case `input` is the pattern or folder given.
    """

    input: Path
    output: Path
    found: bool = False
    frames: tuple[Path, ...] = ()

    @property
    def output_name(self) -> str:
        """Name of the output in messages."""
        return "standard output" if self.output == STANDARD else str(self.output)


@dataclass(frozen=True)
class Plan:
    """All jobs of a command.

    Attributes:
        jobs: one per file.
        skipped: other contents of the folders, and outputs of earlier runs.
        many: True if there may be several files, so that one failure must not stop the rest.
    """

    jobs: tuple[Job, ...]
    skipped: tuple[Path, ...] = ()
    many: bool = False


def plan(inputs: tuple[Path, ...], output: str | None, format_name: str | None, recursive: bool) -> Plan:
    """Find the input files and choose their outputs.

    Args:
        inputs: files and folders as given.
        output: a file, `-`, or a folder, which ends in a slash unless it exists; None puts every output next
            to its input.
        format_name: requested container; None keeps each file's own.
        recursive: include subfolders.

    Raises:
        click.UsageError: the arguments do not describe a job.
        InputError: a folder contains no video.
        UsageError: two files have the same output.
    """
    several = len(inputs) > 1 or inputs[0].is_dir()
    if output is not None and not is_folder(output, several):
        if several:
            raise click.UsageError("More than one input: -o must be a folder, e.g. -o restored/")
        return Plan((Job(inputs[0], as_path(output)),))
    if STANDARD in inputs:
        what = "add -o FILE, or -o - for standard output" if output is None else "name a file after -o"
        raise click.UsageError(f"Standard input has no name for its output; {what}.")
    jobs: dict[Path, Job] = {}
    skipped: list[Path] = []
    for named in inputs:
        if output is None and _is_earlier_output(named, inputs):
            skipped.append(named)
            continue
        folder = _place(named) if output is None else Path(output)
        for path, relative in _files(named, folder, recursive, skipped):
            renamed = _renamed(relative, format_name)
            if output is None and not named.is_dir():
                renamed = renamed.with_name(f"{renamed.stem}{_MARK}{renamed.suffix}")
            job = Job(path, folder / renamed, found=path != named)
            other = jobs.setdefault(job.output, job)
            if other.input != path:
                raise UsageError(
                    f"{str(other.input)!r} and {str(path)!r} would both become {str(job.output)!r}; "
                    "rename one, or write them to two folders"
                )
    if not jobs:
        raise InputError(
            f"no video in {', '.join(repr(str(p)) for p in inputs)}; --recursive includes subfolders"
        )
    return Plan(tuple(jobs.values()), tuple(skipped), many=several or output is not None)


def is_folder(output: str, several: bool) -> bool:
    """Whether an output must be a folder."""
    if output.endswith(tuple(filter(None, (os.sep, os.altsep)))) or Path(output).is_dir():
        return True
    # A name without an extension implies no container, so it must be a new folder.
    return several and output != "-" and not Path(output).suffix and not Path(output).exists()


def check_ending(output: Path) -> None:
    """Refuse an output whose extension is not a video container's; a folder may have been meant.

    Raises:
        UsageError: it is not.
    """
    from rtdeblur.ffmpeg.formats import format_of

    try:
        format_of(output)
    except UsageError as error:
        raise UsageError(f"{error}; a folder ends in {os.sep!r}") from None


def _place(named: Path) -> Path:
    """Return the default output folder: that of a file, or one next to a folder."""
    if not named.is_dir():
        return named.parent
    folder = named if named.name not in ("", "..") else named.resolve()
    if not folder.name:
        raise click.UsageError(f"There is no folder next to {str(folder)!r}; add -o FOLDER/")
    return folder.with_name(folder.name + _MARK)


def _is_earlier_output(named: Path, inputs: tuple[Path, ...]) -> bool:
    """True for the output of another input, as when `*.mp4` is restored a second time."""
    if len(inputs) == 1 or not named.stem.endswith(_MARK):
        return False
    stem = named.stem.removesuffix(_MARK)
    return any(other.stem == stem and other.parent == named.parent for other in inputs)


def has_original(path: Path) -> bool:
    """True for the output of an earlier run next to its input, in a folder."""
    stem = path.stem.removesuffix(_MARK)
    return stem != path.stem and path.with_name(f"{stem}{path.suffix}").is_file()


def _files(named: Path, output: Path, recursive: bool, skipped: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield the videos of an input, each with its relative path in the output folder."""
    if not named.is_dir():
        yield named, Path(named.name)
        return
    for path in _walk(named, output, recursive):
        is_media = path.suffix.lower() in _ENDINGS or kind_of(path)
        if is_media and path.is_file() and not has_original(path):
            yield path, path.relative_to(named)
        else:
            skipped.append(path)


def _walk(folder: Path, output: Path, recursive: bool) -> Iterable[Path]:
    """Yield the contents of a folder in order, except hidden files and the outputs."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or os.path.realpath(path) == os.path.realpath(output):
            continue
        if recursive and path.is_dir() and not path.is_symlink():  # a link may be circular
            yield from _walk(path, output, recursive)
        else:
            yield path


def _renamed(path: Path, format_name: str | None) -> Path:
    from rtdeblur.ffmpeg.formats import ending_of, output_ending

    if kind_of(path):
        return path
    return path.with_suffix(ending_of(format_name) if format_name is not None else output_ending(path))
