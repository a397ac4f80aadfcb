"""Server of the web page, used by normal and by hostile browsers."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("cv2")

import aiohttp
import cv2
from fake_live import flat
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdeblur.errors import OutputError
from rtdeblur.live.displays import Command, LivePicture, LiveStatus, SetStrength, UseModel
from rtdeblur.live.displays.web import server
from rtdeblur.live.displays.web.guard import is_loopback
from rtdeblur.live.displays.web.qr import qr_lines
from rtdeblur.live.displays.web.requests import parse
from rtdeblur.live.displays.web.server import WebPage

PATIENCE = 30.0
STATUS = LiveStatus("fast", (36, 64), 30.0, 29.0, (40.0, 50.0), 3, False, False, "")


def picture(blurred: int = 50, restored: int = 200) -> LivePicture:
    return LivePicture(flat(blurred), flat(restored), time.monotonic())


def opened(message: bytes) -> tuple[dict[str, Any], list[int]]:
    """The head of a message, and the mean level of each picture."""
    length = int.from_bytes(message[:4], "little")
    head = json.loads(message[4 : 4 + length])
    rest, levels = message[4 + length :], []
    for size in head["bytes"]:
        jpeg, rest = rest[:size], rest[size:]
        if size:
            levels.append(round(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).mean()))
    assert rest == b""
    return head, levels


@pytest.fixture
def page() -> Iterator[WebPage]:
    page = WebPage(port=0)
    yield page
    page.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("rtdeblur")]


def browse(visit: Callable[[Any], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with aiohttp.ClientSession() as session:
            return await asyncio.wait_for(visit(session), PATIENCE)

    return asyncio.run(run())


async def until(holds: Callable[[], Any]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


def test_a_browser_gets_the_newest_picture_and_sends_requests(page: WebPage) -> None:
    async def visit(session: Any) -> None:
        async with session.ws_connect(f"{page.url}live") as socket:
            await until(lambda: page.viewers == 1)
            page.show(picture(), STATUS)
            head, levels = opened(await socket.receive_bytes())
            assert levels == pytest.approx([50, 200], abs=2)
            assert head["model"] == "fast"
            assert head["dropped"] == 3
            page.show(None, STATUS)  # nothing new, nothing sent
            page.show(None, LiveStatus("fast", (36, 64), 30.0, 29.0, None, 4, True, False, "source lost"))
            head, levels = opened(await socket.receive_bytes())
            assert (head["dropped"], head["message"], levels) == (4, "source lost", [])
            for command in Command:
                if command is not Command.QUIT:
                    await socket.send_str(command.value)
            seen: list[Command] = []
            await until(lambda: seen.extend(page.show(None, STATUS)) or len(seen) == 4)
            assert seen == [Command.PAUSE, Command.SNAPSHOT, Command.RECORD, Command.NEXT_MODEL]
        await until(lambda: page.viewers == 0)

    browse(visit)


def test_a_slow_browser_gets_only_what_it_draws_and_then_the_newest(page: WebPage) -> None:
    async def visit(session: Any) -> None:
        async with (
            session.ws_connect(f"{page.url}live") as slow,
            session.ws_connect(f"{page.url}live") as quick,
        ):
            await until(lambda: page.viewers == 2)
            for level in range(20, 220, 20):
                page.show(picture(level, level), STATUS)
                assert opened(await quick.receive_bytes())[1] == pytest.approx([level] * 2, abs=2)
                await quick.send_str("drawn")
            two = [opened(await slow.receive_bytes())[1][0] for _ in range(2)]
            assert two == pytest.approx([20, 40], abs=2)  # sent before anything was drawn
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(slow.receive_bytes(), 0.2)

    browse(visit)


def test_a_browser_that_draws_late_gets_the_newest(page: WebPage) -> None:
    async def visit(session: Any) -> None:
        async with session.ws_connect(f"{page.url}live") as socket:
            await until(lambda: page.viewers == 1)
            for level in (20, 40):
                page.show(picture(level, level), STATUS)
                opened(await socket.receive_bytes())
            for level in (60, 80, 100):
                page.show(picture(level, level), STATUS)
            await socket.send_str("drawn")
            assert opened(await socket.receive_bytes())[1] == pytest.approx([100, 100], abs=2)

    browse(visit)


def test_nothing_is_encoded_without_a_viewer(page: WebPage, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[LivePicture] = []
    monkeypatch.setattr(page._broadcast, "_encode", lambda p: (encoded.append(p), (b"a", b"b"))[1])

    async def visit(session: Any) -> None:
        page.show(picture(), STATUS)
        async with session.get(page.url):
            pass
        assert encoded == []
        async with (
            session.ws_connect(f"{page.url}live") as first,
            session.ws_connect(f"{page.url}live") as second,
        ):
            await first.receive_bytes()
            await second.receive_bytes()
        assert len(encoded) == 1
        await until(lambda: page.viewers == 0)
        page.show(picture(), STATUS)
        async with session.get(page.url):
            pass
        assert len(encoded) == 1

    browse(visit)


@pytest.mark.parametrize("words", ["quit", "nonsense", "x" * 500, "drawn"])
def test_an_invalid_message_ends_the_connection(page: WebPage, words: str) -> None:
    async def visit(session: Any) -> None:
        async with session.ws_connect(f"{page.url}live") as socket:
            for _ in range(3):
                await socket.send_str(words)
            message = await socket.receive()
            assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        await until(lambda: page.viewers == 0)
        assert page.show(None, STATUS) == []

    browse(visit)


async def status_of(session: Any, url: str, **headers: str) -> int:
    async with session.get(url, headers=headers) as answer:
        return int(answer.status)


@pytest.mark.parametrize("path", ["", "page.js", "live"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "[::"},
        {"Origin": "http://evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example:8765", "Origin": "http://evil.example:8765"},
        {"Host": "evil.example", "Origin": "https://other.example"},
        {"Host": "evil.example", "X-Forwarded-Host": "127.0.0.1"},
        {"X-Forwarded-Host": "cam.example", "Origin": "https://evil.example"},
        {"X-Forwarded-Host": "cam.example; x", "Origin": "https://cam.example"},
        {"X-Forwarded-Proto": "https", "Origin": "https://evil.example"},
    ],
)
def test_other_host_names_and_origins_are_refused(page: WebPage, path: str, headers: dict[str, str]) -> None:
    assert browse(lambda session: status_of(session, page.url + path, **headers)) == 403


HTTPS = {"X-Forwarded-Proto": "https"}
CAM = "cam.example"
PROXIES = {
    "name kept, nothing forwarded": {"Host": CAM},
    "name kept, scheme forwarded": {"Host": CAM, **HTTPS},
    "name kept, all forwarded": {"Host": CAM, "X-Forwarded-Host": CAM, "X-Forwarded-For": "1.2.3.4", **HTTPS},
    "scheme of sockets": {"Host": CAM, "X-Forwarded-Host": CAM, "X-Forwarded-Proto": "wss"},
    "name rewritten, name forwarded": {"X-Forwarded-Host": CAM},
    "name rewritten, all forwarded": {"X-Forwarded-Host": CAM, **HTTPS},
    "port in the name": {"Host": f"{CAM}:443", **HTTPS},
    "capital letters": {"Host": "Cam.Example", **HTTPS},
    "two proxies": {"X-Forwarded-Host": f"{CAM}, inner.example", "X-Forwarded-Proto": "https, http"},
}


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("headers", PROXIES.values(), ids=PROXIES)
def test_a_proxy_with_tls_is_accepted(host: str, headers: dict[str, str]) -> None:
    states_port = headers.get("Host", "").endswith(":443")
    origins = [f"https://{CAM}"] if states_port else [f"https://{CAM}", f"https://{CAM}:8443"]
    page = WebPage(host, 0)
    base, _, query = page.url.partition("?")
    # What a browser sends over https, to any server.
    browser = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}

    async def visit(session: Any) -> None:
        async with session.get(page.url, headers=headers | browser) as answer:
            assert answer.status == 200
            assert f"wss://{CAM}" in answer.headers["Content-Security-Policy"].lower()
        for origin in origins:
            async with session.ws_connect(f"{base}live?{query}", headers=headers, origin=origin):
                await until(lambda: page.viewers == 1)
            await until(lambda: page.viewers == 0)

    try:
        browse(visit)
    finally:
        page.close()


@pytest.mark.parametrize("path", ["", "page.js", "page.css", "icon.svg"])
def test_the_page_is_served_with_a_strict_policy(page: WebPage, path: str) -> None:
    async def visit(session: Any) -> None:
        async with session.get(page.url + path) as answer:
            assert answer.status == 200
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "unsafe" not in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            text = await answer.text()
            assert "https://" not in text  # nothing from elsewhere

    browse(visit)


@pytest.mark.parametrize("path", ["server.py", "..", "page.html%00", "%2e%2e%2fserver.py"])
def test_nothing_else_is_served(page: WebPage, path: str) -> None:
    assert browse(lambda session: status_of(session, page.url + path)) in (403, 404) or path == ".."


def test_other_machines_need_the_token() -> None:
    page = WebPage("0.0.0.0", 0)
    try:
        base, _, token = page.url.partition("?token=")
        assert "0.0.0.0" not in base  # which no browser elsewhere could open
        assert len(token) >= 32

        async def visit(session: Any) -> list[int]:
            wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
            queries = ["", "?token=", f"?token={wrong}", "?token=%C3%BC", f"?token={token}"]
            pages = [await status_of(session, base + query) for query in queries]
            sockets = [await status_of(session, f"{base}live{query}") for query in queries[:-1]]
            async with session.ws_connect(f"{base}live?token={token}"):
                return pages + sockets

        assert browse(visit) == [403, 403, 403, 403, 200] + [403] * 4
    finally:
        page.close()


def test_viewers_are_limited(page: WebPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MOST_CLIENTS", 1)

    async def visit(session: Any) -> None:
        async with session.ws_connect(f"{page.url}live"):
            await until(lambda: page.viewers == 1)
            assert await status_of(session, f"{page.url}live") == 503

    browse(visit)


def test_closing_ends_connections_and_frees_the_port(page: WebPage) -> None:
    async def visit(session: Any) -> None:
        async with session.ws_connect(f"{page.url}live") as socket:
            await until(lambda: page.viewers == 1)
            await asyncio.to_thread(page.close)
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE

    browse(visit)
    page.close()
    assert page.show(picture(), STATUS) == []
    again = WebPage(port=int(page.url.rsplit(":", 1)[1].strip("/")))
    again.close()


def test_a_port_in_use_is_one_clear_line(page: WebPage) -> None:
    port = int(page.url.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(
        OutputError, match=f"cannot serve the web page on 127.0.0.1 port {port}: .*another port"
    ):
        WebPage(port=port)


@pytest.mark.parametrize("what", ["Broadcast", "web.AppRunner.setup"])
def test_a_server_that_cannot_start_is_one_clear_line(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(f"rtdeblur.live.displays.web.server.{what}", fail)
    with pytest.raises(OutputError, match="cannot serve the web page: can't start new thread"):
        WebPage(port=0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("0.0.0.0", False),
     ("192.168.1.2", False), ("localhost.evil.example", False), ("", False)],
)  # fmt: skip
def test_loopback_addresses_are_recognised(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("pause", Command.PAUSE),
        ("next model", Command.NEXT_MODEL),
        ("model fast", UseModel("fast")),
        ("model my model.json", UseModel("my model.json")),
        ("strength 0.0", SetStrength(0.0)),
        ("strength 1.25", SetStrength(1.25)),
        ("strength 2.0", SetStrength(2.0)),
        *((text, None) for text in (
            "quit", "", "model ", "model", "model a\nb", "strength", "strength 2.1", "strength -1",
            "strength nan", "strength 1e0", "strength 0.1234", "strength ١", "PAUSE",
            "pause ", "drawn", "model " + "a" * 600,
        )),
    ],
)  # fmt: skip
def test_a_message_is_parsed_or_ignored(message: str, expected: object) -> None:
    assert parse(message) == expected


@settings(max_examples=2_000, deadline=None)
@given(st.one_of(st.text(), st.from_regex(r"(strength|model|pause) ?[0-9.a-z -]*")))
def test_any_message_is_parsed(message: str) -> None:
    action = parse(message)
    if isinstance(action, SetStrength):
        assert 0 <= action.value <= 2
    assert action is not Command.QUIT


async def head_of(socket: Any) -> dict[str, Any]:
    return opened(await socket.receive_bytes())[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_viewers_of_the_page_can_download_saved_files(host: str, tmp_path: Path) -> None:
    page = WebPage(host, 0)
    base, _, query = page.url.partition("?")
    names = {"a-blurred.png": b"png", "a recording é.mkv": b"mkv" * 1000}
    for name, data in names.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "secret.txt").write_bytes(b"secret")

    async def visit(session: Any) -> None:
        async with session.ws_connect(f"{base}live?{query}") as socket:
            await until(lambda: page.viewers == 1)
            page.show(None, replace(STATUS, saved=tuple(tmp_path / name for name in names)))
            saved = (await head_of(socket))["saved"]
        assert [file["name"] for file in saved] == list(names)
        assert str(tmp_path) not in json.dumps(saved)
        for file in saved:
            async with session.get(base + file["address"]) as answer:
                assert await answer.read() == names[file["name"]]
                assert len(names[file["name"]]) == file["size"]
                assert answer.headers["Content-Disposition"].startswith("attachment;")
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
            address = file["address"].rsplit("/", 1)[0]
            for wrong in (f"{address}/secret.txt", f"{address}/..%2Fsecret.txt", "files/x/a-blurred.png"):
                assert await status_of(session, base + wrong) == 404
            (tmp_path / file["name"]).unlink()
            assert await status_of(session, base + file["address"]) == 404

    try:
        browse(visit)
    finally:
        page.close()


@pytest.mark.parametrize("token", ["", "?token=" + "x" * 32])
def test_the_qr_code_contains_the_address(token: str) -> None:
    pytest.importorskip("segno")
    url = f"http://192.168.178.123:8765/{token}"
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in qr_lines(url)]
    halves = {" ": (0, 0), "▄": (0, 1), "▀": (1, 0), "█": (1, 1)}
    dark = np.array([[halves[c][half] for c in line] for line in lines for half in (0, 1)], np.uint8)
    image = np.kron(255 - 255 * dark, np.ones((8, 8), np.uint8))
    found, _, _ = cv2.QRCodeDetector().detectAndDecode(np.pad(image, 40, constant_values=255))
    assert found == url


def test_without_segno_there_is_no_qr_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    assert qr_lines("http://x") == []
