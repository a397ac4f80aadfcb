"""Passwords, tokens and stream keys of addresses are not shown, whatever characters they hold."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from rtdeblur.cli import main
from rtdeblur.errors import RtdeblurError
from rtdeblur.frames import Colour, Frame
from rtdeblur.live.address import advice, hide_passwords, host_of, without_secrets
from rtdeblur.live.sinks.encoded import send_to
from rtdeblur.live.sources import open_source
from rtdeblur.live.sources.base import SourceOptions

SHOWN = {
    "rtsp://me:secret@camera:554/x?a=1": "rtsp://me:***@camera:554/x?a=1",
    "rtsp://camera/x": "rtsp://camera/x",
    "rtsp://me@camera/x": "rtsp://me@camera/x",
    "rtsp://[::1]:554/x": "rtsp://[::1]:554/x",
    "rtsp://me:secret@[::1]:554/x": "rtsp://me:***@[::1]:554/x",
    "RTSP://me:secret@camera": "RTSP://me:***@camera",
    "rtsp:/me:secret@camera/x": "rtsp:/me:***@camera/x",
    "me:secret@camera/x": "me:***@camera/x",
    "rtsp://camera/cam/realmonitor?channel=1&subtype=0": "rtsp://camera/cam/realmonitor?channel=1&subtype=0",
    "rtsp://camera/h264Preview_01_main": "rtsp://camera/h264Preview_01_main",
    "rtsp://camera/user=admin&password=secret&channel=1": "rtsp://camera/user=admin&password=***&channel=1",
    "rtsp://camera/user=admin_password=secret_channel=1": "rtsp://camera/user=admin_password=***",
    "rtsps://nvr:7441/AbCdEfGh12345678?enableSrtp": "rtsps://nvr:7441/***?enableSrtp",
    "https://x/y.m3u8?token=ab/secret&a=1": "https://x/y.m3u8?token=***&a=1",
    "https://x/y.m3u8?Policy=c2VjcmV0c2VjcmV0c2Vj": "https://x/y.m3u8?Policy=***",
    "https://AbCdEfGh12345678@x/y": "https://***@x/y",
    "rtmp://site/live2/abcd-secret": "rtmp://site/live2/***",
    "rtmp://site/app/inst/secret?auth=secret": "rtmp://site/app/inst/***?auth=***",
    "rtmp://site/live": "rtmp://site/live",
    "srt://x:90?passphrase=secret&latency=9": "srt://x:90?passphrase=***&latency=9",
    "srt://x:90?streamid=#!::u=me,s=secret": "srt://x:90?streamid=***#***",
    "udp://239.0.0.1:1234?pkt_size=1316": "udp://239.0.0.1:1234?pkt_size=1316",
    "clips/0123456789abcdef0123/a.mp4": "clips/0123456789abcdef0123/a.mp4",
    "C:/clips/a.mp4": "C:/clips/a.mp4",
}
PASSWORDS = [
    f"hun{odd}ter2" for odd in ("#", "/", "?", "[", "]", "@", ":", " ", "%", "'", '"', ";", "&", "://")
]
PASSWORDS += ["#/?[ter2", "ter2\n"]


def leaks(text: str) -> bool:
    return "ter2" in text


@pytest.mark.parametrize("url", SHOWN)
def test_an_address_is_shown_without_secrets(url: str) -> None:
    assert without_secrets(url) == SHOWN[url]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http", "udp", "srt", "gopher"])
def test_an_error_of_a_source_hides_the_password(scheme: str, password: str) -> None:
    with pytest.raises(RtdeblurError) as raised:
        open_source(f"{scheme}://me:{password}@127.0.0.1:9/x", SourceOptions(timeout_seconds=0.1))
    assert not leaks(str(raised.value))
    assert not leaks("".join(traceback.format_exception(raised.value)))


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "srt", "gopher"])
def test_an_error_of_a_receiver_hides_the_password(scheme: str, password: str) -> None:
    chroma = np.full((32, 48), 128, np.uint8)
    frame = Frame((np.full((64, 96), 99, np.uint8), chroma, chroma), 0, Fraction(1, 30), Colour())
    with pytest.raises(RtdeblurError) as raised:
        send_to(f"{scheme}://me:{password}@127.0.0.1:9/x")(frame, 30.0)
    assert not leaks("".join(traceback.format_exception(raised.value)))


@pytest.mark.parametrize(
    "words",
    [
        ["rtsp://me:{}@127.0.0.1:9/x", "-o", "{out}"],
        ["rtsp:/me:{}@127.0.0.1:9/x", "-o", "{out}"],
        ["me:{}@127.0.0.1:9/x", "-o", "{out}"],
        ["{clip}", "rtsp://me:{}@127.0.0.1:9/x", "-o", "{out}"],
        ["{clip}", "--send", "rtsp://me:{}@127.0.0.1:9/x"],
        ["{clip}", "--send", "gopher://me:{}@127.0.0.1:9/x"],
    ],
)
@pytest.mark.parametrize("password", ["hunter2", "hun#ter2", "hun/ter2", "hun?ter2", "hun[ter2"])
def test_the_command_hides_the_password(
    words: list[str],
    password: str,
    make_clip: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    places = {"{clip}": str(make_clip(".mp4")), "{out}": str(tmp_path / "out.mkv")}
    filled = [places.get(word, word.replace("{}", password)) for word in words]
    assert main(["live", *filled, "--no-window", "--json", "--model", "identity"]) in (1, 2)
    said = capfd.readouterr()
    assert "***" in said.err
    assert not leaks(said.err + said.out)


def test_the_summary_hides_the_password(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fake
) -> None:
    source = fake.source([fake.picture(i) for i in range(5)], finite=True, pace=0.02)
    monkeypatch.setattr("rtdeblur.live.sources.open_source", lambda name, options: source)
    url = "rtsp://me:hun#ter2@camera/x?token=hunter2"
    words = ["-o", str(tmp_path / "out.mkv"), "--no-window", "--json", "--model", "identity"]
    assert main(["live", url, *words]) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["source"] == "rtsp://me:***@camera/x?token=***"
    assert not leaks(said.err)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://me:pa#ss@x/y", "in a password write '#' as %23"),
        ("rtsp://me:p/a?s[s]@x/y", "in a password write '/' as %2F, '?' as %3F, '[' as %5B, ']' as %5D"),
        ("rtsp://me:100%@x/y", "in a password write '%' as %25"),
        ("rtsp://me:pa%23ss@x/y", ""),
        ("rtsp://me:pass@x/y#z", ""),
        ("rtsp://x/y?z", ""),
    ],
)
def test_a_password_that_breaks_its_address_is_explained(url: str, expected: str) -> None:
    assert advice(url) == expected


@pytest.mark.parametrize("character", "#/?")
@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http"])
def test_the_explanation_is_in_the_error(scheme: str, character: str) -> None:
    code = f"%{ord(character):02X}"
    url = f"{scheme}://me:pa{character}ss@127.0.0.1:9/x"
    with pytest.raises(RtdeblurError, match=f"write '[{character}]' as {code}"):
        open_source(url, SourceOptions(timeout_seconds=0.1))


def test_passwords_in_any_text_are_hidden() -> None:
    text = "extra argument (rtsp://me:se#cret@x/y) and 'rtsp:/me:secret@z', at 12:30, C:/a@b"
    assert hide_passwords(text) == "extra argument (rtsp://me:***@x/y) and 'rtsp:/me:***@z', at 12:30, C:/a@b"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("rtsp://camera.local:554/stream", "camera.local"),
        ("rtsp://user:pass@camera/x", "camera"),
        ("http://[::1]:80/x", "::1"),
        ("rtsp://user:hun[ter2@camera", "camera"),
        ("rtsp://user:hun]t@er2@camera", "camera"),
        ("rtsp://user:hun/ter2@camera", None),  # the password may end there
        ("udp://:1234", None),
    ],
)
def test_the_host_of_an_address(url: str, host: str | None) -> None:
    assert host_of(url) == host
