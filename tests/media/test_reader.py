from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from reachable import reachable

from rtdeblur.errors import InputError, UsageError
from rtdeblur.frames import Colour, Planes
from rtdeblur.media.deinterlace import Deinterlacing
from rtdeblur.media.reader import FileReader

MakeClip = Callable[..., Path]
FFV1 = ("-c:v", "ffv1")


def joined(planes: Planes) -> bytes:
    return b"".join(plane.tobytes() for plane in planes)


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize(
    ("pix_fmt", "size"),
    [
        ("yuv420p", "98x66"),  # 98 bytes a line are padded
        ("yuv420p", "97x65"),
        ("yuv422p10le", "97x65"),
        ("yuv444p", "97x65"),
        ("yuv444p16le", "98x66"),
        ("yuv410p", "96x64"),
    ],
)
def test_planar_yuv_is_read_unchanged(
    make_clip: MakeClip, ffmpeg: Callable[..., bytes], pix_fmt: str, size: str
) -> None:
    width, height = size.split("x")
    crop = f"format={pix_fmt},crop={width}:{height}:0:0:exact=1"
    path = make_clip(".mkv", *FFV1, "-pix_fmt", pix_fmt, size="98x66", frames=3, filters=crop, sound=False)
    expected = ffmpeg("-i", path, "-f", "rawvideo", "-")
    assert b"".join(joined(frame.planes) for frame in FileReader(path)) == expected


def test_gray_has_one_neutral_chroma_sample(make_clip: MakeClip, ffmpeg: Callable[..., bytes]) -> None:
    path = make_clip(".mkv", *FFV1, "-pix_fmt", "gray10le", frames=2, sound=False)
    frames = list(FileReader(path))
    assert b"".join(frame.planes[0].tobytes() for frame in frames) == ffmpeg(
        "-i", path, "-f", "rawvideo", "-"
    )
    assert frames[0].planes[1].tolist() == frames[0].planes[2].tolist() == [[512]]
    assert frames[0].colour == Colour("bt601", full_range=True, bit_depth=10)


@pytest.mark.parametrize(("packed", "planar"), [("nv12", "yuv420p"), ("uyvy422", "yuv422p")])
def test_packed_yuv_is_sorted_into_planes(
    make_clip: MakeClip, ffmpeg: Callable[..., bytes], packed: str, planar: str
) -> None:
    path = make_clip(".nut", "-c:v", "rawvideo", "-pix_fmt", packed, frames=2, sound=False)
    expected = ffmpeg("-i", path, "-pix_fmt", planar, "-f", "rawvideo", "-")
    reader = FileReader(path)
    assert reader.info.pix_fmt == packed
    assert b"".join(joined(frame.planes) for frame in reader) == expected


@pytest.mark.parametrize(("packed", "planar"), [("bgr0", "gbrp"), ("gbrp12le", "gbrp12le")])
def test_rgb_is_read_unchanged(
    make_clip: MakeClip, ffmpeg: Callable[..., bytes], packed: str, planar: str
) -> None:
    path = make_clip(".mkv", *FFV1, "-pix_fmt", packed, size="64x48", frames=2, sound=False)
    frames = list(FileReader(path))
    expected = ffmpeg("-i", path, "-pix_fmt", planar, "-f", "rawvideo", "-")
    assert b"".join(joined(frame.planes) for frame in frames) == expected
    assert frames[0].colour == Colour("rgb", full_range=True, bit_depth=8 if packed == "bgr0" else 12)


def test_gray_with_alpha_is_full_range(make_clip: MakeClip, ffmpeg: Callable[..., bytes]) -> None:
    path = make_clip(".mov", "-c:v", "png", "-pix_fmt", "ya8", frames=1, sound=False)
    frame = next(iter(FileReader(path)))
    levels = np.frombuffer(ffmpeg("-i", path, "-f", "rawvideo", "-"), np.uint8)
    assert frame.planes[0].tobytes() == levels[::2].tobytes()
    assert frame.colour.full_range
    assert set(frame.planes[1].ravel().tolist()) == {128}


@pytest.mark.parametrize(
    ("size", "tag", "colour"),
    [
        ("64x48", (), Colour("bt601")),
        ("64x720", (), Colour("bt709")),
        ("64x48", ("-colorspace", "bt709"), Colour("bt709")),
        ("64x48", ("-colorspace", "bt2020nc", "-color_range", "pc"), Colour("bt2020", full_range=True)),
    ],
    ids=["small", "large", "tagged", "full range"],
)
def test_colour_is_tagged_or_guessed_as_players_do(
    make_clip: MakeClip, size: str, tag: tuple[str, ...], colour: Colour
) -> None:
    path = make_clip(".mkv", "-pix_fmt", "yuv420p", *tag, size=size, frames=1, sound=False)
    assert next(iter(FileReader(path))).colour == colour


def test_times_are_those_of_the_file(make_clip: MakeClip) -> None:
    path = make_clip(".mp4", "-fps_mode", "passthrough", filters="select='not(eq(mod(n,5),3))'")
    with av.open(str(path)) as container:
        expected = [(frame.pts, frame.time_base) for frame in container.decode(video=0)]
    assert [(frame.pts, frame.time_base) for frame in FileReader(path)] == expected


def test_an_elementary_stream_gets_times(make_clip: MakeClip) -> None:
    path = make_clip(".h264", "-bf", "2", sound=False)
    times = [frame.pts * frame.time_base for frame in FileReader(path)]
    assert times == [times[0] + Fraction(i, 25) for i in range(12)]


def test_packets_of_other_streams_travel_with_frames(make_clip: MakeClip) -> None:
    path = make_clip(".mp4")
    reader = FileReader(path)
    packets = [packet for frame in reader for packet in frame.carrier.packets]
    packets += reader.remaining_packets()
    assert [bytes(packet) for packet in packets] == sound_packets(path)
    assert list(reader.remaining_packets()) == []


def test_info_is_known_before_the_first_frame(make_clip: MakeClip) -> None:
    info = FileReader(make_clip(".mp4")).info
    assert (info.height, info.width, info.pix_fmt) == (66, 98, "yuv420p")
    assert (info.frame_rate, info.frame_count) == (25, 12)
    assert info.duration_seconds == pytest.approx(0.48, abs=0.03)  # sound ends on a frame of its codec


@pytest.mark.parametrize(
    "words",
    [(".mp4", "-bf", "3", "-g", "40"), (".ts", "-g", "40"), (".mkv", "-g", "12", "-output_ts_offset", "10")],
    ids=["b-frames", "no index", "starts late"],
)
def test_a_part_is_frame_accurate(make_clip: MakeClip, words: tuple[str, ...]) -> None:
    path = make_clip(*words, frames=60)
    whole = FileReader(path)
    start, end = whole.source.zero + Fraction(3, 2), whole.source.zero + Fraction(2)
    pictures = {frame.pts * frame.time_base: joined(frame.planes) for frame in whole}
    sound = [p for f in FileReader(path) for p in f.carrier.packets if start <= p.pts * p.time_base < end]
    reader = FileReader(path, start=1.5, duration=0.5)
    frames = list(reader)
    times = [frame.pts * frame.time_base for frame in frames]
    assert times == [time for time in pictures if start <= time < end]
    assert [joined(frame.planes) for frame in frames] == [pictures[time] for time in times]
    carried = [packet for frame in frames for packet in frame.carrier.packets] + [*reader.remaining_packets()]
    assert [bytes(packet) for packet in carried] == [bytes(packet) for packet in sound]
    assert reader.info.duration_seconds == 0.5


@pytest.mark.needs_posix
def test_a_pipe_is_read_up_to_the_start_of_the_part(make_clip: MakeClip, tmp_path: Path) -> None:
    path, pipe = make_clip(".mkv", frames=20), tmp_path / "pipe"
    whole = FileReader(path)
    expected = [
        frame.pts for frame in whole if frame.pts * frame.time_base >= whole.source.zero + Fraction(2, 5)
    ]
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    feeder.start()
    try:
        times = [frame.pts for frame in FileReader(pipe, start=0.4)]
    finally:
        feeder.join()
    assert times == expected
    assert len(times) == 10


def test_a_truncated_file_yields_everything_decodable(make_clip: MakeClip, tmp_path: Path) -> None:
    whole = make_clip(".mp4", "-movflags", "+faststart", "-bf", "2", frames=40, sound=False).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        expected = []
        try:
            for packet in container.demux(video=0):
                expected += [frame.pts for frame in packet.decode()]
        except av.FFmpegError:
            expected += [frame.pts for frame in container.streams.video[0].decode(None)]
    reader = FileReader(path)
    assert [frame.pts for frame in reader] == expected
    assert 10 < len(expected) < 40
    assert reader.damage.count > 0
    assert reader.damage.message


def test_flipped_bits_raise_no_unexpected_error(make_clip: MakeClip, tmp_path: Path) -> None:
    data = bytearray(make_clip(".ts", "-g", "6", frames=40).read_bytes())
    for i in np.random.default_rng(1).integers(len(data) // 3, len(data) * 2 // 3, 60):
        data[i] ^= 0x55
    path = tmp_path / "bad.ts"
    path.write_bytes(data)
    times = [frame.pts for frame in FileReader(path)]
    assert len(times) > 20
    assert times == sorted(set(times))


def test_a_change_of_size_changes_the_planes(make_clip: MakeClip, tmp_path: Path) -> None:
    parts = [make_clip(".ts", size=size, frames=5, sound=False).read_bytes() for size in ("98x66", "128x96")]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(parts))
    shapes = [frame.planes[0].shape for frame in FileReader(path)]
    assert shapes == [(66, 98)] * 5 + [(96, 128)] * 5


def unreadable(
    folder: Path, make_clip: MakeClip, ffmpeg: Callable[..., bytes]
) -> dict[str, tuple[Path, str]]:
    (folder / "empty.mp4").touch()
    (folder / "garbage.mp4").write_bytes(bytes(range(256)) * 40)
    sound, cover = make_clip(".m4a", "-map", "1:a", "-c:v", "none"), folder / "cover.m4a"
    picture = make_clip(".jpg", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", frames=1, sound=False)
    words = ["-c", "copy", "-map", "0", "-map", "1", "-disposition:v", "attached_pic"]
    ffmpeg("-i", sound, "-i", picture, *words, cover)
    return {
        "missing": (folder / "missing.mp4", "does not exist"),
        "directory": (folder, "is a directory"),
        "empty": (folder / "empty.mp4", "is empty"),
        "garbage": (folder / "garbage.mp4", "cannot read"),
        "sound": (sound, "contains no video, only audio;"),
        "cover": (cover, "contains no video, only audio, cover art;"),
    }


@pytest.mark.parametrize("case", ["missing", "directory", "empty", "garbage", "sound", "cover"])
def test_an_input_without_video_is_a_one_line_error(
    tmp_path: Path, make_clip: MakeClip, ffmpeg: Callable[..., bytes], case: str
) -> None:
    path, said = unreadable(tmp_path, make_clip, ffmpeg)[case]
    with pytest.raises(InputError) as caught:
        FileReader(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [{"start": -1}, {"start": float("nan")}, {"duration": 0}])
def test_an_invalid_part_is_refused(make_clip: MakeClip, part: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        FileReader(make_clip(".mp4"), **part)


def test_a_part_after_the_end_is_an_error(make_clip: MakeClip) -> None:
    with pytest.raises(InputError, match="no frame in the requested part"):
        FileReader(make_clip(".mp4"), start=100)


def test_a_playlist_reaches_no_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.ts"
        path = tmp_path / "list.m3u8"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n")
        with pytest.raises(InputError):
            FileReader(path)
        with pytest.raises(TimeoutError):
            server.accept()


def test_close_ends_a_reader_in_another_thread(make_clip: MakeClip) -> None:
    reader = FileReader(make_clip(".mp4", frames=200))
    started = threading.Event()
    counts: list[int] = []

    def read() -> None:
        count = 0
        for _ in reader:
            count += 1
            started.set()
        counts.append(count)

    thread = threading.Thread(target=read)
    thread.start()
    started.wait(5)
    reader.close()
    reader.close()
    thread.join(5)
    assert not thread.is_alive()
    assert 0 < counts[0] <= 200


@pytest.fixture
def fields(make_clip: MakeClip) -> Path:
    """Top field first, and a line that moves 8 pixels a field: combed wherever it is."""
    words = ("-c:v", "ffv1", "-pix_fmt", "yuv420p", "-field_order", "tt")
    bar = "format=gray,geq=lum='if(between(X,8*N,8*N+7),235,16)',tinterlace=interleave_top,setfield=tff"
    return make_clip(".mkv", *words, size="128x32", frames=12, filters=bar, sound=False)


def combed(planes: Planes) -> float:
    """How much lines differ from those two above, relative to those one above; 1 for a whole picture."""
    y = planes[0].astype(float)
    return float(np.abs(y[1:] - y[:-1]).mean()) / 219


def test_fields_are_deinterlaced_to_one_picture_per_frame(fields: Path) -> None:
    before = list(FileReader(fields))
    assert min(combed(frame.planes) for frame in before) > 0.1
    whole = FileReader(fields, deinterlace="frame")
    frames = list(whole)
    assert [f.pts * f.time_base for f in frames] == [f.pts * f.time_base for f in before]
    # The first and last have no neighbour in time on one side.
    assert max(combed(frame.planes) for frame in frames[1:-1]) < 0.05
    assert not whole.source.picture.is_interlaced


def test_fields_are_deinterlaced_to_one_picture_per_field(fields: Path) -> None:
    times = [frame.pts * frame.time_base for frame in FileReader(fields)]
    reader = FileReader(fields, deinterlace="field")
    frames = list(reader)
    half = (times[1] - times[0]) / 2
    assert [f.pts * f.time_base for f in frames] == [t + i * half for t in times for i in range(2)]
    assert reader.info.frame_rate == 2 * FileReader(fields).info.frame_rate
    # The bar has moved by 8 pixels from each picture to the next.
    places = [frame.planes[0][16].argmax() for frame in frames[1:-1]]
    assert set(np.diff(places)) == {8}


def test_a_recording_cut_between_key_frames_starts_with_a_complete_picture(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    data = make_clip(".ts", "-bf", "2", "-g", "15", frames=50).read_bytes()
    path = tmp_path / "amidst.ts"
    path.write_bytes(data[len(data) // 188 // 3 * 188 :])
    with av.open(str(path)) as container:
        expected = [frame.pts for frame in container.decode(video=0)]
    reader = FileReader(path)
    frames = list(reader)
    assert [frame.pts for frame in frames] == expected
    assert not any(frame.carrier.frame.is_corrupt for frame in frames)
    assert reader.damage.count > 0


@pytest.mark.parametrize("part", [{}, {"start": 1.2}])
def test_a_clock_that_wraps_around_continues(
    make_clip: MakeClip, ffmpeg: Callable[..., bytes], tmp_path: Path, part: dict[str, float]
) -> None:
    """The 33 bits of a transport stream's clock are full after 26.5 hours: here after one second."""
    plain, wrapped = make_clip(".ts", "-g", "10", frames=50), tmp_path / "wrapped.ts"
    ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", 2**33 / 90_000 - 3.4, wrapped)
    times = []
    for path in (plain, wrapped):
        reader = FileReader(path, **part)
        times.append([frame.pts * frame.time_base - reader.source.zero for frame in reader])
    assert times[1] == times[0]
    assert len(times[0]) == (20 if part else 50)


@pytest.mark.parametrize("deinterlace", [None, "frame", "field"])
def test_a_yielded_frame_is_not_kept(make_clip: MakeClip, deinterlace: Deinterlacing | None) -> None:
    """A GPU's decoder has a few surfaces; a reader that kept one to its end would take it away."""
    reader = FileReader(make_clip(".mp4", frames=12), deinterlace=deinterlace)
    count = 0
    for item in reader:
        held = [frame.time for frame in reachable(reader, VideoFrame) if frame.time is not None]
        assert all(time > item.pts * item.time_base for time in held)
        count += 1
    assert count == (24 if deinterlace == "field" else 12)
    assert [frame.pts for frame in reachable(reader, VideoFrame) if frame.pts is not None] == []
    reader.close()
