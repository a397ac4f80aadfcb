"""Hostile clients: nonsense, silence and floods use up neither log lines nor file descriptors."""

from __future__ import annotations

import base64
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

pytest.importorskip("aiohttp")
pytest.importorskip("cv2")

from rtdeblur.live.displays.web import listener
from rtdeblur.live.displays.web.server import WebPage

ROOT = Path(__file__).parents[3]
HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
KEY = base64.b64encode(bytes(16))
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY
)
SOCKET = b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n" + UPGRADE + b"\r\n\r\n"

MALFORMED = {
    "a star": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "no such method": b"BREW / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a method of other bytes": b"\xff\xfe / HTTP/1.1\r\n\r\n",
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "a Socks hello": b"\x05\x01\x00",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no such version": b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n\r\n",
    "two names": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a name that injects": b"GET / HTTP/1.1\r\nHost: 127.0.0.1; script-src *\r\n\r\n",
    "an address": b"GET http://[::1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a path of other bytes": b"GET /\xff\x00\x80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a path beyond the root": b"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a header without a name": HEAD + b": x\r\n\r\n",
    "a header without a colon": HEAD + b"nonsense\r\n\r\n",
    "a header that is folded": HEAD + b"X: a\r\n b\r\n\r\n",
    "a header with a null": HEAD + b"X: a\x00b\r\n\r\n",
    "a long header": HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "a long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "many headers": HEAD + b"X: a\r\n" * 5000 + b"\r\n",
    "a length below 0": HEAD + b"Content-Length: -1\r\n\r\n",
    "a length that is a word": HEAD + b"Content-Length: all\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks of nonsense": b"POST" + HEAD[3:] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nnonsense\r\n",
    "another encoding": b"POST" + HEAD[3:] + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "a body that does not come": b"POST" + HEAD[3:] + b"Content-Length: 1000\r\n\r\nabc",
    "a token of other bytes": b"GET /?token=%ff%00\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a socket without a key": SOCKET.replace(b"Sec-WebSocket-Key", b"X"),
    "a socket with a short key": SOCKET.replace(KEY, b"short"),
    "a socket of version 0": SOCKET.replace(b"Version: 13", b"Version: 0"),
    "a socket of extensions": SOCKET[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate; x=\xff\r\n\r\n",
    "frames without a mask": SOCKET + b"\x81\x05hello",
    "frames of a reserved kind": SOCKET + b"\x83\x80abcd",
    "frames with reserved bits": SOCKET + b"\xf1\x80abcd",
    "frames of other bytes": SOCKET + b"\x81\x82abcd\x9e\x9c",
    "a frame of 8 EiB": SOCKET + b"\x82\xff\x7f" + b"\xff" * 7 + b"abcd",
    "a fragment that continues nothing": SOCKET + b"\x80\x80abcd",
    "a long ping": SOCKET + b"\x89\xfe\x01\x00abcd" + bytes(256),
    "a close of 1 byte": SOCKET + b"\x88\x81abcdx",
    "a close with a reserved code": SOCKET + b"\x88\x82abcd" + bytes([0x03 ^ 0x61, 0xED ^ 0x62]),
    "half a frame": SOCKET + b"\x81\xfe",
}
IDLE = {
    "nothing": b"",
    "half a line": b"GE",
    "half a head": HEAD,
    "a line break": b"\r\n",
    "half a TLS hello": bytes.fromhex("160301"),
}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebPage]:
    """A page that waits only half a second for a request."""
    monkeypatch.setattr(listener, "_HEAD_SECONDS", 0.5)
    page = WebPage("0.0.0.0", 0)
    yield page
    page.close()


def port_of(page: WebPage) -> int:
    match = re.search(r":(\d+)/", page.url)
    assert match
    return int(match[1])


def connect(page: WebPage) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(page)), 10)


def token_of(page: WebPage) -> bytes:
    return page.url.partition("?")[2].encode()


def answer(page: WebPage, request: bytes) -> bytes:
    """All that the server sends until it hangs up."""
    with connect(page) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def is_served(page: WebPage) -> bool:
    began = time.monotonic()
    head = answer(page, HEAD.replace(b"/ ", b"/?" + token_of(page) + b" ") + b"\r\n")
    assert time.monotonic() - began < 5
    return head.startswith(b"HTTP/1.1 200 ")


def hung_up(client: socket.socket) -> bool:
    """Whether the server ends a connection within 10 seconds."""
    client.settimeout(10)
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("token", [False, True], ids=["stranger", "user"])
@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_not_logged_and_the_page_keeps_running(
    page: WebPage,
    request_bytes: bytes,
    token: bool,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    if token:
        request_bytes = request_bytes.replace(b"GET /live", b"GET /live?" + token_of(page))
    with connect(page) as client:
        try:
            client.sendall(request_bytes)
            client.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # the server had read enough
        assert hung_up(client)
    assert is_served(page)
    page.close()
    assert [r for r in caplog.records if r.levelno >= logging.INFO] == []
    said = capfd.readouterr()
    assert said.out == said.err == ""


@pytest.mark.parametrize("words", IDLE.values(), ids=IDLE)
def test_a_silent_connection_is_dropped(page: WebPage, words: bytes) -> None:
    with connect(page) as client:
        client.sendall(words)
        began = time.monotonic()
        assert hung_up(client)
        assert time.monotonic() - began < 5


def test_a_slow_request_is_dropped(page: WebPage) -> None:
    with connect(page) as client:
        client.sendall(HEAD)
        dropped_at = next((i for i in range(200) if not can_send_more(client)), None)
    assert dropped_at is not None
    assert dropped_at > 5


def can_send_more(client: socket.socket) -> bool:
    time.sleep(0.05)
    try:
        client.sendall(b"X: a\r\n")
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize("path", [b"/", b"/page.js", b"/nothing", b"/live"])
def test_no_connection_stays_open_after_its_request(page: WebPage, path: bytes) -> None:
    with connect(page) as client:
        client.sendall(HEAD.replace(b"/ ", path + b" ") + b"Connection: keep-alive\r\n\r\n")
        assert hung_up(client)


def test_a_browser_connects_despite_many_silent_connections(page: WebPage) -> None:
    crowd = [connect(page) for _ in range(200)]
    try:
        for client in crowd:
            client.sendall(HEAD)
        assert is_served(page)
        assert len(page._listener._connections) <= page._listener._most
    finally:
        for client in crowd:
            client.close()


def test_a_connected_browser_stays_despite_many_newcomers(page: WebPage) -> None:
    with connect(page) as browser:
        browser.sendall(SOCKET.replace(b"/live", b"/live?" + token_of(page)))
        assert browser.recv(1000).startswith(b"HTTP/1.1 101 ")
        crowd = [connect(page) for _ in range(100)]
        time.sleep(0.8)  # longer than a silent connection may last
        assert page.viewers == 1
        for client in crowd:
            client.close()
        browser.settimeout(0.1)
        with pytest.raises(TimeoutError):
            browser.recv(1)


def test_one_address_gets_at_most_half_of_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_most_connections", lambda: 8)
    page = WebPage("0.0.0.0", 0)
    try:
        crowd = [connect(page) for _ in range(20)]
        assert is_served(page)
        assert len(page._listener._connections) <= 4
        for client in crowd:
            client.close()
    finally:
        page.close()


CHILD = """
import resource, sys
from rtdeblur.live.displays.web.server import WebPage
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
page = WebPage("0.0.0.0", 0)
print(page.url, flush=True)
for line in sys.stdin:
    opened = [open("/dev/null") for _ in range(10)]
    print("ok", flush=True)
    [file.close() for file in opened]
page.close()
"""


@pytest.mark.needs_posix
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_many_connections_leave_file_descriptors_for_recordings() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", CHILD], cwd=ROOT, text=True, **pipes) as child:
        assert child.stdin
        assert child.stdout
        assert child.stderr
        port = int(child.stdout.readline().split(":")[2].split("/")[0])
        crowd = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(120)]
        for client in crowd:
            client.sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(0.3)
        for _ in range(3):
            print(file=child.stdin, flush=True)
            assert child.stdout.readline() == "ok\n"
        for client in crowd:
            client.close()
        child.stdin.close()
        assert child.stderr.read() == ""


def test_an_internal_error_is_logged_in_one_line(page: WebPage, caplog: pytest.LogCaptureFixture) -> None:
    fails: Callable[..., None] = lambda *_: 1 / 0  # noqa: E731
    page._guard._refusal = fails  # type: ignore[method-assign, assignment]
    assert answer(page, HEAD + b"\r\n").startswith(b"HTTP/1.1 500 ")
    (record,) = caplog.records
    assert record.getMessage().endswith("ZeroDivisionError('division by zero')")
    assert record.exc_info is None


@pytest.mark.parametrize(
    "error", [web.RequestPayloadError("not gzip"), BadHttpMessage("no verb"), ConnectionResetError()]
)
def test_what_any_client_can_cause_is_not_logged(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("rtdeblur.live.web")
    log.error("handling a request", exc_info=error)
    assert caplog.records == []
    log.error("handling a request", exc_info=ValueError("ours"))
    assert caplog.messages == ["web page: handling a request: ValueError('ours')"]
