"""Contract of displays: the window, on a virtual screen, and the page, in a minimal browser."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("aiohttp")

import aiohttp
import cv2
from fake_live import flat
from window_process import WindowProcess
from xvfb import Screen, xvfb

from rtdeblur.live.displays import Command, Display, LivePicture, LiveStatus
from rtdeblur.live.displays.web.server import WebPage

PATIENCE = 30.0
STATUS = LiveStatus("fast", (36, 64), 30.0, 29.0, (40.0, 50.0), 3, False, False, "")
KEYS = {
    Command.PAUSE: "space",
    Command.SNAPSHOT: "p",
    Command.RECORD: "r",
    Command.NEXT_MODEL: "m",
}
MISSING = [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]


class Looker:
    """A user in front of the window."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._window = screen.window()

    def ask(self, command: Command) -> None:
        self._screen.xdotool("key", KEYS[command])

    def sees(self) -> tuple[int, int]:
        """Levels of the blurred and the restored picture."""
        shot = self._screen.shot(self._window)
        row = shot[shot.shape[0] // 3, :, 0]
        return int(row[len(row) // 3]), int(row[2 * len(row) // 3])

    def notices(self) -> Any:
        """Return everything visible outside the middle of the picture."""
        return self._screen.shot(self._window)[:60].tobytes()

    def leave(self) -> None: ...


class Browser:
    """A user of the page: draws at once whatever comes."""

    def __init__(self, url: str) -> None:
        self._levels, self._head = (0, 0), b""
        self._asked: asyncio.Queue[str] = asyncio.Queue()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(url),))
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    async def _run(self, url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}live") as socket:
            asking = asyncio.create_task(self._send(socket))
            self._ready.set()
            async for message in socket:
                self._draw(message.data)
                await socket.send_str("drawn")
            asking.cancel()

    async def _send(self, socket: Any) -> None:
        while words := await self._asked.get():
            await socket.send_str(words)
        await socket.close()

    def _draw(self, message: bytes) -> None:
        length = int.from_bytes(message[:4], "little")
        self._head = message[4 : 4 + length]
        start, levels = 4 + length, []
        for size in json.loads(self._head)["bytes"]:
            jpeg = np.frombuffer(message[start : start + size], np.uint8)
            start += size
            if size:
                levels.append(round(float(cv2.imdecode(jpeg, cv2.IMREAD_COLOR).mean())))
        if levels:
            self._levels = (levels[0], levels[1])

    def ask(self, command: Command) -> None:
        self._loop.call_soon_threadsafe(self._asked.put_nowait, command.value)

    def sees(self) -> tuple[int, int]:
        return self._levels

    def notices(self) -> Any:
        return {k: v for k, v in json.loads(self._head).items() if k != "bytes"}

    def leave(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._asked.put_nowait, "")
        self._thread.join(PATIENCE)
        self._loop.close()


@dataclass(frozen=True)
class Seat:
    """A display, and a user in front of it."""

    display: Display
    user: Looker | Browser

    def until(self, holds: Callable[[], Any], status: LiveStatus = STATUS) -> None:
        """Show the status repeatedly, as a session does, until a condition holds; expects no commands."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, self.user.sees()
            assert self.display.show(None, status) == []
            time.sleep(0.02)

    def commands(self, count: int) -> list[Command]:
        """Commands of as many calls as it takes, and a few more."""
        found: list[Command] = []
        deadline = time.monotonic() + PATIENCE
        while len(found) < count:
            assert time.monotonic() < deadline, found
            found += self.display.show(None, STATUS)
            time.sleep(0.02)
        for _ in range(5):
            found += self.display.show(None, STATUS)
        return found

    def sees(self, blurred: int, restored: int) -> Callable[[], bool]:
        return lambda: max(abs(a - b) for a, b in zip(self.user.sees(), (blurred, restored), strict=True)) < 4


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    with xvfb(tmp_path) as screen:
        yield screen


@pytest.fixture(params=["window", "page"])
def seat(request: pytest.FixtureRequest) -> Iterator[Seat]:
    if request.param == "page":
        page = WebPage(port=0)
        user = Browser(page.url)
        yield Seat(page, user)
        user.leave()
        page.close()
        return
    if MISSING or not cv2.currentUIFramework():
        pytest.skip(f"needs {', '.join(MISSING) or 'opencv-python (this OpenCV is headless)'}")
    screen = request.getfixturevalue("screen")
    window = WindowProcess(screen.display)
    for _ in range(3):
        window.show(None, STATUS)
    yield Seat(window, Looker(screen))
    window.close()
    assert window.end() == 0


def picture(blurred: int, restored: int, size: tuple[int, int] = (360, 640)) -> LivePicture:
    return LivePicture(flat(blurred, size), flat(restored, size), time.monotonic())


def test_a_status_may_come_before_the_first_picture(seat: Seat) -> None:
    for _ in range(5):
        assert seat.display.show(None, STATUS) == []


def test_the_user_sees_both_pictures(seat: Seat) -> None:
    assert seat.display.show(picture(60, 180), STATUS) == []
    seat.until(seat.sees(60, 180))


def test_the_last_picture_shown_is_the_newest(seat: Seat) -> None:
    for level in range(40, 200, 5):
        assert seat.display.show(picture(level, level + 20), STATUS) == []
    seat.until(seat.sees(195, 215))


def test_a_picture_stays_until_the_next(seat: Seat) -> None:
    seat.display.show(picture(60, 180), STATUS)
    seat.until(seat.sees(60, 180))
    for dropped in range(10):
        seat.display.show(None, replace(STATUS, dropped=dropped))
    time.sleep(0.3)
    assert seat.sees(60, 180)()


def test_a_change_of_size_is_shown(seat: Seat) -> None:
    for i, size in enumerate([(360, 640), (180, 320), (720, 1280), (359, 641)]):
        seat.display.show(picture(60 + i, 180 + i, size), STATUS)
        seat.until(seat.sees(60 + i, 180 + i))


def test_a_change_of_the_status_is_shown_without_a_picture(seat: Seat) -> None:
    seat.display.show(picture(60, 180), STATUS)
    seat.until(seat.sees(60, 180))
    before = seat.user.notices()
    seat.until(lambda: seat.user.notices() != before, replace(STATUS, recording=True))
    seat.until(lambda: seat.user.notices() == before)


def test_each_command_arrives_once_and_in_order(seat: Seat) -> None:
    seat.display.show(picture(60, 180), STATUS)
    asked = [*KEYS, *reversed(KEYS), Command.PAUSE]
    for command in asked:
        seat.user.ask(command)
        assert seat.commands(1) == [command]


def test_showing_takes_no_longer_than_drawing(seat: Seat) -> None:
    seat.display.show(picture(60, 180), STATUS)
    began = time.monotonic()
    for level in range(20):
        seat.display.show(picture(60 + level, 180), STATUS)
    assert time.monotonic() - began < 10


def test_it_can_be_closed_twice_and_then_shows_nothing(seat: Seat) -> None:
    seat.display.show(picture(60, 180), STATUS)
    seat.display.close()
    seat.display.close()
    assert seat.display.show(picture(60, 180), STATUS) in ([], [Command.QUIT])
