"""The web page in a real browser (Chromium, headless), driven as a user does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium

pytest.importorskip("aiohttp")
pytest.importorskip("cv2")
pytest.importorskip("selenium", reason="needs selenium: pip install selenium")

from selenium import webdriver

from rtdeblur.frames import Colour, Frame
from rtdeblur.live.displays import Action, Command, LivePicture, LiveStatus, SetStrength, UseModel
from rtdeblur.live.displays.web.server import WebPage

PATIENCE = 60.0


def bars(level: int, offset: int) -> Frame:
    y = np.full((90, 160), level, np.uint8)
    y[:, offset % 160 : offset % 160 + 8] = 255 - level
    chroma = np.full((1, 1), 128, np.uint8)
    return Frame((y, chroma, chroma), 0, Fraction(1, 30), Colour(full_range=True))


class Session:
    """Shows moving bars, dark before and light after, in a thread; obeys pause."""

    def __init__(self, port: int = 0) -> None:
        self.page = WebPage(port=port)
        self.asked: list[Action] = []
        self.message, self.saved = "", ()
        self._paused = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        index = 0
        while not self._stop.wait(0.04):
            status = LiveStatus(
                "fast", (90, 160), 25.0, 25.0, (40.0, 50.0), index, False, self._paused, self.message,
                resolution=0.1875, models=("auto", "fast"), choice="auto", saved=self.saved,
            )  # fmt: skip
            index += 1
            shown = LivePicture(bars(60, index), bars(190, index), time.monotonic())
            for command in self.page.show(None if self._paused else shown, status):
                self.asked.append(command)
                self._paused ^= command is Command.PAUSE

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.page.close()


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session()
    yield session
    session.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def level(browser: Any, part: float) -> int:
    """The brightness most seen in the column at a part of the picture's width."""
    script = (
        "const x = Math.min(canvas.width - 1, Math.round(canvas.width * arguments[0]));"
        "return context.getImageData(x, 10, 1, 1).data[0]"
    )
    return int(browser.execute_script(script, part))


def test_the_page_works_in_a_browser(session: Session, browser: Any) -> None:
    browser.get(session.page.url)
    until(lambda: browser.execute_script("return drawnAt.length > 3"))
    assert session.page.viewers == 1
    find = lambda name: browser.find_element("id", name)  # noqa: E731

    seen = {browser.execute_script("return canvas.toDataURL()") for _ in range(8) if not time.sleep(0.2)}
    assert len(seen) > 2  # the picture moves
    assert "fast" in find("status").text

    find("pause").click()
    until(lambda: find("message").text == "Paused")
    until(lambda: browser.execute_script("return !!pair"))
    assert browser.execute_script("return position") == 0.5
    chain = webdriver.ActionChains(browser)
    chain.drag_and_drop_by_offset(find("divider"), -200, 0).perform()
    moved = browser.execute_script("return position")
    assert 0.2 < moved < 0.4  # the slider works
    dark = [level(browser, part) for part in (moved / 3, moved / 2, moved * 0.8)]
    light = [level(browser, part) for part in (moved * 1.2, 0.7, 0.9)]
    assert sorted(dark)[1] < 80
    assert sorted(light)[1] > 170  # the bar may cover one of three
    find("divider").send_keys("\ue014")
    assert browser.execute_script("return position") == pytest.approx(moved + 0.02)
    assert find("divider").get_attribute("aria-valuenow") == str(round(100 * (moved + 0.02)))

    for button in ("snapshot", "record", "model", "pause"):
        find(button).click()
    until(lambda: len(session.asked) == 5)
    assert session.asked == [
        Command.PAUSE, Command.SNAPSHOT, Command.RECORD, Command.NEXT_MODEL, Command.PAUSE,
    ]  # fmt: skip
    until(lambda: find("models").is_displayed())
    find("models").find_elements("tag name", "button")[1].click()
    until(lambda: session.asked[-1] == UseModel("fast"))
    browser.execute_script(
        "const s = arguments[0]; s.value = 1.5; s.dispatchEvent(new Event('input'))", find("strength")
    )
    until(lambda: session.asked[-1] == SetStrength(1.5))
    browser.execute_script("document.activeElement.blur()")
    webdriver.ActionChains(browser).send_keys("-").perform()
    until(lambda: session.asked[-1] == SetStrength(0.9))  # a step from what the session says, 1
    assert "preview quality, 19% of full resolution" in find("status").text
    find("beside").click()
    assert browser.execute_script("return canvas.width") == 2 * 160 + 4
    find("open-help").click()
    assert find("help").is_displayed()
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def middle_is_free(browser: Any, name: str) -> bool:
    """Whether an element keeps to one side of the divider."""
    script = (
        "const a = document.getElementById(arguments[0]).getBoundingClientRect(), "
        "b = divider.getBoundingClientRect(), x = b.left + b.width / 2; return a.right < x || a.left > x"
    )
    return bool(browser.execute_script(script, name))


def test_only_a_message_is_shown_before_the_first_picture(session: Session, browser: Any) -> None:
    page = WebPage(port=0)
    parts = ("picture", "divider", "blurred", "restored")

    def displayed() -> list[bool]:
        return [browser.find_element("id", name).is_displayed() for name in parts]

    try:
        browser.get(page.url)
        assert browser.find_element("id", "message").is_displayed()
        assert displayed() == [False] * 4
        browser.get(session.page.url)
        until(lambda: displayed() == [True] * 4)
    finally:
        browser.get("about:blank")
        page.close()


def test_text_keeps_to_one_side_of_the_divider(session: Session, browser: Any) -> None:
    session.message = "source lost; trying again in 2 s"
    browser.get(session.page.url)
    until(lambda: browser.find_element("id", "message").text == session.message)
    browser.find_element("id", "model").click()
    for part in (0.5, 0.3, 0.45, 0.55, 0.7):
        browser.execute_script("move(arguments[0])", part)
        for name in ("message", "models"):
            assert middle_is_free(browser, name)


def test_a_saved_file_is_downloaded(session: Session, browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "rtdeblur-20260131-235958.123-restored.png"
    file.write_bytes(b"picture")
    session.saved = (file,)
    browser.get(session.page.url)
    until(lambda: browser.find_element("id", "saved").is_displayed())
    link = browser.find_element("css selector", "#saved a")
    assert link.text == "23:59:58 restored (1 kB)"
    got = browser.execute_async_script(
        "const done = arguments[1]; fetch(arguments[0]).then((a) => a.text()).then(done)",
        link.get_attribute("href"),
    )
    assert got == "picture"
    assert link.get_attribute("download") == file.name


def test_closed_tabs_free_their_resources(session: Session, browser: Any) -> None:
    threads = threading.active_count()
    first = browser.current_window_handle
    browser.get(session.page.url)
    for _ in range(3):
        browser.switch_to.new_window("tab")
        browser.get(session.page.url)
        until(lambda: browser.execute_script("return drawnAt.length > 1"))
        assert session.page.viewers == 2
        browser.close()
        browser.switch_to.window(first)
        until(lambda: session.page.viewers == 1)
    browser.get("about:blank")
    until(lambda: session.page.viewers == 0)
    assert threading.active_count() <= threads + 1  # the thread that encodes stays


def test_the_page_reconnects(browser: Any) -> None:
    session = Session()
    port = int(session.page.url.rsplit(":", 1)[1].strip("/"))
    try:
        browser.get(session.page.url)
        until(lambda: browser.execute_script("return drawnAt.length > 1"))
    finally:
        session.close()
    until(lambda: "trying again" in browser.find_element("id", "message").text)
    again = Session(port)
    try:
        until(lambda: again.page.viewers == 1)
        until(lambda: browser.find_element("id", "message").text == "")
    finally:
        browser.get("about:blank")
        again.close()
