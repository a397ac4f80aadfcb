"""Who may see the page: names the server goes by, pages of its own, and a token where others can reach it."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The page's script and style are no secret, and are asked for without a token.
_SECRET = ("/", "/live")


class Guard:
    """Refuses requests that do not come from the page's own user.

    Args:
        host: the address that the server is bound to. Only beyond this machine is a token asked for.

    Attributes:
        token: what page and pictures are asked for with, as `?token=`, '' where none is needed.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self.token = "" if is_loopback(host) else secrets.token_urlsafe(24)

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer, with headers that keep everything foreign out (an aiohttp middleware)."""
        reason = self._refusal(request)
        if reason:
            return web.Response(status=403, text=f"rtdeblur: {reason}\n", headers=_HEADERS)
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
            # Not every browser counts a WebSocket as 'self'.
            response.headers["Content-Security-Policy"] = f"{_POLICY}; connect-src 'self' ws://{request.host}"
        return response

    def _refusal(self, request: web.Request) -> str:
        if not self._is_ours(request.host):
            return "this server does not go by that name"
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return "this request comes from another page"
        given = request.query.get("token", "")
        if (
            self.token
            and request.path in _SECRET
            and not hmac.compare_digest(given.encode(), self.token.encode())
        ):
            return "the token is missing or wrong; open the address that rtdeblur printed"
        return ""

    def _is_ours(self, host: str) -> bool:
        """False for names, which a hostile server could make point here (DNS rebinding)."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if is_loopback(self._host):
            return is_loopback(name)
        return name in ("localhost", self._host.lower()) or _is_address(name)


def is_loopback(host: str) -> bool:
    """True for names and addresses that only this machine can reach."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
