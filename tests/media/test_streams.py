from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from rtdeblur.frames import Frame, FrameBatch, Interlude
from rtdeblur.media.reader import FileReader
from rtdeblur.media.writer import FileWriter

MakeClip = Callable[..., Path]
Rewrite = Callable[..., FileWriter]
Ffmpeg = Callable[..., bytes]


def packets(path: Path, kind: str) -> list[tuple[int, Fraction, bytes]]:
    """Of every stream of a kind: its place among them, time and data; empty subtitles left out."""
    with av.open(str(path)) as container:
        order = [stream.index for stream in container.streams if stream.type == kind]
        return [
            (order.index(p.stream.index), p.pts * p.time_base, bytes(p))
            for p in container.demux([container.streams[i] for i in order])
            if p.size > 2 * (kind == "subtitle")
        ]


def probe(path: Path, *words: str) -> list[str]:
    command = ["ffprobe", "-v", "error", *words, "-of", "default=nk=1:nw=1", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


# -- times


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_uneven_times_are_kept(make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path, ending: str) -> None:
    uneven = "settb=1/1000,setpts='N*40+mod(N*7,13)'"
    source = make_clip(
        ending, "-fps_mode", "passthrough", "-enc_time_base", "1/1000", filters=uneven, sound=False
    )
    rewrite(source, f"out{ending}")
    before, after = (
        [f.pts * f.time_base for f in FileReader(p)] for p in (source, tmp_path / f"out{ending}")
    )
    assert after == before
    assert len(set(np.diff(after))) > 1


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov", ".ts"])
def test_sound_is_copied_in_sync(make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path, ending: str) -> None:
    source, output = make_clip(ending, "-bf", "2", frames=30), tmp_path / f"out{ending}"
    rewrite(source, output)
    before, after = packets(source, "audio"), packets(output, "audio")
    assert [data for *_, data in after] == [data for *_, data in before]
    shift = picture_start(output) - picture_start(source)
    for (_, was, _), (_, now, _) in zip(before, after, strict=True):
        assert abs(now - was - shift) < Fraction(1, 900)  # the clock of Matroska ticks in milliseconds


def picture_start(path: Path) -> Fraction:
    frame = next(iter(FileReader(path)))
    return frame.pts * frame.time_base


def test_a_part_stays_in_sync(make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path) -> None:
    source, output = make_clip(".mp4", "-g", "50", frames=60), tmp_path / "out.mp4"
    rewrite(source, output, start=1.5)
    assert picture_start(output) == Fraction(2, 100)  # the first frame from 1.5 on is at 1.52
    times = {data: time for _, time, data in packets(source, "audio")}
    copied = packets(output, "audio")
    assert len(copied) > 30
    assert all(time == times[data] - Fraction(3, 2) for _, time, data in copied)


def test_a_start_offset_applies_to_all_streams(make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path) -> None:
    source, output = make_clip(".mkv", "-output_ts_offset", "10"), tmp_path / "out.mp4"
    rewrite(source, output)
    assert picture_start(source) >= 10
    assert picture_start(output) == picture_start(source) - FileReader(source).source.zero


@pytest.fixture
def short_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few packets may wait for a picture."""
    monkeypatch.setattr("rtdeblur.ffmpeg.packets._QUEUE_PACKETS", 20)


@pytest.fixture(scope="module")
def long_sound(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Callable[[str], Path]:
    """Make a file whose sound continues for 8 s without pictures: at the end, or in the middle."""
    folder = tmp_path_factory.mktemp("long")

    def make(where: str) -> Path:
        path = folder / f"{where}.mkv"
        times = "PTS+8/TB*gte(N\\,5)" if where == "gap" else "PTS"
        picture = f"testsrc2=s=98x66:r=25:d=0.4,setpts={times}"
        words = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=d=9:r=48000"]
        ffmpeg(*words, "-fps_mode", "passthrough", "-c:v", "libx264", "-bf", "2", path)
        return path

    return make


def kinds(path: Path) -> str:
    """What a reader yields: f for a frame, i for an interlude, r for the rest."""
    reader = FileReader(path)
    kinds = "".join("i" if isinstance(item, Interlude) else "f" for item in reader)
    return kinds + "r" * any(True for _ in reader.remaining_packets())


@pytest.mark.needs_posix
@pytest.mark.usefixtures("short_queue")
def test_sound_without_pictures_is_not_delayed(long_sound: Callable[[str], Path], tmp_path: Path) -> None:
    assert kinds(long_sound("tail")) == "f" * 10 + "r"
    assert re.fullmatch(r"f{1,5}i{5,}f{5,9}r", kinds(long_sound("gap")))
    pipe = tmp_path / "pipe"  # without look-ahead
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_bytes(long_sound("tail").read_bytes()))
    feeder.start()
    assert re.fullmatch(r"f{6,10}i{5,}f{0,4}r?", kinds(pipe))
    feeder.join()


@pytest.mark.usefixtures("short_queue")
@pytest.mark.parametrize("where", ["tail", "gap"])
@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_sound_without_pictures_is_complete(
    long_sound: Callable[[str], Path], rewrite: Rewrite, tmp_path: Path, where: str, ending: str
) -> None:
    source, output = long_sound(where), tmp_path / f"out{ending}"
    rewrite(source, output)
    before, after = packets(source, "audio"), packets(output, "audio")
    assert [data for *_, data in after] == [data for *_, data in before]
    shift = after[0][1] - before[0][1]
    for (_, was, _), (_, now, _) in zip(before, after, strict=True):
        assert abs(now - was - shift) < Fraction(1, 900)
    times = [[f.pts * f.time_base for f in FileReader(p) if isinstance(f, Frame)] for p in (source, output)]
    assert np.diff(times[1]).tolist() == np.diff(times[0]).tolist()
    assert len(times[1]) == 10


# -- other streams


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip, ffmpeg: Ffmpeg) -> Path:
    """Two sounds, subtitles of two kinds, an attachment, cover art, chapters, tags."""
    folder = tmp_path_factory.mktemp("rich")
    (folder / "s.srt").write_text("1\n00:00:00,100 --> 00:00:00,300\nhéllo\n", encoding="utf-8")
    ffmpeg("-i", folder / "s.srt", folder / "s.ass")
    (folder / "tags").write_text(
        ";FFMETADATA1\ntitle=Tïtle\nmood=calm\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=480\ntitle=Two\n",
        encoding="utf-8",
    )
    (folder / "font.ttf").write_bytes(b"no font")
    cover = make_clip(".jpg", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", frames=1, sound=False)
    words = [
        word for name in (make_clip(".mp4"), folder / "s.srt", folder / "s.ass") for word in ("-i", name)
    ]
    words += ["-f", "lavfi", "-i", "sine=f=900:d=0.48:r=48000", "-i", folder / "tags", "-map_metadata", 4]
    words += [word for name in ("0:v", "0:a", "3:a", "1", "2") for word in ("-map", name)]
    words += ["-attach", folder / "font.ttf", "-metadata:s:t:0", "mimetype=font/ttf"]
    words += [
        "-attach",
        cover,
        "-metadata:s:t:1",
        "mimetype=image/jpeg",
        "-metadata:s:t:1",
        "filename=cover.jpg",
    ]
    words += ["-c", "copy", "-c:a:1", "flac", "-c:s:0", "subrip", "-metadata:s:a:1", "language=fre"]
    words += ["-metadata:s:a:1", "title=Deux", "-disposition:a:0", "default", "-disposition:a:1", "comment"]
    ffmpeg(*words, folder / "rich.mkv")
    return folder / "rich.mkv"


def described(path: Path) -> list[tuple[object, ...]]:
    with av.open(str(path)) as container:
        return [
            (s.type, s.metadata.get("language"), s.metadata.get("title"), s.disposition)
            for s in container.streams
            if s.type != "attachment"
        ]


def test_matroska_keeps_everything(rich: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    assert rewrite(rich, output).warnings == []
    assert described(output) == described(rich)
    assert len(described(rich)) == 6
    assert ("audio", "fre", "Deux", av.stream.Disposition.comment) in described(rich)
    assert packets(output, "audio") == packets(rich, "audio")
    assert packets(output, "subtitle") == packets(rich, "subtitle")
    with av.open(str(rich)) as before, av.open(str(output)) as after:
        fonts = [[(s.name, s.data) for s in c.streams if s.type == "attachment"] for c in (before, after)]
        assert fonts[1] == fonts[0] == [("font.ttf", b"no font")]
        covers = [[bytes(p) for p in c.demux(c.streams.video[1]) if p.size] for c in (before, after)]
        assert covers[1] == covers[0] != []
        assert after.metadata["title"] == "Tïtle"
        assert after.metadata["MOOD"] == "calm"


def test_chapters_are_kept(rich: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    for output in (tmp_path / "out.mkv", tmp_path / "out.mp4"):
        rewrite(rich, output)
        with av.open(str(output)) as container:
            found = [
                (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
                for c in container.chapters()
            ]
        assert found == [(0, Fraction(1, 5), "One"), (Fraction(1, 5), Fraction(12, 25), "Two")]


def test_a_part_has_its_own_chapters(rich: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    assert rewrite(rich, "out.mkv", start=0.3).warnings == []
    with av.open(str(tmp_path / "out.mkv")) as container:
        (chapter,) = container.chapters()
    assert chapter["metadata"] == {"title": "Two"}
    assert (chapter["start"], chapter["end"] * chapter["time_base"]) == (0, Fraction(18, 100))


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """Key frames each second, and lines that are shown from 2 s to 7.5 s, and from 8 s to 9 s."""
    folder = tmp_path_factory.mktemp("captioned")
    lines = ("00:00:02,000 --> 00:00:07,500\nlong\n", "00:00:08,000 --> 00:00:09,000\nlate\n")
    (folder / "s.srt").write_text("".join(f"{i}\n{line}\n" for i, line in enumerate(lines, 1)))
    words = ["-f", "lavfi", "-i", "testsrc2=s=98x66:r=10:d=10", "-i", folder / "s.srt"]
    ffmpeg(*words, "-c:v", "libx264", "-g", 10, "-c:s", "srt", folder / "captioned.mkv")
    return folder / "captioned.mkv"


@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
def test_a_part_has_the_subtitles_shown_in_it(
    captioned: Path, rewrite: Rewrite, tmp_path: Path, ending: str
) -> None:
    source, output = captioned, tmp_path / "out.mkv"
    if ending == ".mp4":
        source = tmp_path / "captioned.mp4"
        rewrite(captioned, source)
    reader = FileReader(source, start=7, duration=1.5)
    with closing(FileWriter(reader, output)) as writer:
        times = [
            frame.pts * frame.time_base for frame in reader if not writer.write(FrameBatch.stack([frame]))
        ]
        writer.commit()
    reader.close()
    assert times == [7 + Fraction(i, 10) for i in range(15)]
    with av.open(str(output)) as container:
        shown = [
            (p.pts * p.time_base, p.duration * p.time_base, bytes(p))
            for p in container.demux(subtitles=0)
            if p.size
        ]
    assert shown == [(0, Fraction(1, 2), b"long"), (1, Fraction(1, 2), b"late")]


def test_mp4_converts_or_warns_of_what_it_cannot_store(rich: Path, rewrite: Rewrite, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    assert rewrite(rich, output).warnings == [
        "tags are not kept: mp4 cannot store MOOD together with cover art; .mkv can",
        "subtitle stream #4 (ass) is not kept: mp4 cannot store it; .mkv can",
        "attachment stream #5 (font.ttf) is not kept: mp4 cannot store it; .mkv can",
    ]
    with av.open(str(output)) as container:
        assert container.streams.subtitles[0].codec_context.name == "mov_text"
        assert container.streams.video[1].disposition & av.stream.Disposition.attached_pic
    (text,) = packets(output, "subtitle")
    assert text[2][2:] == "héllo".encode()
    rewrite(output, "back.mkv")
    (text,) = packets(tmp_path / "back.mkv", "subtitle")
    assert text[2] == "héllo".encode()
    with av.open(str(tmp_path / "back.mkv")) as container:
        assert container.streams.video[1].metadata["mimetype"] == "image/jpeg"


def test_mp4_keeps_tags_of_any_name(make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path) -> None:
    source = make_clip(".mkv", "-metadata", "mood=calm", "-metadata", "title=Tïtle")
    assert rewrite(source, "out.mp4").warnings == []
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (container.metadata["MOOD"], container.metadata["title"]) == ("calm", "Tïtle")


def test_a_limited_container_loses_nothing_silently(rich: Path, rewrite: Rewrite) -> None:
    warnings = rewrite(rich, "out.ts").warnings
    assert [re.split(" is not| cannot be", warning)[0] for warning in warnings] == [
        "2 chapters",
        "audio stream #2 (flac)",
        "subtitle stream #3 (subrip)",
        "subtitle stream #4 (ass)",
        "attachment stream #5 (font.ttf)",
        "cover art (mjpeg)",
    ]
    assert all(warning.endswith((".mkv can", ".mp4 can")) for warning in warnings)


def test_webm_gets_vp9(make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path) -> None:
    assert rewrite(make_clip(".mkv", "-c:a", "libopus"), "out.webm").encoding.codec == "libvpx-vp9"
    assert probe(tmp_path / "out.webm", "-show_entries", "stream=codec_name") == ["vp9", "opus"]


# -- what describes the picture


def test_rotation_aspect_ratio_and_timecode_are_kept(
    make_clip: MakeClip, rewrite: Rewrite, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    plain, source = (
        make_clip(".mov", "-timecode", "01:02:03:04", filters="setsar=4/3"),
        tmp_path / "turned.mov",
    )
    ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", "rotate=90", source)
    rewrite(source, "out.mov")
    entries = "stream=sample_aspect_ratio:stream_side_data=rotation:stream_tags=timecode"
    before, after = (
        probe(p, "-select_streams", "v", "-show_entries", entries) for p in (source, tmp_path / "out.mov")
    )
    assert after == before
    assert {"4:3", "90", "01:02:03:04"} <= set(before)
    assert [warning.split(" is not kept")[0] for warning in rewrite(source, "out.ts").warnings] == [
        "the timecode 01:02:03:04",
        "the rotation",
    ]


@pytest.mark.parametrize(
    ("ending", "codec", "is_kept"),
    [
        (".webm", "auto", False),
        (".mkv", "prores_ks", False),
        (".mp4", "libvpx-vp9", True),
        (".avi", "mpeg4", True),
    ],
)
def test_an_aspect_ratio_is_kept_or_reported(
    ending: str, codec: str, is_kept: bool, make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path
) -> None:
    source, output = make_clip(".mp4", filters="setsar=4/3", sound=False), tmp_path / f"out{ending}"
    warnings = rewrite(source, output, codec=codec).warnings
    assert [w for w in warnings if w.startswith("the aspect ratio 4/3 is not kept")] == warnings[-1:] * (
        not is_kept
    )
    ratio = probe(output, "-show_entries", "stream=sample_aspect_ratio")
    assert (ratio == ["4:3"]) is is_kept


def test_a_gray_picture_tagged_as_rgb_gets_a_matrix_of_its_own(
    make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path
) -> None:
    source = make_clip(".nut", "-c:v", "png", "-pix_fmt", "gray", sound=False)
    with av.open(str(source)) as container:
        assert next(container.decode(video=0)).colorspace == 0  # RGB
    rewrite(source, "out.mkv")
    assert probe(tmp_path / "out.mkv", "-show_entries", "stream=pix_fmt,color_space") == [
        "yuvj420p",
        "bt470bg",
    ]


@pytest.mark.parametrize("ending", [".avi", ".mpg", ".wtv", ".ts"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_second_video_from_mp4_can_be_decoded(
    ending: str, codec: str, make_clip: MakeClip, rewrite: Rewrite, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    words = ("-c:v", codec, "-pix_fmt", "yuv420p", "-x265-params", "log-level=none")
    first, second = make_clip(".mp4", sound=False), make_clip(".mp4", *words, size="64x64", sound=False)
    both, output = tmp_path / "both.mp4", tmp_path / f"out{ending}"
    ffmpeg("-i", first, "-i", second, "-map", 0, "-map", 1, "-c", "copy", both)
    warnings = rewrite(both, output).warnings
    with av.open(str(output)) as container:
        videos = container.streams.video
        assert len(videos) == 2 - any("video stream #1 (hevc) is not kept" in w for w in warnings)
        for video in videos:
            container.seek(0)
            assert len(list(container.decode(video))) == 12


@pytest.mark.parametrize(("ending", "place"), [(".ts", 0), (".avi", 0), (".mkv", 1), (".mp4", 1)])
def test_the_default_video_comes_first_if_the_container_cannot_mark_it(
    ending: str, place: int, make_clip: MakeClip, rewrite: Rewrite, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    both = tmp_path / "both.mp4"
    dispositions = ("-disposition:v:0", 0, "-disposition:v:1", "default")
    inputs = ("-i", make_clip(".mp4"), "-i", make_clip(".mp4", size="64x64", sound=False))
    ffmpeg(*inputs, "-map", "0:a", "-map", "0:v", "-map", 1, "-c", "copy", *dispositions, both)
    rewrite(both, f"out{ending}")
    with av.open(str(tmp_path / f"out{ending}")) as container:
        assert [stream.type for stream in container.streams] == ["audio", "video", "video"]
        assert [video.width for video in container.streams.video].index(64) == place


def test_interlacing_is_kept(make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path) -> None:
    source = make_clip(
        ".mp4",
        "-flags",
        "+ilme+ildct",
        "-top",
        "1",
        "-pix_fmt",
        "yuv420p",
        size="352x288",
        filters="setfield=tff",
    )
    rewrite(source, "out.mp4")
    words = ["-select_streams", "v", "-show_entries", "frame=interlaced_frame,top_field_first"]
    assert probe(tmp_path / "out.mp4", *words) == probe(source, *words) == ["1", "1"] * 12
    assert rewrite(source, "hevc.mp4", codec="libx265").warnings == [
        "the field order is not kept by libx265; libx264 keeps it"
    ]


MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"


def test_hdr10_is_kept(make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path) -> None:
    params = f"log-level=none:hdr10=1:repeat-headers=1:master-display={MASTERING}:max-cll=1000,400"
    words = ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params", params]
    tags = ["-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc"]
    source = make_clip(".mp4", *words, *tags, frames=2)
    writer = rewrite(source, "out.mp4")
    assert (writer.encoding.codec, writer.encoding.pix_fmt) == ("libx265", "yuv420p10le")
    entries = ["-select_streams", "v", "-show_entries", "stream=color_space,color_transfer,color_primaries"]
    assert (
        probe(tmp_path / "out.mp4", *entries)
        == probe(source, *entries)
        == ["bt2020nc", "smpte2084", "bt2020"]
    )
    side = ["-select_streams", "v", "-show_frames", "-show_entries", "frame_side_data_list"]
    before, after = (
        [x for x in probe(p, *side, "-read_intervals", "%+#1") if "/" in x and x != "N/A"]
        for p in (source, tmp_path / "out.mp4")
    )
    assert after == before
    assert "34000/50000" in after
    assert {"1000", "400"} <= set(probe(tmp_path / "out.mp4", *side, "-read_intervals", "%+#1"))
    assert rewrite(source, "out.mkv", codec="ffv1").warnings == [
        "HDR metadata is not kept by ffv1: content light level, mastering display metadata"
    ]


def test_a_tag_in_a_legacy_encoding_is_kept(
    make_clip: MakeClip, rewrite: Rewrite, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    source = tmp_path / "latin.mkv"
    ffmpeg("-i", make_clip(".mkv"), "-c", "copy", "-metadata", "title=caf*", source)
    source.write_bytes(source.read_bytes().replace(b"caf*", b"caf\xe9"))
    rewrite(source, "out.mkv")
    assert b"caf\xe9" in (tmp_path / "out.mkv").read_bytes()


@pytest.mark.parametrize("ending", [".mkv", ".mp4", ".mov"])
def test_subtitles_that_last_until_the_next_are_kept(
    ending: str, tmp_path: Path, ffmpeg: Callable[..., bytes], rewrite: Rewrite
) -> None:
    """FFmpeg gives these a duration of 2**32 - 1 ms, as to subtitles of DVDs without an end."""
    made, source, output = (tmp_path / name for name in ("made.mkv", "in.mkv", f"out{ending}"))
    lines = [f"{n}\n00:00:00,{n}00 --> 00:00:00,{n}90\nline {n}\n" for n in (1, 3)]
    (tmp_path / "s.srt").write_text("\n".join(lines))
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=0.6", "-i", tmp_path / "s.srt", "-c:s", "srt", made)
    with av.open(made) as before, av.open(source, "w") as after:
        copies = [after.add_stream_from_template(stream, opaque=True) for stream in before.streams]
        for packet in before.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                if packet.stream.type == "subtitle":
                    packet.duration = 2**32 - 1
                after.mux(packet)
    writer = rewrite(source, output)
    assert writer.warnings == []
    assert writer.damage.kinds == {}
    shown = ffmpeg("-i", output, "-map", "0:s", "-f", "srt", "-").decode()
    assert [line for line in shown.splitlines() if line.startswith("line")] == ["line 1", "line 3"]


# -- transport streams of Blu-ray and AVCHD


@pytest.fixture(scope="module")
def disc(make_clip: MakeClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos, three sounds, and subtitles as DVDs, DVB and Blu-rays have them."""
    path = tmp_path_factory.mktemp("disc") / "disc.mkv"
    clip = make_clip(".mkv", "-c:a", "ac3")
    with av.open(str(clip)) as before, av.open(str(path), "w") as after:
        video, sound = before.streams
        copies = {
            stream: [after.add_stream_from_template(stream) for _ in range(count)]
            for stream, count in ((video, 2), (sound, 3))
        }
        subtitles = [after.add_mux_stream(codec) for codec in ("pgssub", "dvbsub", "dvdsub")]
        for packet in before.demux():
            for copy in copies[packet.stream] if packet.size else ():
                again = av.Packet(bytes(packet))
                again.stream, again.is_keyframe = copy, packet.is_keyframe
                again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
                after.mux(again)
        for number, stream in enumerate(subtitles):
            shown = av.Packet(bytes([number] * 30))
            shown.stream, shown.pts, shown.dts, shown.time_base = stream, 400, 400, Fraction(1, 1000)
            after.mux(shown)
    return path


@pytest.mark.parametrize(
    ("name", "size"), [("out.m2ts", 192), ("OUT.MTS", 192), ("out.ts", 188), ("out.m2t", 188)]
)
def test_packets_of_a_transport_stream_have_the_size_of_its_kind(
    disc: Path, rewrite: Rewrite, tmp_path: Path, name: str, size: int
) -> None:
    writer = rewrite(disc, name)
    data = (tmp_path / name).read_bytes()
    assert len(data) % size == 0
    assert set(data[size - 188 :: size]) == {0x47}
    kept = probe(tmp_path / name, "-show_entries", "stream=codec_name")
    kept = kept[len(kept) // 2 :]  # without those of the program
    of_discs, is_disc = ["hdmv_pgs_subtitle"], size == 192
    assert kept == ["h264", "h264", "ac3", "ac3", "ac3", *of_discs * is_disc, "dvb_subtitle"]
    lost = ["subtitle stream #7 (dvd_subtitle)"]
    lost = lost if is_disc else ["subtitle stream #5 (hdmv_pgs_subtitle)", *lost]
    assert [warning.split(" is not kept")[0] for warning in writer.warnings] == lost
    assert [data for _, _, data in packets(tmp_path / name, "audio")] == [
        data for _, _, data in packets(disc, "audio")
    ]
    with av.open(str(tmp_path / name)) as container:
        ids = [stream.id for stream in container.streams]
    assert (ids[0], ids[2], ids[3]) == ((0x1011, 0x1100, 0x1101) if is_disc else (0x100, 0x102, 0x103))


def test_a_disc_on_standard_output_has_the_requested_kind(disc: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    program = [sys.executable, "-m", "rtdeblur"]
    words = [str(disc), "-o", "-", "--format", "m2ts", "--model", "identity", "-q"]
    data = subprocess.run([*program, *words], check=True, capture_output=True).stdout
    assert set(data[4::192]) == {0x47}
    (tmp_path / "out.m2ts").write_bytes(data)
    words = ["verify", str(disc), str(tmp_path / "out.m2ts")]
    assert subprocess.run([*program, *words], check=False, capture_output=True).returncode == 0
