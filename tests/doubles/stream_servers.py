"""Servers of live streams on this machine: HTTP, and RTSP over TCP.

The RTSP server implements the parts of RFC 2326 and RFC 6184 that a camera needs.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import av
import numpy as np

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=control:track1\r\n"
)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def transport_stream(sizes: list[tuple[int, int]], frames: int = 15) -> bytes:
    """H.264 in a transport stream; one run of frames per size, each with a restarted clock."""
    out = b""
    for width, height in sizes:
        buffer = BytesIO()
        with av.open(buffer, "w", format="mpegts") as container:
            stream = container.add_stream("libx264", 30, {"tune": "zerolatency", "preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for i in range(frames):
                picture = np.full((height * 3 // 2, width), 60 + 5 * i, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, "yuv420p")
                frame.pts, frame.time_base = i, Fraction(1, 30)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        out += buffer.getvalue()
    return out


@contextlib.contextmanager
def http_server(*bodies: bytes, hang: bool = False) -> Iterator[str]:
    """Answer each request with the next body, and hang up unless told to `hang`."""
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        for body in bodies:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                client.recv(4096)
                length = len(body) + hang  # if it hangs, announce one byte more than is sent
                client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % length + body)
                if hang:
                    over.wait(20)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/live.ts"
    finally:
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def encoded(frames: int, key_every: int = 10, step: int = 1) -> list[bytes]:
    """H.264 pictures that grow brighter by `step`, each with its start codes."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 160, 96, "yuv420p"
    context.time_base, context.options = Fraction(1, 30), {"tune": "zerolatency", "preset": "ultrafast"}
    context.gop_size = key_every
    pictures = []
    for i in range(frames):
        frame = av.VideoFrame.from_ndarray(np.full((144, 160), (60 + step * i) % 256, np.uint8), "yuv420p")
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
            packet = struct.pack(">BBHII", 0x80, 96 | marker, sequence, 90_000 + index * 3000, 7) + unit
            yield struct.pack(">cBH", b"$", 0, len(packet)) + packet
            sequence += 1


class RtspServer:
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
def file_server(folder: Path, *, ranges: bool = True) -> Iterator[str]:
    """Serve the files of a folder over HTTP, as web servers do; yield the address of the folder.

    Args:
        folder: what is served.
        ranges: answer requests for parts of a file.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = (folder / self.path.strip("/")).read_bytes()
            start = 0
            asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) if ranges else None
            if asked:
                start = int(asked[1])
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            if ranges:
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(data[start:])

        def log_message(self, *words: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextlib.contextmanager
def rtsp_server(pictures: list[bytes], *, hang_up: bool = True) -> Iterator[str]:
    server = RtspServer(pictures, hang_up)
    try:
        yield server.url
    finally:
        server.close()
