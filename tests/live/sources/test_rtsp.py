"""RTSP over TCP, from a server that knows as much of RFC 2326 and RFC 6184 as a camera must."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import pytest

from rtdeblur.errors import InputError
from rtdeblur.live.sources import open_source
from rtdeblur.live.sources.base import SourceOptions

QUICK = SourceOptions(timeout_seconds=5)
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=control:track1\r\n"
)


def encoded(frames: int, key_every: int = 10) -> list[bytes]:
    """H.264 pictures that grow lighter, each with its start codes."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 160, 96, "yuv420p"
    context.time_base, context.options = Fraction(1, 30), {"tune": "zerolatency", "preset": "ultrafast"}
    context.gop_size = key_every
    pictures = []
    for i in range(frames):
        frame = av.VideoFrame.from_ndarray(np.full((144, 160), (60 + i) % 256, np.uint8), "yuv420p")
        frame.pts = i
        pictures += [bytes(packet) for packet in context.encode(frame)]
    return pictures


def rtp(pictures: list[bytes]) -> Iterator[bytes]:
    """Interleaved packets (RFC 2326, 10.12), one for each NAL unit."""
    sequence = 0
    for index, picture in enumerate(pictures):
        units = [unit for unit in re.split(b"\x00\x00\x00?\x01", picture) if unit]
        for unit in units:
            marker = 0x80 if unit is units[-1] else 0
            packet = struct.pack(">BBHII", 0x80, 96 | marker, sequence, index * 3000, 7) + unit
            yield struct.pack(">cBH", b"$", 0, len(packet)) + packet
            sequence += 1


class Server:
    """Serves one client after another; `hang_up` ends each after its pictures."""

    def __init__(self, pictures: list[bytes], hang_up: bool) -> None:
        self._pictures, self._hang_up = pictures, hang_up
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://me:secret@127.0.0.1:{self._socket.getsockname()[1]}/live"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(30)

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        lines = client.makefile("rb")
        while True:
            request = b"".join(iter(lines.readline, b"\r\n")).decode()
            if not request:
                return
            method, number = request.split()[0], re.search(r"CSeq: (\d+)", request)
            assert number
            extra, body = {
                "OPTIONS": ("Public: DESCRIBE, SETUP, PLAY\r\n", ""),
                "DESCRIBE": (f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n", SDP),
                "SETUP": ("Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", ""),
            }.get(method, ("Session: 1\r\n", ""))
            client.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {number[1]}\r\n{extra}\r\n{body}".encode())
            if method == "PLAY":
                for packet in rtp(self._pictures):
                    client.sendall(packet)
                if not self._hang_up:
                    self._over.wait(30)
                return


@contextlib.contextmanager
def serving(pictures: list[bytes], *, hang_up: bool = True) -> Iterator[str]:
    server = Server(pictures, hang_up)
    try:
        yield server.url
    finally:
        server.close()


def test_pictures_arrive_in_order_and_a_sender_that_hangs_up_ends_them() -> None:
    with serving(encoded(60)) as url:
        source = open_source(url, QUICK)
        means = [round(float(f.planes[0].mean())) for f in iter(source.read, None)]
        source.close()
        again = open_source(url, QUICK)
        assert again.read() is not None
        again.close()
    assert means == sorted(means)
    assert len(means) >= 50
    assert means[-1] >= 115


def test_a_camera_that_falls_silent_is_lost() -> None:
    with serving(encoded(30), hang_up=False) as url:
        source = open_source(url, SourceOptions(timeout_seconds=1))
        with pytest.raises(InputError, match=r"'rtsp://me:\*\*\*@127.*' was silent for 1 s"):
            list(iter(source.read, None))
        source.close()


def test_who_joins_late_waits_for_the_next_key_frame() -> None:
    with serving(encoded(300, key_every=250)[1:]) as url:
        source = open_source(url, QUICK)
        frames = list(iter(source.read, None))
        source.close()
    assert 40 <= len(frames) <= 50
    assert source.damaged == 0
