"""Addresses of live streams, and how messages may show them."""

from __future__ import annotations

import re
from urllib.parse import quote

from rtdeblur.errors import InputError

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt", "http", "https")

_HIDDEN = "***"
# Two letters at least: C:/ is a drive. One slash: so Path writes an address.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/+)?(.*)", re.DOTALL)
_SECRET_VALUE = re.compile(
    r"((?:pass|pwd|pw|pin|token|key|secret|auth|sig|sess|sid|cred|jwt|hash|streamid)[^=&#]*=)[^&#]*",
    re.IGNORECASE,
)
_LONG_VALUE = re.compile(r"([?&][^=&#]*=)[^&#]{17,}")
# Digits among letters without a separator: probably a token, not a name.
_RANDOM = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{16,}(?![A-Za-z0-9])")
_STREAM_KEY = re.compile(r"^(/[^?#]*/)[^/?#]+(/?)(?=[?#]|$)")
_PASSWORD_IN_TEXT = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/+[^\s/?#:@'\"]*):[^\s'\"]*@")


def check_scheme(url: str, shown: str) -> str:
    """Scheme of an address, in lower case.

    Args:
        url: the address.
        shown: the address as messages may show it.

    Raises:
        InputError: live streams do not use this scheme.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise InputError(f"{shown!r} has the unknown scheme {scheme!r}; expected one of {', '.join(SCHEMES)}")
    return scheme


def host_of(url: str) -> str | None:
    """Return the host of an address; None if it has none, or if the end of its password is ambiguous."""
    _, credentials, _, rest = _split(url)
    host = re.match(r"\[([^]]*)\]|([^:/?#]*)", rest)
    assert host is not None  # it matches any text
    return None if re.search("[/?#]", credentials) else host[1] or host[2] or None


def without_secrets(url: str) -> str:
    """Return the address for messages: passwords, tokens and stream keys become `***`.

    People type passwords as they are, with characters that end the credentials for FFmpeg (`#`, `/`, `?`), so
    everything up to the last `@` counts as credentials. Of paths and queries, all that may be a token is
    hidden, in case of doubt.
    """
    scheme, credentials, at, rest = _split(url)
    user, colon, _ = credentials.partition(":")
    credentials = _RANDOM.sub(_HIDDEN, user) + (colon and f":{_HIDDEN}")
    if not scheme:  # a file
        return credentials + at + rest
    host = re.match(r"[^/?#]*", rest)
    assert host is not None  # it matches any text
    tail = rest[host.end() :]
    if scheme.lower().startswith("rtmp"):
        tail = _STREAM_KEY.sub(rf"\1{_HIDDEN}\2", tail)
    for pattern in (_SECRET_VALUE, _LONG_VALUE):
        tail = pattern.sub(rf"\1{_HIDDEN}", tail)
    tail, sharp, _ = _RANDOM.sub(_HIDDEN, tail).partition("#")
    return f"{scheme}{credentials}{at}{host[0]}{tail}{sharp and sharp + _HIDDEN}"


def hide_passwords(text: str) -> str:
    """Return a text with the passwords of addresses replaced by `***`."""
    return _PASSWORD_IN_TEXT.sub(rf"\1:{_HIDDEN}@", text)


def advice(url: str) -> str:
    """Return a hint for quoting a password that breaks its address; '' if none seems to."""
    credentials = _split(url)[1]
    odd = [c for c in dict.fromkeys(credentials) if c in "#/?[]@ "]
    if re.search(r"%(?![0-9A-Fa-f]{2})", credentials):
        odd.append("%")
    if not odd:
        return ""
    return "in a password write " + ", ".join(f"'{c}' as {quote(c, safe='')}" for c in odd)


def _split(url: str) -> tuple[str, str, str, str]:
    """Scheme with its slashes, credentials, '@' and the rest; '' for what is missing."""
    match = _ADDRESS.fullmatch(url)
    assert match is not None  # it matches any text
    return match[1] or "", *match[2].rpartition("@")
