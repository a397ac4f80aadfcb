#!/usr/bin/env python3
"""Take the docs' screenshots of a terminal: a run, halfway and at its end, and the help.

    python scripts/terminal_images.py [FOLDER]

Restores the drawn street of the model's card in a pseudo-terminal. Needs Linux or macOS and the trainer's
packages. FOLDER defaults to docs/images.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text
from street import command_of

_COLUMNS = 80
_CONTROL = re.compile(r"\r\n|\r|\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A")
"""Control sequences of rich's progress bars, apart from colours."""


def output_of(words: list[str], folder: Path) -> str:
    """Run rtdeblur in a pseudo-terminal, in a folder, and return everything it sends."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "rtdeblur", *words],
        cwd=folder,
        stdin=its,
        stdout=its,
        stderr=its,
        env=os.environ | {"COLUMNS": str(_COLUMNS), "TERM": "xterm-256color"},
    ):
        os.close(its)
        sent = bytearray()
        try:
            while part := os.read(ours, 65536):
                sent += part
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(ours)
    return sent.decode()


def screen_of(sent: str) -> list[str]:
    """Lines on the screen after all of `sent`, colours included."""
    lines, row, end = [""], 0, 0
    for control in [*_CONTROL.finditer(sent), None]:
        lines[row] += sent[end : control.start() if control else None]
        if control is None:
            break
        end = control.end()
        match control[0]:
            case "\r\n":
                row += 1
                lines += [""] * (row == len(lines))
            case "\x1b[2K":
                lines[row] = ""
            case "\x1b[1A":
                row -= 1
    return lines


def draw(command: str, lines: list[str], path: Path) -> None:
    """Draw a terminal as SVG, in the viewer's fonts."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO())
    console.print(f"[bold green]$[/] {command}")
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=False)
    drawn = console.export_svg(title="", unique_id=path.stem)
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))


@command_of
def main(work: Path, folder: Path) -> None:
    """Write terminal-running.svg, terminal-done.svg and terminal-help.svg to FOLDER."""
    sent = output_of(["street.mp4"], work)
    # The bar is redrawn each time; the screen at a moment is everything sent until then.
    bars = [found.start() for found in re.finditer(r"\x1b\[2K", sent)]
    for end, until in (("running", bars[len(bars) // 2]), ("done", None)):
        draw("rtdeblur street.mp4", screen_of(sent[:until]), folder / f"terminal-{end}.svg")
    draw("rtdeblur --help", screen_of(output_of(["--help"], work)), folder / "terminal-help.svg")


if __name__ == "__main__":
    main()
