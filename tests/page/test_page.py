"""The before-and-after page, as text and in a browser: mouse, touch, keyboard, policy, phone size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium

from rtdeblur.media.photos.jpeg import jpeg
from rtdeblur.page import Page, Pair, render

HOSTILE = "<script>alert(1)</script>\"'&$title ${command}"


def grey(level: int, size: tuple[int, int] = (300, 600)) -> bytes:
    return jpeg(np.full((*size, 3), level, np.uint8))


def page(**changes: Any) -> Page:
    pairs = tuple(Pair(f"0:0{i}.0 – blur", grey(40), grey(200), (300, 600)) for i in range(2))
    given = {
        "title": "Preview of in.mp4",
        "summary": "A summary.",
        "facts": (("Blur", "0.5"), ("Time", "0:10")),
        "labels": ("before", "after"),
        "pairs": pairs,
        "command": "rtdeblur in.mp4 -o out.mp4",
    }
    return Page(**{**given, **changes})


def test_the_page_is_self_contained() -> None:
    html = render(page())
    assert html.count("data:image/jpeg;base64,") == 4
    assert "rtdeblur in.mp4 -o out.mp4" in html
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", html)
    assert all(address.startswith("data:") for address in addresses)
    assert "http://" not in html
    assert "https://" not in html
    assert not re.search(r"\s(?:style|on\w+)=", html)  # the policy would refuse them


def test_names_are_escaped() -> None:
    pair = Pair(HOSTILE, grey(9), grey(9), (300, 600))
    html = render(
        page(title=HOSTILE, summary=HOSTILE, facts=((HOSTILE, HOSTILE),), labels=(HOSTILE, HOSTILE),
             pairs=(pair,), command=HOSTILE)
    )  # fmt: skip
    assert html.count("<script>") == 1
    assert "<script>alert" not in html
    assert html.count("$title ${command}") >= 8  # nothing in it was substituted


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Any:
    (tmp_path / "page.html").write_text(render(page()), encoding="utf-8")
    browser.get((tmp_path / "page.html").as_uri())
    return browser


def level(browser: Any, share: float, figure: int = 0) -> int:
    """The brightness that is seen at a part of the width of a picture."""
    import io

    from PIL import Image

    pair = browser.find_elements("css selector", ".pair")[figure]
    with Image.open(io.BytesIO(pair.screenshot_as_png)) as image:
        return int(image.convert("L").getpixel((round(share * (image.width - 1)), 40)))


def at(browser: Any, figure: int = 0) -> float:
    return float(browser.find_elements("css selector", ".pair input")[figure].get_property("value"))


def drag(browser: Any, kind: str, begin: float, end: float) -> None:
    """Drag across the first picture, from one part of its width to another."""
    box = browser.find_element("css selector", ".pair").rect
    y = box["y"] + box["height"] / 2
    places = [box["x"] + (begin + (end - begin) * step / 5) * box["width"] for step in range(6)]

    def send(name: str, x: float) -> None:
        if kind == "touch":
            points = [] if name == "End" else [{"x": x, "y": y}]
            browser.execute_cdp_cmd(
                "Input.dispatchTouchEvent", {"type": f"touch{name}", "touchPoints": points}
            )
            return
        event = {"Start": "mousePressed", "Move": "mouseMoved", "End": "mouseReleased"}[name]
        words = {"type": event, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", words)

    send("Start", places[0])
    for place in places[1:]:
        send("Move", place)
    send("End", places[-1])


def test_the_page_shows_both_halves_without_console_errors(opened: Any) -> None:
    assert level(opened, 0.25) < 60
    assert level(opened, 0.75) > 180
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("kind", ["mouse", "touch"])
def test_the_divider_follows_mouse_and_touch(opened: Any, kind: str) -> None:
    drag(opened, kind, 0.5, 0.2)
    assert at(opened) == pytest.approx(20, abs=2)
    assert (level(opened, 0.1), level(opened, 0.3)) == (pytest.approx(40, abs=9), pytest.approx(200, abs=9))
    assert at(opened, 1) == 50  # each picture has its own
    drag(opened, kind, 0.2, 0.9)
    assert at(opened) == pytest.approx(90, abs=2)
    assert level(opened, 0.8) < 60


def test_arrow_keys_move_the_divider(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    active = opened.switch_to.active_element
    active.send_keys(Keys.TAB, Keys.NULL)
    opened.switch_to.active_element.send_keys(Keys.TAB)
    first = opened.switch_to.active_element
    assert first.get_attribute("id") == "divider1"
    assert "Divider between before and after, picture 1" in first.get_attribute("aria-label")
    first.send_keys(Keys.ARROW_RIGHT * 4)
    assert at(opened) == 52
    first.send_keys(Keys.HOME)
    assert level(opened, 0.1) > 180
    first.send_keys(Keys.END)
    assert level(opened, 0.9) < 60


def test_the_page_fits_a_phone(opened: Any) -> None:
    opened.set_window_size(420, 800)
    try:
        width = opened.execute_script("return document.documentElement.clientWidth")
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
        assert opened.find_element("css selector", ".pair").rect["width"] <= width
        opened.find_element("id", "pixels").click()
        assert opened.find_element("css selector", ".pair").rect["width"] == 600
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        opened.set_window_size(1000, 900)


def test_the_policy_refuses_other_scripts(opened: Any) -> None:
    ran = opened.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.strange = 1';"
        "document.body.append(s); return window.strange === 1"
    )
    assert ran is False
