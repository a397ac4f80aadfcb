"""Access control for the page: known host names, same-origin requests, and a token for other machines."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

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
# The page's script and style are not secret, and browsers request them without the token.
_SECRET = ("/", "/live")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class _Site:
    """Host name (lower case, IPv6 without brackets) and port ('' if not stated) of a site."""

    name: str
    port: str = ""

    @classmethod
    def parse(cls, text: str) -> _Site | None:
        """Parse the value of a Host header; None if it is not one."""
        match = _HOST.fullmatch(text)
        return cls(match[1].strip("[]").lower(), match[2] or "") if match else None

    def is_at(self, origin: str) -> bool:
        """Whether a page of an origin (`https://name:port`) is a page of this site.

        A proxy may leave out the port that the browser used, which it cannot do to ours.
        """
        scheme, _, rest = origin.partition("://")
        other = _Site.parse(rest)
        if other is None or other.name != self.name:
            return False
        default = _DEFAULT_PORTS.get(scheme, "")
        return (self.port or default) == (other.port or default) or (scheme == "https" and not self.port)


class Guard:
    """Refuses requests that do not come from the page's own user.

    Two attacks come from web pages that the user happens to visit. A page may open a socket to this server
    under its real address; the Origin header gives it away. Or it may make its own name point to this machine
    (DNS rebinding), so that the browser takes the server for a part of that page; the Host header gives it
    away. A proxy with TLS in front looks much like the second: a foreign name. The difference is https, which
    such a page cannot have, since this server has no certificate: browsers refuse plain WebSockets from https
    pages, and send Sec-Fetch headers, which no script can set, only over https.

    Args:
        host: address that the server listens on; a token is required unless only this machine can reach it.

    Attributes:
        token: secret of the page's address (`?token=`), '' if none is needed.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self.token = "" if is_loopback(host) else secrets.token_urlsafe(24)

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer with headers that keep everything foreign out (an aiohttp middleware)."""
        reason = self._refusal(request)
        if reason:
            return web.Response(status=403, text=f"rtdeblur: {reason}\n", headers=_HEADERS)
        try:
            response = await handler(request)
        except web.HTTPException as error:  # no such page or method
            response = web.Response(status=error.status, text=f"rtdeblur: {error.reason}\n")
        if not response.prepared:
            response.headers.update(_HEADERS)
            # Not every browser treats a WebSocket as 'self'.
            sockets = " ".join(f"ws://{name} wss://{name}" for name in _names(request))
            response.headers["Content-Security-Policy"] = f"{_POLICY}; connect-src 'self' {sockets}"
        return response

    def _refusal(self, request: web.Request) -> str:
        """Reason to refuse a request; '' if it may be answered."""
        sites = [_Site.parse(name) for name in _names(request)]
        asked, known = sites[0], [site for site in sites if site is not None]
        if asked is None or len(known) < len(sites):
            return "the name of the server is malformed"
        is_ours, origin = self._is_ours(asked.name), request.headers.get("Origin")
        if not is_ours and not _came_over_tls(request):
            return "this server does not go by that name; use its address, or a proxy with TLS"
        if origin is not None and not any(site.is_at(origin) for site in known):
            return "this request comes from another page"
        given = request.query.get("token", "")
        if (
            self.token
            and request.path in _SECRET
            and not hmac.compare_digest(given.encode(), self.token.encode())
        ):
            return "the token is missing or wrong; open the address that rtdeblur printed"
        return ""

    def _is_ours(self, name: str) -> bool:
        """Whether a name can only mean this machine; False for names that a hostile server can define."""
        if is_loopback(self._host):
            return is_loopback(name)
        return name in ("localhost", self._host.lower()) or _is_address(name)


def _names(request: web.Request) -> list[str]:
    """Host names that a request states: the server's, and the one that the browser used for a proxy."""
    # Not `request.host`, which asks the system's resolver if the header is missing.
    names = [request.headers.get("Host", "")]
    forwarded = _first(request, "X-Forwarded-Host")
    return [*names, forwarded] if forwarded else names


def _came_over_tls(request: web.Request) -> bool:
    """Whether a browser reached a proxy over https."""
    return (
        _first(request, "X-Forwarded-Proto").lower() in ("https", "wss")
        or "Sec-Fetch-Site" in request.headers
        or request.headers.get("Origin", "").startswith("https://")
    )


def _first(request: web.Request, header: str) -> str:
    """First value of a header to which each proxy adds its own."""
    return request.headers.get(header, "").partition(",")[0].strip()


def is_loopback(host: str) -> bool:
    """True for names and addresses that only this machine can reach."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
