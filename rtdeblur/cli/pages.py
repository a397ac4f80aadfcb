"""Writing and opening of the pages of `preview` and `compare`, and their shared options."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtdeblur.cli.options import WholeNumber
from rtdeblur.cli.report import clock, say
from rtdeblur.errors import UsageError

if TYPE_CHECKING:
    from rtdeblur.frames import VideoInfo
    from rtdeblur.page import Page

OUTPUT = click.Option(
    ["-o", "--output"], type=click.Path(path_type=Path), metavar="PAGE.html",
    help="Write the page here.  [default: a temporary file, opened in the browser]",
)  # fmt: skip
OVERWRITE = click.Option(["-y", "--overwrite"], is_flag=True, help="Replace the output if it exists.")
OPEN = click.Option(
    ["--open/--no-open"], default=None, help="Open the page in the browser.  [default: only without -o]"
)
MOMENTS = click.Option(
    ["--moments"], type=WholeNumber(1, 12), metavar="N", default=4, show_default=True,
    help="Number of moments on the page.",
)  # fmt: skip


def check_output(path: Path | None, overwrite: bool) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Raises:
        UsageError: it is not .html, or it exists and `overwrite` is False.
        OutputError: its folder is missing or not writable.
    """
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"output {str(path)!r} must be a web page, such as page.html")
    if path is not None and path.exists() and not overwrite:
        raise UsageError(f"output {str(path)!r} already exists; try another name, or overwrite it with -y")
    if path is not None and not os.access(path.parent, os.W_OK):
        from rtdeblur.ffmpeg.targets import unwritable

        number = errno.EACCES if path.parent.is_dir() else errno.ENOENT
        raise unwritable(path.parent, OSError(number, os.strerror(number)))


def length_of(info: VideoInfo) -> str:
    """Return the duration of a video in words, with a comma before it; '' for a photo, or if unknown."""
    return f", {clock(info.duration_seconds)}" if info.duration_seconds and not info.is_photo else ""


def publish(page: Page, path: Path | None, source: Path, *, overwrite: bool, shown: bool | None) -> Path:
    """Write a page, and open it in the browser.

    Args:
        page: the page.
        path: output; None makes a temporary file.
        source: the video it is about, which it must not replace.
        overwrite: replace an existing file.
        shown: whether to open it; None opens it only if path is None.

    Returns:
        The file.
    """
    from rtdeblur.ffmpeg.targets import PartFile
    from rtdeblur.page import render

    html = render(page).encode()
    if path is None:
        path = Path(tempfile.mkdtemp(prefix="rtdeblur-"), f"{source.stem}.html")
    else:
        shown = bool(shown)
    file = PartFile(path, source=source, overwrite=overwrite)
    try:
        Path(file.url).write_bytes(html)
        file.commit()
    finally:
        file.discard()
    if (shown is None or shown) and not _show(path):
        say("info", "cannot open a browser; open the page yourself")
    return path


def _show(path: Path) -> bool:
    import webbrowser

    return webbrowser.open(path.resolve().as_uri())
