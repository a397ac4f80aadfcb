"""Files of the session that browsers may download: snapshots and finished recordings."""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

_MOST = 20
_MOST_AT_ONCE = 4
_TYPES = {".png": "image/png", ".mkv": "video/x-matroska"}


class Downloads:
    """Serves each file at an unguessable address.

    Only a page that may see the pictures is sent these addresses, so they need no token; and a page that made
    its own name point here cannot know them.
    """

    def __init__(self) -> None:
        self._keys: dict[Path, str] = {}
        self._running = 0

    def offer(self, path: Path) -> dict[str, str | int]:
        """Name, address relative to the page, and size in bytes of a file."""
        if path not in self._keys:
            self._keys[path] = secrets.token_urlsafe(16)
            for oldest in list(self._keys)[:-_MOST]:
                del self._keys[oldest]
        size = path.stat().st_size if path.exists() else 0
        return {"name": path.name, "address": f"files/{self._keys[path]}/{quote(path.name)}", "size": size}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for `/files/KEY/NAME`."""
        path = next((p for p, key in self._keys.items() if key == request.match_info["key"]), None)
        if path is None or path.name != request.match_info["name"] or not path.is_file():
            raise web.HTTPNotFound
        if self._running >= _MOST_AT_ONCE:
            return web.Response(
                status=503, text=f"rtdeblur: {_MOST_AT_ONCE} downloads are running; try again\n"
            )
        self._running += 1
        try:
            response = web.FileResponse(path)
            response.content_type = _TYPES.get(path.suffix, "application/octet-stream")
            response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(path.name)}"
            response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.force_close()
            await response.prepare(request)
            return response
        finally:
            self._running -= 1
