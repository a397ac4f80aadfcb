"""Addresses of live streams."""

from __future__ import annotations

from urllib.parse import urlsplit

from rtdeblur.errors import InputError

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt", "http", "https")


def check_scheme(url: str, shown: str) -> str:
    """The scheme of an address.

    Args:
        url: the address.
        shown: the address as messages may show it.

    Raises:
        InputError: it is none that live streams use.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise InputError(f"{shown!r} has the unknown scheme {scheme!r}; expected one of {', '.join(SCHEMES)}")
    return scheme


def without_password(url: str) -> str:
    """The address as it may be shown."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return url
    return url.replace(f":{password}@", ":***@", 1) if password else url
