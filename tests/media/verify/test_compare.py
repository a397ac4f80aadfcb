"""Every kind of damage to a copy is reported; a faithful copy passes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from rtdeblur.errors import InputError
from rtdeblur.ffmpeg.container import open_input
from rtdeblur.media.verify.compare import Check, compare
from rtdeblur.media.verify.container_limits import plain_copy
from rtdeblur.media.verify.contents import read_contents
from rtdeblur.media.writer import FileWriter

MakeClip = Callable[..., Path]
Ffmpeg = Callable[..., bytes]
Rewrite = Callable[..., FileWriter]

SUBTITLES = "1\n00:00:00,100 --> 00:00:00,300\nhéllo\n\n2\n00:00:00,400 --> 00:00:00,800\nworld\n"
ABOUT = (
    ";FFMETADATA1\ntitle=A title\nartist=Some One\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=Intro\n"
    "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=960\ntitle=Rest\n"
)


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """A Matroska file with some of everything."""
    folder = tmp_path_factory.mktemp("rich")
    (folder / "s.srt").write_text(SUBTITLES, encoding="utf-8")
    (folder / "about.txt").write_text(ABOUT, encoding="utf-8")
    (folder / "font.ttf").write_bytes(bytes(range(200)))
    lavfi = ("-f", "lavfi", "-i")
    inputs = [*lavfi, "testsrc2=s=128x96:r=25:d=0.96", *lavfi, "sine=300:d=0.96", *lavfi, "sine=600:d=0.96"]
    inputs += ["-i", folder / "s.srt", "-i", folder / "about.txt"]
    maps = [word for number in range(4) for word in ("-map", number)]
    colour = [
        "-color_primaries",
        "bt709",
        "-color_trc",
        "bt709",
        "-colorspace",
        "bt709",
        "-color_range",
        "tv",
    ]
    words = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-bf",
        "2",
        *colour,
        "-c:a:0",
        "aac",
        "-c:a:1",
        "flac",
    ]
    words += ["-c:s", "srt", "-map_metadata", 4, "-map_chapters", 4]
    words += ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fre"]
    words += ["-metadata:s:a:1", "title=Second", "-disposition:a:0", "default", "-disposition:a:1", "comment"]
    words += ["-attach", folder / "font.ttf", "-metadata:s:t", "mimetype=font/ttf"]
    ffmpeg(*inputs, *maps, *words, folder / "rich.mkv")
    return folder / "rich.mkv"


def checks(before: Path, after: Path) -> list[Check]:
    return compare(read_contents(before), read_contents(after), lambda: plain_copy(before, after))


def differences(before: Path, after: Path, status: str = "different") -> set[str]:
    return {check.name for check in checks(before, after) if check.status == status}


ENCODED = ("-c:v", "libx264", "-preset", "ultrafast", "-fps_mode", "passthrough", "-enc_time_base", "-1")
DAMAGE: list[tuple[tuple[str, ...], set[str]]] = [
    ((), set()),
    (("-vf", "select=not(eq(n\\,5))", *ENCODED), {"frames", "frame times"}),
    (("-vf", "select=not(eq(n\\,23))", *ENCODED), {"frames"}),
    (("-bsf:v", "setts=pts=PTS+gte(N\\,9)*2:dts=DTS"), {"frame times"}),
    (("-t", "0.5"), {"frames", "duration", "audio 1 packets", "audio 2 packets"}),
    (("-bsf:a:0", "noise=drop=eq(n\\,5)"), {"audio 1 packets"}),
    (("-bsf:a:1", "noise=drop=eq(n\\,0)"), {"audio 2 packets"}),
    (("-bsf:a:0", "noise=100"), {"audio 1 packets"}),
    (("-c:a:1", "aac"), {"audio 2 packets"}),
    (("-bsf:a:0", "setts=ts=TS+2"), {"audio 1 times"}),
    (("-bsf:a:1", "setts=ts=TS+gte(N\\,5)*3"), {"audio 2 times"}),
    (("-bsf:s", "setts=ts=TS+50"), {"subtitle 1 times"}),
    (("-map", "-0:a:0"), {"audio streams", "audio 1"}),
    (("-map", "-0:a:1"), {"audio streams", "audio 2"}),
    (("-sn",), {"subtitle streams", "subtitle 1"}),
    (("-map", "-0:t"), {"attachment streams", "attachment 1"}),
    (("-map_chapters", "-1"), {"chapters"}),
    (("-map_metadata:g", "-1"), {"tags"}),
    (("-metadata", "artist=Another"), {"tags"}),
    (("-metadata:s:a:0", "language=rus"), {"audio 1 language"}),
    (("-metadata:s:a:1", "title="), {"audio 2 tags"}),
    (("-disposition:a:1", "0"), {"audio 2 disposition"}),
    (("-disposition:s:0", "forced"), {"subtitle 1 disposition"}),
    (("-bsf:v", "h264_metadata=matrix_coefficients=6", "-colorspace", "smpte170m"), {"colour matrix"}),
    (("-bsf:v", "h264_metadata=colour_primaries=5", "-color_primaries", "bt470bg"), {"colour primaries"}),
    (("-bsf:v", "h264_metadata=transfer_characteristics=4", "-color_trc", "gamma22"), {"colour transfer"}),
    (("-bsf:v", "h264_metadata=video_full_range_flag=1", "-color_range", "pc"), {"colour range"}),
    (("-aspect", "2"), {"aspect ratio"}),
    (("-vf", "scale=130:96,setsar=1", *ENCODED), {"size"}),
    (("-pix_fmt", "yuv444p", *ENCODED), set()),
]


@pytest.mark.parametrize(("words", "names"), DAMAGE)
def test_each_kind_of_damage_is_reported(
    words: tuple[str, ...], names: set[str], rich: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    copy = tmp_path / "copy.mkv"
    ffmpeg("-i", rich, "-map", 0, "-c", "copy", *words, copy)
    found = differences(rich, copy)
    assert names <= found if names else found == set()
    if "-t" not in words and "select" not in str(words):
        assert found == names


@pytest.mark.parametrize(
    ("source", "copy", "names"),
    [
        (("-pix_fmt", "yuv420p10le"), ("-pix_fmt", "yuv420p"), {"depth"}),
        (("-pix_fmt", "yuv444p"), ("-pix_fmt", "yuv420p"), {"chroma"}),
        (("-flags", "+ildct+ilme", "-top", "1"), (), {"interlaced"}),
    ],
)
def test_a_loss_in_the_picture_is_reported(
    source: tuple[str, ...],
    copy: tuple[str, ...],
    names: set[str],
    make_clip: MakeClip,
    tmp_path: Path,
    ffmpeg: Ffmpeg,
) -> None:
    clip, path = make_clip(".mkv", *source, size="96x96", sound=False), tmp_path / "copy.mkv"
    ffmpeg("-i", clip, "-c:v", "libx264", "-preset", "ultrafast", *copy, path)
    assert differences(clip, path) == names


@pytest.mark.parametrize(
    ("source", "copy", "ending"),
    [
        (("-pix_fmt", "yuv444p"), ("-c:v", "gif"), ".gif"),
        (("-pix_fmt", "yuv420p"), ("-c:v", "libx264rgb"), ".mkv"),
        (
            ("-c:v", "png", "-pix_fmt", "gray"),
            ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-color_range", "pc"),
            ".mp4",
        ),
    ],
)
def test_a_picture_of_another_kind_that_loses_nothing_is_the_same(
    source: tuple[str, ...],
    copy: tuple[str, ...],
    ending: str,
    make_clip: MakeClip,
    tmp_path: Path,
    ffmpeg: Ffmpeg,
) -> None:
    clip, path = make_clip(".nut", *source, size="96x96", sound=False), tmp_path / f"copy{ending}"
    ffmpeg("-i", clip, *copy, path)
    assert differences(clip, path) == set()


def test_progressive_pictures_that_become_interlaced_are_reported(
    make_clip: MakeClip, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    clip, path = make_clip(".mkv", size="96x96", sound=False), tmp_path / "copy.mkv"
    ffmpeg("-i", clip, "-c:v", "libx264", "-flags", "+ildct+ilme", "-top", "1", path)
    assert differences(clip, path) == {"interlaced"}


def test_hevc_headers_may_be_in_the_container_or_the_first_packet(
    make_clip: MakeClip, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    words = ("-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params", "log-level=none")
    first, second = make_clip(".mp4", sound=False), make_clip(".mp4", *words, size="64x64", sound=False)
    both, path = tmp_path / "both.mp4", tmp_path / "copy.ts"
    ffmpeg("-i", first, "-i", second, "-map", 0, "-map", 1, "-c", "copy", both)
    ffmpeg("-i", both, "-map", 0, "-c", "copy", path)
    assert differences(both, path) == set()


def test_lost_hdr_is_reported(make_clip: MakeClip, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    hdr = f"log-level=none:pools=1:hdr10=1:repeat-headers=1:master-display={display}:max-cll=1000,400"
    words = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params")
    clip = make_clip(".mkv", *words, hdr, sound=False)
    path = tmp_path / "copy.mkv"
    ffmpeg("-i", clip, *words, "log-level=none:pools=1", path)
    assert {"mastering display", "light levels"} <= differences(clip, path)


def test_lost_rotation_is_reported(make_clip: MakeClip, tmp_path: Path) -> None:
    upright, turned = make_clip(".mp4", sound=False), tmp_path / "turned.mp4"
    with open_input(upright) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.set_display_matrix((0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    assert differences(turned, upright) == {"rotation"}
    assert differences(upright, turned) == {"rotation"}
    assert differences(turned, turned) == set()
    check = next(check for check in checks(turned, upright) if check.name == "rotation")
    assert (check.before, check.after) == ("-90°", "")


def test_a_limit_of_the_container_is_not_a_loss(rich: Path, tmp_path: Path, rewrite: Rewrite) -> None:
    rewrite(rich, "out.ts")
    assert differences(rich, tmp_path / "out.ts") == set()
    missing = differences(rich, tmp_path / "out.ts", "not held")
    assert {"chapters", "attachment 1", "audio 2", "subtitle 1"} <= missing


def test_a_loss_that_the_container_could_store_is_reported(
    rich: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = tmp_path / "out.mp4"
    ffmpeg("-i", rich, "-map", "0:v", "-map", "0:a:0", "-map_chapters", -1, "-c", "copy", path)
    found = differences(rich, path)
    assert {"audio 2", "chapters"} <= found
    assert "attachment 1" in differences(rich, path, "not held")


@pytest.mark.parametrize("ending", [".mkv", ".mp4", ".mov"])
def test_our_own_output_passes(ending: str, rich: Path, tmp_path: Path, rewrite: Rewrite) -> None:
    rewrite(rich, f"out{ending}")
    assert differences(rich, tmp_path / f"out{ending}") == set()


@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
def test_sound_from_a_transport_stream_is_the_same(
    ending: str, make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite
) -> None:
    clip = make_clip(".ts", "-c:a", "aac", frames=50)
    rewrite(clip, f"out{ending}")
    assert differences(clip, tmp_path / f"out{ending}") == set()


@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
def test_a_second_video_keeps_its_times(
    ending: str, make_clip: MakeClip, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    first, second = (
        make_clip(".mkv", "-bf", "3", "-b_strategy", "0", size=s, frames=25) for s in ("64x64", "96x96")
    )
    both = tmp_path / "both.mkv"
    ffmpeg("-i", first, "-i", second, "-map", 0, "-map", "1:v", "-c", "copy", both)
    rewrite(both, f"out{ending}")
    assert differences(both, tmp_path / f"out{ending}") == set()


def test_a_cover_that_mov_cannot_store_is_reported(
    rich: Path, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    cover, path = tmp_path / "cover.jpg", tmp_path / "cover.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", 1, cover)
    words = (
        "-map",
        "0:v",
        "-map",
        "1:v",
        "-c",
        "copy",
        "-disposition:v:1",
        "attached_pic",
        "-metadata",
        "mood=calm",
    )
    ffmpeg("-i", rich, "-i", cover, *words, path)
    writer = rewrite(path, "out.mov")
    assert any("cover art" in warning for warning in writer.warnings)
    assert differences(path, tmp_path / "out.mov") == set()
    rewrite(path, "out.mp4")
    assert "cover 1" not in differences(path, tmp_path / "out.mp4")


def test_lost_telemetry_is_reported(make_clip: MakeClip, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    clip, camera, copy = make_clip(".mp4", sound=False), tmp_path / "camera.mp4", tmp_path / "copy.mp4"
    with av.open(str(clip)) as source, av.open(str(camera), "w") as out:
        video, data = out.add_stream_from_template(source.streams.video[0]), out.add_data_stream("bin_data")
        for packet in source.demux(video=0):
            packet.stream = video
            if packet.dts is not None:
                about = av.Packet(b"DVID")
                about.stream, about.pts, about.dts, about.time_base = (
                    data,
                    packet.dts,
                    packet.dts,
                    packet.time_base,
                )
                out.mux([packet, about])
    ffmpeg("-i", camera, "-map", "0:v", "-c", "copy", copy)
    assert differences(camera, copy) == {"data streams", "data 1"}
    assert differences(camera, camera) == set()


def test_a_timecode_leaves_limits_of_the_container_known(
    rich: Path, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    coded = tmp_path / "coded.mkv"
    ffmpeg("-i", rich, "-map", 0, "-c", "copy", "-metadata", "timecode=01:00:00:00", coded)
    rewrite(coded, "out.mp4")
    assert differences(coded, tmp_path / "out.mp4") == set()
    assert "attachment streams" in differences(coded, tmp_path / "out.mp4", "not held")


def test_an_unknown_codec_can_be_compared(rich: Path, tmp_path: Path, rewrite: Rewrite) -> None:
    odd = tmp_path / "odd.mkv"
    odd.write_bytes(rich.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    assert differences(odd, odd) == set()
    assert "audio 1 packets" not in differences(rich, odd)
    writer = rewrite(odd, "out.mkv")
    assert any("not kept" in warning for warning in writer.warnings)
    assert "audio 1" in differences(odd, tmp_path / "out.mkv", "not held")


def test_a_video_without_a_frame_is_an_error(make_clip: MakeClip, tmp_path: Path) -> None:
    empty = tmp_path / "empty.mkv"
    clip = make_clip(".mkv", "-c:v", "mjpeg", sound=False)
    empty.write_bytes(clip.read_bytes().replace(b"\xff\xc0", bytes(2)))
    with pytest.raises(InputError, match="any frame"):
        read_contents(empty)


def test_a_check_has_the_values_found(rich: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    copy = tmp_path / "copy.mkv"
    ffmpeg("-i", rich, "-map", 0, "-c", "copy", "-bsf:a:0", "setts=ts=TS+7", copy)
    checks = compare(read_contents(rich), read_contents(copy), lambda: None)
    found = [check for check in checks if check.status == "different"]
    assert found == [Check("audio 1 times", "different", "in step with the pictures", "moved by 7.00 ms")]


@pytest.mark.parametrize(
    ("start", "moved", "status"), [(20, 80, "different"), (0, 80, "not held"), (0, 0, "not held")]
)
def test_one_bad_time_of_the_source_excuses_no_others(
    start: int, moved: int, status: str, make_clip: MakeClip
) -> None:
    """Frames with one time, as FFmpeg reads from program streams, are moved apart; others do not move."""
    before, after = (read_contents(make_clip(".mkv", frames=40)) for _ in range(2))
    before.frames[11] = before.frames[10]
    after.frames[11] = after.frames[10] + Fraction(1, 100)
    after.frames[start:] = [time + Fraction(moved, 1000) for time in after.frames[start:]]
    (check,) = (c for c in compare(before, after, lambda: before) if c.name == "frame times")
    assert check.status == status
