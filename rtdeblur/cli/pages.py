"""Where the pages of `preview` and `compare` are written, and how they are shown."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtdeblur.cli.report import say
from rtdeblur.errors import UsageError

if TYPE_CHECKING:
    from rtdeblur.page import Page

OUTPUT = click.Option(
    ["-o", "--output"], type=click.Path(path_type=Path), metavar="PAGE.html",
    help="Write the page here.  [default: a temporary file, opened in the browser]",
)  # fmt: skip
OVERWRITE = click.Option(["-y", "--overwrite"], is_flag=True, help="Replace the page or video if it exists.")
OPEN = click.Option(
    ["--open/--no-open"], default=None, help="Open the page in the browser.  [default: only without -o]"
)
MOMENTS = click.Option(
    ["--moments"], type=click.IntRange(1, 12), metavar="N", default=4, show_default=True,
    help="Number of moments on the page.",
)  # fmt: skip


def check_output(path: Path | None, overwrite: bool) -> None:
    """Refuse a page that cannot be written, before any work is done for it.

    Raises:
        UsageError: it is not .html, or exists and should not be replaced.
    """
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"output {str(path)!r} is a web page, expected a name such as page.html")
    if path is not None and path.exists() and not overwrite:
        raise UsageError(f"output {str(path)!r} exists; try another name, or allow overwriting (-y)")


def publish(page: Page, path: Path | None, source: Path, *, overwrite: bool, shown: bool | None) -> Path:
    """Write a page, and open it in the browser.

    Args:
        page: its contents.
        path: where; None makes a file in the folder for temporary ones.
        source: the file that it is about, which it must not replace.
        overwrite: replace an existing file.
        shown: open it; None does so only without a path.

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
        say("info", "no browser could be started; open the page yourself")
    return path


def _show(path: Path) -> bool:
    import webbrowser

    return webbrowser.open(path.resolve().as_uri())
