"""Suggestions for arguments that are not existing files."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from rtdeblur.errors import InputError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^/]")  # two letters at least: C:/ is a drive
_NUMBERED = re.compile(r"%0?\d*d")
_CAMERA = re.compile(r"\d|(web|usb)?cam(era)?\d*|/dev/video\d+", re.IGNORECASE)
_WILD = re.compile(r"[*?]|\[.+\]")


def check_words(inputs: Sequence[Path], output: str | None, commands: Sequence[str]) -> None:
    """Refuse arguments that are probably mistakes.

    Args:
        inputs: files and folders as given; `-` is standard input.
        output: argument of -o, if any.
        commands: names of the program's commands.

    Raises:
        click.UsageError: something else was probably meant, or an argument is not a single file.
        InputError: the only input does not exist.
    """
    if output == "":
        raise click.UsageError("The name after -o is empty; check the variable or the quotes it comes from.")
    if output is not None and _ADDRESS.match(output):
        from rtdeblur.live.address import without_secrets

        raise click.UsageError(
            f"{without_secrets(output)!r} is an address, expected a file; to stream the result: "
            "rtdeblur live INPUT --send URL."
        )
    words = [str(path) for path in inputs]
    missing = [word for word in words if not _exists(word)]
    if not missing:
        return
    if name := _name_with_spaces(words):
        raise click.UsageError(f"{missing[0]!r} does not exist; the name needs quotes: {shlex.quote(name)}")
    for word in missing:
        _check_kind(word)
    if words[0] == missing[0] and not _ending(words[0]):
        _check_command(words, commands)
    if len(words) == 1:
        raise InputError(f"input {words[0]!r} does not exist; {_advice(Path(words[0]))}")
    if re.fullmatch(r"[\d./]+", missing[0]):
        raise click.UsageError(
            f"{missing[0]!r} is a number, expected a file; -r means --recursive, "
            "since videos keep their frame rate."
        )
    if not all(map(_ending, missing)):
        raise click.UsageError(f"{missing[0]!r} does not exist; does the name need quotes?")
    if len(words) == 2 and _exists(words[0]):
        if output is None:
            raise click.UsageError(f"{words[1]!r} does not exist; did you mean -o {shlex.quote(words[1])}?")
        if not _ending(output):  # -o my video.mp4
            raise click.UsageError(
                f"{words[1]!r} does not exist; check the name, or put quotes around names with spaces."
            )


def _check_command(words: list[str], commands: Sequence[str]) -> None:
    """Refuse a first argument that is probably a command or a camera."""
    first, *rest = words
    command = _nearest(first, commands)
    if command not in ("", first):  # ./models
        raise click.UsageError(f"{first!r} is neither a file nor a command; did you mean {command}?")
    if not rest and _CAMERA.fullmatch(first):
        raise click.UsageError(f"{first!r} is not a file; for a camera: rtdeblur live.")
    if rest and all(map(_exists, rest)):
        files = " ".join(map(shlex.quote, rest))
        raise click.UsageError(f"{first!r} is neither a file nor a command; did you mean rtdeblur {files}?")


def _name_with_spaces(words: list[str]) -> str:
    """Return the existing file whose name was typed without quotes; '' if there is none."""
    for begin in range(len(words)):
        for end in range(begin + 2, len(words) + 1):
            name = " ".join(words[begin:end])
            if _exists(name) and not all(map(_exists, words[begin:end])):
                return name
    return ""


def _check_kind(word: str) -> None:
    """Refuse arguments that do not name a single file."""
    if _NUMBERED.search(word):
        raise click.UsageError(
            f"{word!r} is a pattern of numbered pictures, expected a video; create one first: "
            f"ffmpeg -framerate 30 -i {shlex.quote(word)} -c:v ffv1 frames.mkv"
        )
    if _WILD.search(word):
        from glob import glob

        advice = "remove the quotes around it" if glob(word) else "no file here matches it"  # noqa: PTH207
        raise click.UsageError(f"{word!r} is a pattern, expected a file; {advice}.")


def _advice(path: Path) -> str:
    """Return a hint about the name of a missing file."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.exists()]
    except OSError:
        if path.parts[0].startswith("~"):
            return "the shell expands ~ only at the start of a word without quotes"
        return f"there is no folder {str(path.parent)!r}"
    near = _nearest(path.name, names) or _nearest(path.name.lower(), [name.lower() for name in names])
    near = next((name for name in names if near in (name, name.lower())), "")
    return f"did you mean {str(path.with_name(near))!r}?" if near else "check the name"


def _exists(word: str) -> bool:
    return word == "-" or os.path.exists(word)  # noqa: PTH110 - never raises, whatever the name


def _ending(word: str) -> str:
    """Return the part after the last dot of a name, including a folder's slash."""
    return "/" if word.endswith(("/", os.sep)) else Path(word).suffix


def _nearest(word: str, words: Sequence[str]) -> str:
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, words, 1)), "")
