"""Opening of inputs, and refusal of other files, devices and pictures that are too large."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from rtdeblur.errors import InputError
from rtdeblur.ffmpeg.container import open_input
from rtdeblur.media.reader import FileReader

MakeClip = Callable[..., Path]
Ffmpeg = Callable[..., bytes]

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile {url}\n"


@pytest.mark.parametrize(
    "url", ["secret.ts", "{folder}/secret.ts", "file://{folder}/secret.ts", "http://{address}/"]
)
@pytest.mark.parametrize(
    ("name", "text"), [("x.m3u8", HLS), ("x.mp4", HLS), ("x.ffconcat", CONCAT), ("x.mp4", CONCAT)]
)
def test_a_playlist_reads_nothing_else(
    name: str, text: str, url: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    shutil.copyfile(make_clip(".ts", sound=False), tmp_path / "secret.ts")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / name).write_text(text.format(url=url.format(folder=tmp_path, address=address)))
        with pytest.raises(InputError, match="cannot read input"):
            open_input(tmp_path / name)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_refusal_states_its_reason(tmp_path: Path) -> None:
    (tmp_path / "x.ffconcat").write_text(CONCAT.format(url="x.mp4"))
    with pytest.raises(InputError, match="playlist"):
        open_input(tmp_path / "x.ffconcat")


def test_an_mp4_without_its_index_is_called_incomplete(make_clip: MakeClip, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(make_clip(".mp4", sound=False).read_bytes()[:2000])
    with pytest.raises(InputError, match=r"moov atom not found.*; expected a complete video file"):
        open_input(cut)


def test_a_percent_sign_is_not_a_pattern(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:d=0.2", tmp_path / "x%03d.png")
    for text in ("does not exist; patterns are not supported here", "is a photo"):
        with pytest.raises(InputError, match=text):
            open_input(tmp_path / "x%03d.png")
        shutil.copyfile(tmp_path / "x001.png", tmp_path / "x%03d.png")


@pytest.mark.parametrize(
    "name",
    [
        "two words.mkv",
        'it\'s "quoted".mkv',
        "100%d%s.mkv",
        "new\nline.mkv",
        os.fsdecode(b"\xff\xfe.mkv"),
        "-o.mkv",
        "http:x.mkv",
        "file:x.mkv",
        "pipe:0.mkv",
        "a?b#c&d.mkv",
        "*.mkv",
        "x" * 251 + ".mkv",
    ],
)
def test_any_file_name_can_be_opened(
    name: str, make_clip: MakeClip, tmp_path: Path, rewrite: Callable[..., object]
) -> None:
    source = tmp_path / name
    shutil.copyfile(make_clip(".mkv", sound=False), source)
    (tmp_path / "out").mkdir()
    rewrite(source, f"out/{name}")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.needs_posix
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_only_files_and_pipes_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket's name is short
        server.bind("socket")
        for path in (Path("socket"), Path("/dev/zero"), Path("/dev/null")):
            with pytest.raises(InputError, match="device or socket"):
                open_input(path)


def png(width: int, height: int) -> bytes:
    """A header of any size, and pixels that are too few."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def ivf(width: int, height: int) -> bytes:
    """A VP8 file whose headers name any size."""
    frame = bytes([0x10, 0, 0, 0x9D, 1, 0x2A]) + struct.pack("<HH", width, height) + bytes(20)
    header = b"DKIF" + struct.pack("<HH4sHHIIII", 0, 32, b"VP80", width, height, 25, 1, 1, 0)
    return header + struct.pack("<IQ", len(frame), 0) + frame


@pytest.mark.needs_posix
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
@pytest.mark.parametrize(
    ("name", "data", "size"),
    [
        ("x.png", png(65535, 65535), "65535x65535"),
        ("x.png", png(16000, 16000), "16000x16000"),
        ("x.ivf", ivf(16383, 16383), "16383x16383"),
        ("x.y4m", b"YUV4MPEG2 W65535 H65535 F25:1 C420\nFRAME\n" + bytes(100_000), "65535x65535"),
    ],
)
def test_a_huge_picture_is_refused_before_memory_is_allocated(
    name: str, data: bytes, size: str, tmp_path: Path
) -> None:
    import resource

    path = tmp_path / name
    path.write_bytes(data)
    code = f"from rtdeblur import FileReader\nFileReader({str(path)!r})"

    def little_memory() -> None:  # 16000x16000 in RGB is 768 MB
        resource.setrlimit(resource.RLIMIT_DATA, (500 << 20, 500 << 20))

    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=little_memory,
        env=environment,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("rtdeblur.errors.InputError")
    assert size in last


def test_the_size_limit_can_be_raised(make_clip: MakeClip) -> None:
    clip = make_clip(".mkv", sound=False)  # 98x66
    with pytest.raises(InputError, match=r"98x66, more than 6467 pixels.*--max-pixels"):
        FileReader(clip, max_pixels=98 * 66 - 1)
    FileReader(clip, max_pixels=98 * 66).close()


def test_the_size_limit_applies_in_mid_stream(make_clip: MakeClip, tmp_path: Path) -> None:
    small = make_clip(".ts", "-bf", "0", sound=False)
    large = make_clip(".ts", "-bf", "0", "-output_ts_offset", "0.48", size="640x480", sound=False)
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    reader = FileReader(path, max_pixels=100_000)
    assert {frame.planes[0].shape for frame in reader} == {(66, 98)}
    reader.close()
    assert reader.damage.count >= 12
