"""Generate the man page, docs/rtdeblur.1, from the program's options; `--check` only compares."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from rtdeblur.cli.help import COMMANDS, HELP_ALL
from rtdeblur.cli.options import SECTIONS, VERSION
from rtdeblur.cli.root import root

PAGE = Path(__file__).parents[1] / "docs" / "rtdeblur.1"


def page() -> str:
    """The page in roff (man(7))."""
    ctx = click.Context(root, info_name="rtdeblur")
    lines = [
        '.TH RTDEBLUR 1 "" "rtdeblur" "User Commands"',
        ".SH NAME",
        r"rtdeblur \- remove motion blur from videos",
        ".SH SYNOPSIS",
        r".B rtdeblur",
        r"INPUT... [\-o OUTPUT] [OPTIONS]",
        ".br",
        ".B rtdeblur",
        "COMMAND [OPTIONS]",
        ".SH DESCRIPTION",
        "Removes motion blur; sound, subtitles, timing and tags stay as they are. INPUT is a file, a",
        r"folder of videos, or \- for standard input. Without \-o, video.mp4 becomes video.deblurred.mp4",
        "next to it.",
    ]
    for title, options in {**SECTIONS, "General": [VERSION, HELP_ALL]}.items():
        lines.append(f".SH {title.upper()} OPTIONS")
        lines += _definitions(record for option in options if (record := option.get_help_record(ctx)))
    lines.append(".SH COMMANDS")
    found = ((name, root.get_command(ctx, name)) for name in COMMANDS)
    lines += _definitions((name, command.get_short_help_str(200)) for name, command in found if command)
    lines += [".SH EXIT STATUS", "0 for success, 1 for a failed job, 2 for a usage error,"]
    lines += ["128 + n for signal n."]
    return "\n".join(lines) + "\n"


def _definitions(records: Iterable[tuple[str, str]]) -> list[str]:
    return [line for names, text in records for line in (".TP", f".B {_escaped(names)}", _escaped(text))]


def _escaped(text: str) -> str:
    """Text for roff: hyphens that can be copied, and no roff command at the start of a line."""
    text = re.sub(r"\s+", " ", text).replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text[:1] in "'." else text


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(
            0 if PAGE.exists() and PAGE.read_text() == page() else f"{PAGE} is stale: scripts/man_page.py"
        )
    PAGE.write_text(page())
