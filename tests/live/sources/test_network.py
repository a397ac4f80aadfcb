"""Streams over loopback, served on the spot."""

import itertools
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import av
import numpy as np
import pytest
from av.error import PatchWelcomeError
from stream_servers import file_server, free_port, http_server, transport_stream

from rtdeblur.errors import InputError, UsageError
from rtdeblur.frames import Colour, Frame
from rtdeblur.live.image import Appearance
from rtdeblur.live.sinks.encoded import record_to, send_to
from rtdeblur.live.sources import open_source
from rtdeblur.live.sources.base import SourceOptions
from rtdeblur.live.sources.network import NetworkStream

QUICK = SourceOptions(timeout_seconds=5)


def read_all(source: NetworkStream) -> list[Frame]:
    return list(iter(source.read, None))


def test_http_gives_every_frame_and_ends_with_the_sender() -> None:
    with http_server(transport_stream([(160, 96)])) as url:
        source = open_source(url, QUICK)
        frames = read_all(source)
        source.close()
    assert len(frames) == 15
    assert not source.finite
    assert [int(f.planes[0].mean()) for f in frames] == pytest.approx([60 + 5 * i for i in range(15)], abs=2)
    steps = [float((b.pts - a.pts) * a.time_base) for a, b in itertools.pairwise(frames)]
    assert steps == pytest.approx([1 / 30] * 14, abs=1e-4)


def test_a_stream_tagged_as_rotated_is_turned_upright() -> None:
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", 30, {"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.set_display_matrix((0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))
        container.mux(stream.encode(av.VideoFrame(160, 96, "yuv420p")))
        container.mux(stream.encode(None))
    with http_server(buffer.getvalue()) as url:
        source = open_source(url, QUICK)
        frames = read_all(source)
        source.close()
    assert [frame.planes[0].shape for frame in frames] == [(160, 96)]


def test_the_size_may_change_and_the_clock_restart() -> None:
    with http_server(transport_stream([(160, 96), (320, 192), (96, 64)])) as url:
        source = open_source(url, QUICK)
        frames = read_all(source)
        source.close()
    shapes = [f.planes[0].shape for f in frames]
    assert [shape for shape, _ in itertools.groupby(shapes)] == [(96, 160), (192, 320), (64, 96)]


def test_garbage_loses_pictures_but_not_the_stream() -> None:
    data = bytearray(transport_stream([(160, 96)] * 4))
    random = np.random.default_rng(3)
    for start in range(20 * 188, len(data) // 2, 7 * 188):  # headers and payloads, of the first half
        data[start : start + 60] = random.bytes(60)
    with http_server(bytes(data)) as url:
        source = open_source(url, QUICK)
        frames = read_all(source)
        source.close()
    assert 20 <= len(frames) <= 60  # the second half is whole
    assert source.damaged > 0
    assert [int(f.planes[0].mean()) for f in frames[-10:]] == pytest.approx(range(85, 135, 5), abs=2)


def test_a_packet_that_the_decoder_refuses_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = PatchWelcomeError(-1, "not yet implemented")
    packets = NetworkStream._packets

    def with_one_more(self: NetworkStream) -> Iterator[Any]:
        for index, packet in enumerate(packets(self)):
            if index == 5:
                yield SimpleNamespace(is_corrupt=False, dts=None, decode=Mock(side_effect=refusal))
            yield packet

    monkeypatch.setattr(NetworkStream, "_packets", with_one_more)
    with http_server(transport_stream([(160, 96)])) as url:
        source = open_source(url, QUICK)
        frames = read_all(source)
        source.close()
    assert (len(frames), source.damaged) == (15, 1)


def test_pure_noise_is_an_error() -> None:
    with http_server(np.random.default_rng(4).bytes(300_000)) as url, pytest.raises(InputError) as error:
        open_source(url, QUICK)
    assert "cannot open" in str(error.value) or "no video" in str(error.value)


def test_a_silent_sender_is_lost_after_the_timeout() -> None:
    with http_server(transport_stream([(160, 96)]), hang=True) as url:
        source = open_source(url, SourceOptions(timeout_seconds=1))
        with pytest.raises(InputError, match="was silent for 1 s"):
            read_all(source)
        source.close()


def test_udp_arrives_from_our_own_sender() -> None:
    port = free_port(socket.SOCK_DGRAM)
    over = threading.Event()
    chroma = np.full((48, 80), 128, np.uint8)

    def send() -> None:
        sink = None
        for i in range(1000):
            frame = Frame((np.full((96, 160), 90, np.uint8), chroma, chroma), i, Fraction(1, 30), Colour())
            sink = sink or send_to(f"udp://127.0.0.1:{port}")(frame, 30)
            sink.write(frame, i / 30)
            if over.wait(0.02):
                break
        sink.close()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        source = open_source(f"udp://127.0.0.1:{port}", QUICK)
        frames = [source.read() for _ in range(10)]
        source.close()
    finally:
        over.set()
        thread.join(20)
    assert all(f.planes[0].shape == (96, 160) and abs(f.planes[0].mean() - 90) <= 1 for f in frames)


def test_a_silent_udp_port_is_an_error() -> None:
    port = free_port(socket.SOCK_DGRAM)
    with pytest.raises(InputError, match=r"no answer within 0\.5 s"):
        open_source(f"udp://127.0.0.1:{port}", SourceOptions(timeout_seconds=0.5))


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http", "tcp"])
def test_a_missing_server_is_an_error(scheme: str) -> None:
    with pytest.raises(InputError, match="Connection refused; check the address"):
        open_source(f"{scheme}://127.0.0.1:{free_port()}/x", QUICK)


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http", "tcp"])
def test_an_unknown_host_is_named(scheme: str) -> None:
    with pytest.raises(InputError, match=r"no host is called 'camera\.invalid'; check the address"):
        open_source(f"{scheme}://me:secret@camera.invalid:1/x", QUICK)


def test_a_wrong_password_is_named() -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            with pytest.raises(InputError, match=r"401 Unauthorized.*check user and password"):
                open_source(f"http://me:wrong@127.0.0.1:{server.server_port}/x", QUICK)
        finally:
            server.shutdown()


def test_an_unknown_scheme_is_an_error() -> None:
    with pytest.raises(InputError, match=r"unknown scheme 'gopher'.*rtsp, "):
        open_source("gopher://x", QUICK)


def test_a_playlist_opens_no_file_of_this_machine(tmp_path: Path) -> None:
    secret = tmp_path / "secret.ts"
    secret.write_bytes(transport_stream([(160, 96)]))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    with http_server(*[playlist.encode()] * 3) as url, pytest.raises(InputError):
        read_all(open_source(url.replace(".ts", ".m3u8"), QUICK))


def test_segments_play_at_their_own_speed() -> None:
    playlist = b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.5,\na.ts\n#EXT-X-ENDLIST\n"
    with http_server(playlist, *[transport_stream([(160, 96)])] * 3) as url:
        source = open_source(url.replace(".ts", ".m3u8"), QUICK)
        began = time.monotonic()
        frames = read_all(source)
        took = time.monotonic() - began
        source.close()
    assert len(frames) == 15
    assert took >= 14 / 30 - 0.02


@pytest.mark.parametrize("ranges", [True, False], ids=["parts", "whole files"])
@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (".mp4", ["-movflags", "faststart"]),
        (".mkv", []),
        (".mov", ["-movflags", "faststart"]),
        (".webm", ["-c:v", "libvpx"]),
        (".avi", []),
    ],
)
def test_a_file_on_a_web_server_plays_once_at_its_own_speed(
    ending: str, words: list[str], ranges: bool, make_clip: Callable[..., Path]
) -> None:
    clip = make_clip(ending, *words, frames=12, sound=False)
    with file_server(clip.parent, ranges=ranges) as url:
        source = open_source(f"{url}/{clip.name}", QUICK)
        began = time.monotonic()
        frames = read_all(source)
        assert time.monotonic() - began >= 11 / 25 - 0.05
        assert source.finite
        assert source.read() is None
        source.close()
    assert len(frames) == 12


def test_a_file_with_its_index_at_the_end_plays_if_the_server_has_parts(
    make_clip: Callable[..., Path],
) -> None:
    clip = make_clip(".mp4", frames=12, sound=False)
    with file_server(clip.parent) as url:
        source = open_source(f"{url}/{clip.name}", QUICK)
        assert len(read_all(source)) == 12
        source.close()


def test_an_unknown_source_is_an_error() -> None:
    with pytest.raises(InputError, match=r"no source 'nosuch.mp4': expected a camera's number"):
        open_source("nosuch.mp4", QUICK)


def test_passwords_are_not_shown() -> None:
    with pytest.raises(InputError) as error:
        open_source(f"rtsp://me:secret@127.0.0.1:{free_port()}/x", QUICK)
    assert "secret" not in str(error.value)


def test_a_file_plays_at_its_own_speed(make_clip: Callable[..., Path]) -> None:
    source = open_source(str(make_clip(".mp4", frames=12)), QUICK)
    began = time.monotonic()
    frames = read_all(source)
    assert time.monotonic() - began >= 11 / 25 - 0.02
    assert len(frames) == 12
    assert source.finite
    assert all(type(f.carrier) is Appearance for f in frames)  # and no longer what was decoded
    source.close()


@pytest.mark.parametrize("url", ["ftp://x/y", "x.mkv", "http://x"])
def test_an_address_that_takes_no_stream_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="cannot send to"):
        send_to(url)


def test_a_recording_is_matroska() -> None:
    with pytest.raises(UsageError, match=r"try 'out.mkv'"):
        record_to(Path("out.mp4"))


@pytest.mark.needs_ffmpeg
@pytest.mark.parametrize("format_name", ["mpegts", "h264"])
def test_an_unknown_udp_format_is_probed(format_name: str) -> None:
    port = free_port(socket.SOCK_DGRAM)
    words = ["-re", "-f", "lavfi", "-i", "testsrc2=s=160x96:r=30", "-c:v", "libx264", "-g", "10"]
    words += ["-tune", "zerolatency", "-f", format_name, f"udp://127.0.0.1:{port}?pkt_size=1316"]
    with subprocess.Popen(["ffmpeg", "-nostdin", "-v", "quiet", *words]) as sender:
        try:
            source = open_source(f"udp://127.0.0.1:{port}", QUICK)
            times = [float(f.pts * f.time_base) for f in (source.read() for _ in range(20))]
            source.close()
        finally:
            sender.kill()
    assert times == sorted(set(times))
    arrived = 0 <= time.monotonic() - times[-1] < 60  # the only time that bare H.264 has
    assert arrived == (format_name == "h264")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_a_closed_stream_leaves_no_file_open() -> None:
    data = transport_stream([(160, 96)])
    with http_server(*[data] * 10) as url:
        counts = []
        for _ in range(10):
            source = open_source(url, QUICK)
            source.read()
            source.close()
            counts.append(sum(1 for _ in Path("/proc/self/fd").iterdir()))
    assert counts[-1] <= counts[1]
