"""Server of the page (a `Display`), in its own thread."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.resources import files
from typing import Any

from rtdeblur.errors import DependencyError, OutputError
from rtdeblur.live.displays import Action, LivePicture, LiveStatus
from rtdeblur.live.image import to_bgr

try:
    import cv2
    from aiohttp import web
    from aiohttp.http_exceptions import HttpProcessingError

    from rtdeblur.live.displays.web.broadcast import Broadcast, talk
    from rtdeblur.live.displays.web.downloads import Downloads
    from rtdeblur.live.displays.web.guard import Guard, Handler
    from rtdeblur.live.displays.web.listener import Listener
except ImportError as error:
    package = "opencv-python" if error.name == "cv2" else error.name or "aiohttp"
    raise DependencyError(package, "live", "the web page") from error

_FILES = {"": "text/html", "page.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml"}
_EVERYWHERE = ("0.0.0.0", "::")
_LARGEST = (1080, 1920)
_QUALITY = 85
_MOST_CLIENTS = 8
_MOST_ACTIONS = 32
_HEARTBEAT_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_LINGER_SECONDS = 1.0

_log = logging.getLogger("rtdeblur.live.web")


def _one_line(record: logging.LogRecord) -> bool:
    """Drop messages that any client can cause, and shorten tracebacks to one line (a `logging` filter)."""
    error = record.exc_info[1] if record.exc_info else None
    # A malformed or truncated request, or body.
    if isinstance(error, HttpProcessingError | web.RequestPayloadError | ConnectionError):
        return False
    if error is not None:
        record.msg, record.args = f"web page: {record.getMessage()}: {error!r}", ()
        record.exc_info = record.exc_text = None
    return True


_log.addFilter(_one_line)


class WebPage:
    """Shows live pictures to browsers.

    Args:
        host: address to listen on; a token is required unless only this machine can reach it.
        port: the port; 0 for any free one.

    Attributes:
        url: address to open, with the token if one is required.
        is_shared: whether other machines can reach the page.

    Raises:
        DependencyError: OpenCV or aiohttp is missing.
        OutputError: the address cannot be used.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8765) -> None:
        self._guard = Guard(host)
        try:
            self._listener = Listener(host, port)
        except OSError as error:
            problem = error.strerror or str(error)
            raise OutputError(
                f"cannot serve the web page on {host} port {port}: {problem}; try another port"
            ) from error
        self._sockets: set[web.WebSocketResponse] = set()
        self._actions: deque[Action] = deque(maxlen=_MOST_ACTIONS)
        self._downloads = Downloads()
        self.is_shared = bool(self._guard.token)
        self._closed = False
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(started,), name="rtdeblur-web")
        try:
            self._thread.start()
            started.result()
        except Exception as error:
            if self._thread.is_alive():
                self._thread.join()
            self._listener.close()
            raise OutputError(f"cannot serve the web page: {error or type(error).__name__}") from error
        name = _outward_address() if host in _EVERYWHERE else host
        address = f"[{name}]" if ":" in name else name
        query = f"?token={self._guard.token}" if self._guard.token else ""
        self.url = f"http://{address}:{self._listener.port}/{query}"

    @property
    def viewers(self) -> int:
        """Number of connected browsers."""
        return len(self._sockets)

    def show(self, picture: LivePicture | None, status: LiveStatus) -> list[Action]:
        """Pass a picture and a status to the server; return what browsers requested."""
        if not self._closed:
            self._loop.call_soon_threadsafe(self._broadcast.put, picture, status)
        return [self._actions.popleft() for _ in range(len(self._actions))]

    def close(self) -> None:
        """End every connection and the thread; may be called twice."""
        if not self._closed:
            self._closed = True
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    def _serve(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._run(started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _run(self, started: Future[None]) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_log_failure)
        self._broadcast = Broadcast(_jpegs, self._downloads.offer)
        self._loop.set_default_executor(ThreadPoolExecutor(1, "rtdeblur-jpeg"))
        application = web.Application(middlewares=[self._once, self._guard.check])
        application.add_routes(
            [
                web.get("/live", self._live),
                web.get("/files/{key}/{name}", self._downloads.serve),
                web.get("/{name:[a-z.]*}", _file),
            ]
        )
        runner = web.AppRunner(
            application,
            access_log=None,
            logger=_log,
            lingering_time=_LINGER_SECONDS,
            shutdown_timeout=_CLOSE_SECONDS,
        )
        try:
            await runner.setup()
            assert runner.server is not None
            accepting = asyncio.create_task(self._listener.serve(runner.server))
            started.set_result(None)
            await self._end.wait()
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
            await asyncio.gather(*(s.close(code=1001) for s in set(self._sockets)), return_exceptions=True)
        finally:
            self._listener.close()
            await runner.cleanup()

    @web.middleware
    async def _once(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Allow one request per connection, so that none stays open idle."""
        self._listener.head_arrived(request.protocol)
        response = await handler(request)
        if not response.prepared:
            response.force_close()
        return response

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if len(self._sockets) >= _MOST_CLIENTS:
            text = f"rtdeblur: {_MOST_CLIENTS} browsers are already connected; close one\n"
            return web.Response(status=503, text=text)
        viewer = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_SECONDS, timeout=_CLOSE_SECONDS, max_msg_size=1024, compress=False
        )
        self._sockets.add(viewer)
        try:
            await viewer.prepare(request)
            with suppress(ConnectionError):  # the browser has gone
                await talk(viewer, self._broadcast, self._actions.append)
                await viewer.close()
        finally:
            self._sockets.discard(viewer)
        return viewer


def _log_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log unhandled errors in one line (an asyncio exception handler)."""
    _log.warning("web page: %s: %r", context.get("message"), context.get("exception"))


def _outward_address() -> str:
    """Return the address by which other machines most likely reach this one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # for documentation (RFC 5737); nothing is sent
        except OSError:  # no network
            return "127.0.0.1"
        return str(probe.getsockname()[0])


async def _file(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name not in _FILES:
        raise web.HTTPNotFound
    body = (files("rtdeblur.live.displays.web") / (name or "page.html")).read_bytes()
    return web.Response(body=body, content_type=_FILES[name], charset="utf-8")


def _jpegs(picture: LivePicture) -> tuple[bytes, bytes]:
    rows, columns = picture.restored.planes[0].shape
    scale = min(1.0, _LARGEST[0] / rows, _LARGEST[1] / columns)
    size = max(1, round(rows * scale)), max(1, round(columns * scale))
    return _jpeg(picture, "blurred", size), _jpeg(picture, "restored", size)


def _jpeg(picture: LivePicture, which: str, size: tuple[int, int]) -> bytes:
    quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    _, jpeg = cv2.imencode(".jpg", to_bgr(getattr(picture, which), size), quality)
    return jpeg.tobytes()
