"""Metadata in or alongside the pictures: captions, and geographic data."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.sidedata.sidedata import Type
from av.stream import Discard

from rtdeblur.media.writer import FileWriter

MakeClip = Callable[..., Path]
Rewrite = Callable[..., FileWriter]


def caption(words: bytes) -> bytes:
    """An SEI message of H.264 with CEA-708 captions (ATSC A/53 part 4, table 6.7); three bytes each."""
    payload = b"\xb5\x00\x31GA94\x03" + bytes([0xC0 | len(words) // 3, 0xFF]) + words + b"\xff"
    message = bytes([4, len(payload)]) + payload + b"\x80"
    escaped = re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", message)
    return b"\x00\x00\x00\x01\x06" + escaped


def captions(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        sides = [frame.side_data.get(Type.A53_CC) for frame in container.decode(video=0)]  # type: ignore[attr-defined]
    return [bytes(side) for side in sides if side is not None]


@pytest.fixture
def captioned(make_clip: MakeClip, tmp_path: Path) -> tuple[Path, list[bytes]]:
    """A clip with B-frames and a caption before each picture's slice; and the captions in the order shown."""
    plain = make_clip(".h264", "-preset", "medium", "-x264-params", "slices=1:threads=1", sound=False)
    units = re.split(rb"(?=\x00\x00\x01)", plain.read_bytes())
    count = iter(range(100))
    path = tmp_path / "captioned.h264"
    path.write_bytes(
        b"".join(
            caption(bytes([0xFC, 0x41 + next(count), 0x20, 0xFC, 0x80, 0x80])) + unit
            if unit[3:] and unit[3] & 31 in (1, 5)
            else unit
            for unit in units
        )
    )
    return path, captions(path)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_closed_captions_stay_with_their_pictures(
    codec: str, captioned: tuple[Path, list[bytes]], rewrite: Rewrite, tmp_path: Path
) -> None:
    path, words = captioned
    assert len(words) == 12
    assert words != sorted(words)  # they come in the order of decoding
    rewrite(path, "out.mkv", codec=codec)
    assert captions(tmp_path / "out.mkv") == words


def test_a_warning_names_lost_captions(captioned: tuple[Path, list[bytes]], rewrite: Rewrite) -> None:
    warning = "closed captions are not kept by ffv1; libx264 and libx265 keep them"
    assert warning in rewrite(captioned[0], "out.mkv", codec="ffv1").warnings
    assert not rewrite(captioned[0], "other.mkv").warnings


def with_data(clip: Path, path: Path, codec: str, start: bytes = b"") -> Path:
    """A copy of a clip with a packet of data per frame, and two chapters."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        data = out.add_data_stream(codec)
        out.set_chapters(
            [
                {
                    "id": n,
                    "start": 200 * n,
                    "end": 200 * n + 200,
                    "time_base": Fraction(1, 1000),
                    "metadata": {},
                }
                for n in range(2)
            ]
        )
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.dts is None:
                continue
            about = av.Packet(start + bytes([3, number, 1, 2]))
            about.stream, about.pts, about.dts, about.time_base = data, number, number, Fraction(1, 25)
            about.duration = 1
            packet.stream = video
            out.mux([packet, about])
    return path


@pytest.mark.parametrize("name", ["out.ts", "out.m2ts"])
def test_klv_is_copied_packet_by_packet(
    name: str, make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path
) -> None:
    key = bytes.fromhex("060e2b34020b01010e01030101000000")  # MISB ST 0601, UAS datalink local set
    source = with_data(make_clip(".mp4", sound=False), tmp_path / "drone.ts", "klv", key)
    assert rewrite(source, name).warnings == []
    assert packets(tmp_path / name) == packets(source)
    assert len(packets(source)) == 12


@pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
def test_telemetry_of_an_action_camera_is_kept_next_to_chapters(
    name: str, make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path
) -> None:
    source = with_data(make_clip(".mp4", sound=False), tmp_path / "camera.mp4", "bin_data")
    assert rewrite(source, name).warnings == []
    assert packets(tmp_path / name) == packets(source)
    assert len(packets(source)) == 12


@pytest.mark.parametrize(
    ("codec", "source", "name"),
    [
        ("timed_id3", "hls.ts", "out.mp4"),  # FFmpeg would write an mp4 that nothing opens
        ("timed_id3", "hls.ts", "out.avi"),
        ("klv", "drone.ts", "out.mov"),
        ("klv", "drone.ts", "out.wmv"),
        ("bin_data", "camera.mp4", "out.wmv"),
        ("bin_data", "camera.mp4", "out.avi"),
    ],
)
def test_data_that_readers_would_not_find_is_left_out(
    codec: str, source: str, name: str, make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path
) -> None:
    clip = with_data(make_clip(".mp4", sound=False), tmp_path / source, codec)
    warnings = rewrite(clip, name).warnings
    assert [w for w in warnings if w.startswith(f"data stream #1 ({codec}) is not kept: ")]
    with av.open(str(tmp_path / name)) as output:
        kinds = [stream.type for stream in output.streams if stream.discard is not Discard.all]
        assert kinds == ["video"]
        assert sum(1 for _ in output.decode(video=0)) == 12


def test_data_of_an_unknown_codec_is_left_out(make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path) -> None:
    clip = with_data(make_clip(".mp4", sound=False), tmp_path / "camera.mp4", "bin_data")
    phone = tmp_path / "phone.mov"
    phone.write_bytes(clip.read_bytes().replace(b"gpmd", b"mebx"))
    assert "data stream #1 is not kept: FFmpeg does not know its codec" in rewrite(phone, "out.mov").warnings
    assert not packets(tmp_path / "out.mov")


def packets(path: Path) -> list[tuple[bytes, float]]:
    """The packets of the data, and when they come after the first picture, seconds."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux() if packet.size and packet.pts is not None]
        first = min(packet.pts * packet.time_base for packet in found if packet.stream.type == "video")
        return [
            (bytes(packet), round(float(packet.pts * packet.time_base - first), 4))
            for packet in found
            if packet.stream.type == "data"
        ]
