"""The server of the page (a `Display`), in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

from rtdeblur.errors import DependencyError, OutputError
from rtdeblur.live.displays import Command, LivePicture, LiveStatus
from rtdeblur.live.image import to_bgr

try:
    import cv2
    from aiohttp import web

    from rtdeblur.live.displays.web.clients import Newest, serve
    from rtdeblur.live.displays.web.guard import Guard
except ImportError as error:
    raise DependencyError(error.name or "aiohttp", "live", "the web page") from error

_FILES = {"": "text/html", "page.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml"}
_EVERYWHERE = ("0.0.0.0", "::")
_LARGEST = (1080, 1920)
_QUALITY = 85
_MOST_CLIENTS = 8
_MOST_COMMANDS = 32
_HEARTBEAT_SECONDS = 10.0
_CLOSE_SECONDS = 2.0


class WebPage:
    """Shows live pictures to browsers.

    Args:
        host: the address to listen on; beyond this machine's own, a token is asked for.
        port: the port; 0 for any that is free.

    Attributes:
        url: what to open, with the token where one is needed.

    Raises:
        DependencyError: OpenCV or aiohttp is missing.
        OutputError: the address cannot be had.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8765) -> None:
        self._host, self._port = host, port
        self._guard = Guard(host)
        self._sockets: set[web.WebSocketResponse] = set()
        self._commands: deque[Command] = deque(maxlen=_MOST_COMMANDS)
        self._error: OSError | None = None
        self._closed = False
        ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(ready),), name="rtdeblur-web")
        self._thread.start()
        ready.wait()
        if self._error is not None:
            self._thread.join()
            problem = self._error.strerror or str(self._error)
            raise OutputError(
                f"cannot serve the web page on {host} port {port}: {problem}; try another port"
            ) from self._error
        name = _outward_address() if host in _EVERYWHERE else host
        address = f"[{name}]" if ":" in name else name
        query = f"?token={self._guard.token}" if self._guard.token else ""
        self.url = f"http://{address}:{self._port}/{query}"

    @property
    def viewers(self) -> int:
        """Browsers that are connected."""
        return len(self._sockets)

    def show(self, picture: LivePicture | None, status: LiveStatus) -> list[Command]:
        """Hand a picture and a status to the server, and give what browsers asked for."""
        if not self._closed:
            self._loop.call_soon_threadsafe(self._newest.put, picture, status)
        return [self._commands.popleft() for _ in range(len(self._commands))]

    def close(self) -> None:
        """End every connection and the thread; may be called twice."""
        if not self._closed:
            self._closed = True
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._newest = Newest(_jpegs)
        self._loop.set_default_executor(ThreadPoolExecutor(1, "rtdeblur-jpeg"))
        application = web.Application(middlewares=[self._guard.check])
        application.add_routes([web.get("/live", self._live), web.get("/{name:[a-z.]*}", _file)])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_CLOSE_SECONDS)
        try:
            await runner.setup()
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            self._port = runner.addresses[0][1]
            ready.set()
            await self._end.wait()
            await asyncio.gather(*(s.close(code=1001) for s in set(self._sockets)), return_exceptions=True)
        except OSError as error:
            self._error = error
        finally:
            await runner.cleanup()
            ready.set()

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if len(self._sockets) >= _MOST_CLIENTS:
            return web.Response(status=503, text=f"rtdeblur: {_MOST_CLIENTS} browsers look already\n")
        viewer = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_SECONDS, timeout=_CLOSE_SECONDS, max_msg_size=1024, compress=False
        )
        self._sockets.add(viewer)
        try:
            await viewer.prepare(request)
            await serve(viewer, self._newest, self._commands.append)
            await viewer.close()
        finally:
            self._sockets.discard(viewer)
        return viewer


def _outward_address() -> str:
    """The address by which others most likely reach this machine."""
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
