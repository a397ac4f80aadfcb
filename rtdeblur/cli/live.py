"""`rtdeblur live [SOURCE]`: deblurs a camera, a stream or a file live."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from rtdeblur.cli.options import ENGINE_DIR, QUIET, SHARED, STRENGTH, Number, gate_option, seconds
from rtdeblur.cli.report import echo, say, table
from rtdeblur.cli.request import Request
from rtdeblur.cli.signals import stopping
from rtdeblur.errors import OutputError, UsageError

if TYPE_CHECKING:
    from rtdeblur.backends.base import Backend
    from rtdeblur.blur_gate import Gate
    from rtdeblur.live.displays import Display
    from rtdeblur.live.displays.web.server import WebPage
    from rtdeblur.live.restorer import LiveRestorer
    from rtdeblur.live.sinks import OpenSink
    from rtdeblur.live.sources.base import LiveSource
    from rtdeblur.live.summary import LiveSummary

_FILE = click.Path(path_type=Path)
_GRACE_SECONDS = 10.0
"""Time to finish recordings and to print the summary after Ctrl-C."""


@dataclass(frozen=True, kw_only=True)
class LiveRequest(Request):
    """Options of `live`; `model` is never None."""

    source: str
    size: tuple[int, int] | None
    fps: float | None
    transport: Literal["tcp", "udp"]
    wait: bool
    deadline_ms: float | None
    no_window: bool
    web: str | None
    output: Path | None
    overwrite: bool
    record_dir: Path
    send: str | None
    virtual_camera: str | None
    duration: float | None
    strength: float
    gate: Gate
    list_cameras: bool


def live(request: LiveRequest) -> LiveSummary:
    """Run a session to its end and return its summary."""
    if not request.no_window:
        import rtdeblur.live.displays.window  # noqa: F401 - before PyAV, or OpenCV's windows hang
    from rtdeblur.live.capture import LiveCapture
    from rtdeblur.live.outputs import LiveOutput
    from rtdeblur.live.session import LiveSession, LiveSettings
    from rtdeblur.live.sources import open_source
    from rtdeblur.live.sources.base import SourceOptions

    _check(request)

    def tell(kind: str, line: str) -> None:
        if kind != "info" or not request.quiet:
            say(kind, line)

    warn = partial(tell, "warning")
    options = SourceOptions(request.size, request.fps, request.transport)
    # First what may refuse the request: nothing would close the displays.
    sinks, restorer = _sinks(request), _restorer(request)
    displays, page = _displays(request, tell)
    unannounced = [page] if page else []

    def announce() -> None:
        if unannounced:
            _announce(unannounced.pop())

    def open_announced() -> LiveSource:
        source = open_source(request.source, options)
        announce()  # not before: a source that fails prints only its error
        return source

    if request.wait:
        announce()  # the source may come much later
    session = LiveSession(
        LiveCapture(open_announced, warn, patient=request.wait),
        restorer,
        displays,
        # A short queue: receivers want the newest picture, as displays do.
        [LiveOutput(name, sink, warn, depth=2, persistent=True, required=True) for name, sink in sinks],
        tell,
        LiveSettings(
            request.duration,
            request.deadline_ms and request.deadline_ms / 1000,
            request.output,
            request.record_dir,
            request.overwrite,
        ),
    )
    with stopping(session.stop, _GRACE_SECONDS):
        return session.run()


def _check(request: LiveRequest) -> None:
    if request.duration is not None and request.duration <= 0:
        raise click.BadParameter(f"--duration is {request.duration:g}, expected more than 0 seconds.")
    if request.output and request.output.exists() and not request.overwrite:
        raise UsageError(f"output {str(request.output)!r} exists; choose another name, or -y to replace it")
    for folder in (request.record_dir, request.output.parent if request.output else request.record_dir):
        if not folder.is_dir():
            raise UsageError(f"no folder {str(folder)!r} to record to; create it or choose another")
    if request.no_window and not (
        request.web or request.output or request.send or request.virtual_camera is not None
    ):
        raise click.UsageError("--no-window leaves nothing to do; add --web, --output or --send.")


def _restorer(request: LiveRequest) -> LiveRestorer:
    from rtdeblur.blur_gate import with_gate
    from rtdeblur.live.ladder import bundled_candidates
    from rtdeblur.live.restorer import AUTO, LiveRestorer
    from rtdeblur.model import IDENTITY, Model, bundled_models

    def open_backend(name: str) -> Backend:
        model = Model.load(name)
        opened = request.open_backend(model, mode="latency", stopped=lambda: restorer.stopped)
        return with_gate(opened, model, request.gate if model.has_graph else "off")

    choices = dict.fromkeys([request.model or AUTO, AUTO, *bundled_models(), IDENTITY])
    restorer = LiveRestorer([*choices], bundled_candidates(), open_backend, strength=request.strength)
    return restorer


def _displays(request: LiveRequest, tell: Callable[[str, str], None]) -> tuple[list[Display], WebPage | None]:
    """Open the web page and the window; only the page if both are requested and no window can be opened.

    Returns:
        All displays, and the page among them.
    """
    displays: list[Display] = []
    page = None
    if request.web:
        from rtdeblur.live.displays.web.server import WebPage

        page = WebPage(*_address(request.web))
        displays.append(page)
    if not request.no_window:
        from rtdeblur.live.displays.window import Window

        try:
            displays.append(Window())
        except OutputError as error:
            if page is None:
                raise
            tell("warning", f"no window: {error}")
    return displays, page


def _announce(page: WebPage) -> None:
    """Print the page's address, even with --quiet, since it may hold a token."""
    say("info", f"web page: {page.url}")
    if page.is_shared and sys.stderr.isatty():
        _show_qr(page.url)


def _show_qr(url: str) -> None:
    """Print the address as a QR code, if the terminal has the characters."""
    from rtdeblur.live.displays.web.qr import qr_lines

    with suppress(UnicodeEncodeError):
        print(*qr_lines(url), sep="\n", file=sys.stderr)  # noqa: T201 - keeps the colours


def _print_cameras(as_json: bool) -> None:
    from rtdeblur.live.sources.listing import cameras

    found = cameras()
    if as_json:
        echo(json.dumps([asdict(camera) for camera in found], indent=2))
    elif found:
        echo(table([("SOURCE", "NAME", "DEVICE"), *((str(c.number), c.name, c.device) for c in found)]))
    else:
        say("info", "no camera found; connect one, or use a file or an address as SOURCE")


def _address(text: str) -> tuple[str, int]:
    """Parse `[HOST:]PORT`."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise click.UsageError(
            f"--web is {text!r}, expected PORT or HOST:PORT, such as 8765 or 0.0.0.0:8765."
        )
    return host.strip("[]") or "127.0.0.1", int(port)


def _sinks(request: LiveRequest) -> list[tuple[str, OpenSink]]:
    """Return the requested receivers, each with its name in messages; nothing is opened yet."""
    from rtdeblur.live.address import without_secrets
    from rtdeblur.live.sinks.encoded import send_to
    from rtdeblur.live.sinks.virtual_camera import virtual_camera

    sinks = []
    if request.send:
        sinks.append((f"sending to {without_secrets(request.send)}", send_to(request.send)))
    if request.virtual_camera is not None:
        sinks.append(("virtual camera", virtual_camera(request.virtual_camera or None)))
    return sinks


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise click.BadParameter(f"{text!r} is not a size; expected WIDTHxHEIGHT, such as 1280x720.")
    return int(match[2]), int(match[1])


def _command(**words: Any) -> None:
    """Deblur a camera, stream or file live.

    SOURCE is the number or device of a camera (default: 0), an address (rtsp://, rtmp://, udp://, http://)
    or a file, which plays at its own speed. Always processes the newest picture; late ones are dropped.
    """
    from rtdeblur.live.address import without_secrets

    request = LiveRequest.of(**words)
    if request.list_cameras:
        _print_cameras(request.json)
        return
    summary = live(request)
    if request.json:
        source = without_secrets(request.source)
        echo(json.dumps({"source": source, "fps": summary.fps, **asdict(summary)}, indent=2))
    if not request.quiet:
        for line in summary.lines():
            say("info", line)


_PARAMS: list[click.Parameter] = [
    click.Argument(["source"], default="0"),
    click.Option(["--list-cameras"], is_flag=True, help="List the cameras of this machine and exit."),
    click.Option(["--size"], type=_size, metavar="WxH", help="Size to request from a camera, e.g. 1280x720."),
    click.Option(
        ["--fps"], type=Number(1, 240), metavar="N", help="Frame rate to request from a camera."
    ),
    click.Option(
        ["--transport"], type=click.Choice(["tcp", "udp"]), default="tcp", show_default=True,
        help="Transport protocol for RTSP.",
    ),
    click.Option(["--wait"], is_flag=True, help="Wait for the source if it is not available yet."),
    click.Option(
        ["--model"], default="auto", show_default=True, metavar="auto|NAME|PATH",
        help="auto: the best model and working resolution that keep up with the source.",
    ),
    STRENGTH,
    gate_option("off"),  # a window, which has a graph of its own, would stall the picture once
    *SHARED,
    ENGINE_DIR,
    click.Option(
        ["--deadline-ms"], type=Number(1, 10_000), metavar="MS",
        help="Time that auto may spend per picture (default: the source's frame interval).",
    ),
    click.Option(["--no-window"], is_flag=True, help="Do not open a window."),
    click.Option(
        ["--web"], metavar="[HOST:]PORT", help="Show the picture on a web page (default HOST: 127.0.0.1)."
    ),
    click.Option(
        ["-o", "--output"], type=_FILE, metavar="FILE.mkv", help="Record to a file, without sound."
    ),
    click.Option(["-y", "--overwrite"], is_flag=True, help="Replace FILE.mkv if it exists."),
    click.Option(
        ["--record-dir"], type=_FILE, default=Path(), metavar="DIR",
        help="Folder for snapshots and for recordings started by key (default: the current folder).",
    ),
    click.Option(
        ["--send"], metavar="URL", help="Send the picture to rtsp://, rtmp://, udp://, tcp:// or srt://."
    ),
    click.Option(
        ["--virtual-camera"], is_flag=False, flag_value="", metavar="[DEVICE]",
        help="Offer the result as a webcam to other programs (extra virtual-camera).",
    ),
    click.Option(
        ["--duration"], type=seconds, metavar="TIME", help="Stop after this time: seconds or [HH:]MM:SS."
    ),
    QUIET,
    click.Option(["--json"], is_flag=True, help="Print a summary as JSON on stdout."),
]  # fmt: skip

command = click.Command("live", params=_PARAMS, callback=_command, help=_command.__doc__)
