"""Timestamps survive every container, however it stores them, and intact files are never called damaged."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from rtdeblur.errors import OutputError
from rtdeblur.frames import Frame
from rtdeblur.media.reader import FileReader
from rtdeblur.media.verify import compare, plain_copy, read_contents
from rtdeblur.media.writer import FileWriter

Ffmpeg = Callable[..., bytes]
MakeClip = Callable[..., Path]
Rewrite = Callable[..., FileWriter]

RAW = {
    ".h264": ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2"),
    ".hevc": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:pools=1"),
    ".m2v": ("-c:v", "mpeg2video"),
}


def times(path: Path, *, strict: bool = True) -> list[Fraction]:
    """The time of each frame; damage is an error."""
    with FileReader(path, strict=strict) as reader:
        frames = [frame for frame in reader if isinstance(frame, Frame)]
        return [frame.pts * frame.time_base - reader.source.zero for frame in frames]


def packet_times(path: Path, kind: str) -> list[Fraction]:
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [packet.pts * packet.time_base for packet in container.demux(stream) if packet.size]


def differences(source: Path, output: Path) -> list[str]:
    checks = compare(read_contents(source), read_contents(output), lambda: plain_copy(source, output))
    return [f"{c.name}: {c.before} → {c.after}" for c in checks if c.status == "different"]


# -- avi, which numbers its frames


@pytest.mark.parametrize("codec", [("libx264", "-bf", 3), ("mpeg4", "-bf", 2), ("mjpeg",)])
@pytest.mark.parametrize("rate", [24, 25, 60])
def test_reordered_frames_of_avi_have_even_timestamps(
    codec: tuple[object, ...], rate: int, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    source, output = tmp_path / "in.avi", tmp_path / "out.mkv"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=96x64:r={rate}:d=0.5", "-c:v", *codec, "-frames:v", 12, source)
    assert times(source) == [Fraction(i, rate) for i in range(12)]
    assert rewrite(source, output).damage.count == 0
    assert differences(source, output) == []


@pytest.mark.parametrize("dropped", ["gt(n,9)*lt(n,30)", "eq(n,1)", "gt(n,40)", "gt(mod(n,5),2)"])
def test_frames_that_an_avi_only_counts_are_not_missing(
    dropped: str, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    source = tmp_path / "in.avi"
    picture = "testsrc2=s=96x64:r=25:d=2"
    words = ("-vf", f"select='not({dropped})'", "-fps_mode", "vfr", "-c:v", "mjpeg", "-c:a", "pcm_s16le")
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=d=2", *words, source)
    found = times(source)
    assert 20 < len(found) < 50
    for ending in (".avi", ".mkv"):
        rewrite(source, f"out{ending}")
        assert times(tmp_path / f"out{ending}") == found
        assert differences(source, tmp_path / f"out{ending}") == []


def test_a_truncated_avi_is_damaged(make_clip: MakeClip, tmp_path: Path) -> None:
    whole = make_clip(".avi", "-c:v", "mjpeg", frames=25)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with FileReader(cut) as reader:
        list(reader)
        assert reader.damage.count > 0


@pytest.mark.parametrize("sound", ["aac", "ac3", "libmp3lame", "pcm_s16le"])
def test_our_own_avi_is_intact(sound: str, make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite) -> None:
    source = make_clip(".mp4" if sound != "pcm_s16le" else ".mov", "-bf", "2", "-c:a", sound, frames=30)
    own, output = tmp_path / "own.avi", tmp_path / "out.mkv"
    rewrite(source, own)
    assert len(times(own)) == 30  # strictly
    rewrite(own, output)
    assert differences(source, own) == differences(own, output) == []


@pytest.mark.parametrize(
    ("pattern", "is_exact"),
    [("N*40", True), ("N*40+400*gt(N,5)", True), ("N*33+mod(N*7,11)", False), ("N*10+300*gt(N,9)", True)],
)
def test_uneven_frames_stay_in_sync_in_avi(
    pattern: str, is_exact: bool, make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite
) -> None:
    uneven = f"settb=1/1000,setpts='{pattern}'"
    source = make_clip(
        ".mkv", "-fps_mode", "passthrough", "-enc_time_base", "1/1000", filters=uneven, frames=20
    )
    output = tmp_path / "out.avi"
    writer = rewrite(source, output)
    assert any("frame times are rounded" in warning for warning in writer.warnings) != is_exact
    before, after = times(source), times(output)
    assert len(after) == len(before)
    tick = max(y - x for x, y in pairwise(after)) if is_exact else Fraction(1, 20)
    assert abs((after[-1] - after[0]) - (before[-1] - before[0])) <= tick


def test_thousands_of_frames_per_second_are_kept_or_refused(
    tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    source = tmp_path / "in.mp4"
    picture = "testsrc2=s=96x64:r=2000:d=0.02"
    ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "libx264", "-video_track_timescale", 90000, source)
    assert rewrite(source, "out.y4m").warnings == []
    assert times(tmp_path / "out.y4m") == [Fraction(i, 2000) for i in range(40)]
    with pytest.raises(OutputError, match="in avi: it holds at most 1000 frames per second, got 2000; try"):
        rewrite(source, "out.avi")
    assert not (tmp_path / "out.avi").exists()


# -- MPEG program streams, whose packets of 2 kB have one time, that of the first picture in them


@pytest.mark.parametrize("ending", [".mpg", ".vob"])
@pytest.mark.parametrize("codec", ["mpeg2video", "mpeg4", "libx264", "libx265"])
def test_tiny_pictures_keep_their_times_in_program_streams(
    ending: str, codec: str, make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite
) -> None:
    flat = "lutyuv=y=120:u=128:v=128,settb=1/25,setpts='N+gte(N,7)+3*gte(N,15)+gte(N,16)'"
    exact = ("-fps_mode", "passthrough", "-enc_time_base", "1/25")
    source = make_clip(".mkv", *exact, "-c:a", "mp2", filters=flat, frames=24)
    output = tmp_path / f"out{ending}"
    assert rewrite(source, output, codec=codec).warnings == []
    assert times(output) == [Fraction(round(time * 25), 25) for time in times(source)]
    assert differences(source, output) == []
    assert output.stat().st_size < 120_000


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
def test_frames_less_than_a_microsecond_apart_are_not_hidden(
    ending: str, make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite
) -> None:
    """As in a file whose clock has a flipped bit: 1,073,754,624 units per second instead of 12,800."""
    flags = ("-movflags", "frag_keyframe+empty_moov+default_base_moof", "-video_track_timescale", "12800")
    data = make_clip(".mp4", *flags, frames=6).read_bytes()
    clock = data.index((12800).to_bytes(4, "big"), data.index(b"mdhd"))
    source = tmp_path / "damaged.mp4"
    source.write_bytes(data[:clock] + b"\x40" + data[clock + 1 :])
    output = tmp_path / f"out{ending}"
    rewrite(source, output)
    with av.open(str(output)) as written:
        assert len(list(written.decode(video=0))) == 6


# -- streams with different start times


@pytest.mark.parametrize(
    "ending", [".mkv", ".mp4", ".mov", ".avi", ".wmv", ".mpg", ".ts", ".nut", ".flv", ".m4v"]
)
@pytest.mark.parametrize("late", ["video", "audio"])
@pytest.mark.parametrize("seconds", [0.5, 0.013])
def test_streams_keep_their_start_times(
    ending: str, late: str, seconds: float, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / f"out{ending}"
    sound = "mp2" if ending == ".mpg" else "aac"
    video = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1")
    audio = ("-f", "lavfi", "-i", "sine=d=1:r=44100")
    delay = ("-itsoffset", seconds)
    inputs = (*delay, *video, *audio) if late == "video" else (*video, *delay, *audio)
    ffmpeg(*inputs, "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-c:a", sound, source)
    rewrite(source, output)
    leads = [packet_times(path, "audio")[0] - read_contents(path).first for path in (source, output)]
    # avi counts sound in packets of its codec.
    slack = Fraction(1024, 44100) / 2 if ending == ".avi" else Fraction(0)
    assert abs(leads[1] - leads[0]) <= slack + Fraction(3, 2000)
    assert differences(source, output) == []


# -- what an edit list hides


@pytest.mark.parametrize("ending", [".mkv", ".mp4", ".ts", ".avi"])
@pytest.mark.parametrize("start", [0.1, 0.3, 1.1])
def test_hidden_sound_stays_hidden(
    ending: str, start: float, make_clip: MakeClip, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    whole = make_clip(".mp4", "-bf", "2", "-g", "50", "-c:a", "aac", frames=75)
    source, output = tmp_path / "edited.mp4", tmp_path / f"out{ending}"
    ffmpeg("-ss", start, "-i", whole, "-c", "copy", "-t", 1, source)
    rewrite(source, output)
    assert len(times(output)) == len(times(source))
    lead = read_contents(output).first - packet_times(output, "audio")[0]
    assert lead <= Fraction(2 * 1024, 48000)
    assert differences(source, output) == []


# -- raw streams


@pytest.mark.parametrize("ending", RAW)
@pytest.mark.parametrize("rate", [25, 50, "30000/1001"])
@pytest.mark.parametrize("output", [".mp4", ".avi"])
def test_a_raw_stream_has_the_rate_of_its_headers(
    ending: str, rate: object, output: str, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    source = tmp_path / f"in{ending}"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=96x64:r={rate}:d=1", *RAW[ending], "-frames:v", 20, source)
    rewrite(source, f"out{output}")
    found = times(tmp_path / f"out{output}")
    assert len(found) == 20
    step = 1 / Fraction(str(rate))
    assert all(abs(time - i * step) < Fraction(1, 1000) for i, time in enumerate(found))
    assert differences(source, tmp_path / f"out{output}") == []


# -- clocks of transport streams


@pytest.mark.parametrize("second", [100 - 6, 100 - 1, 100, 102, 102 + 30, 1])
def test_a_spliced_transport_stream_continues(
    second: float, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    parts = []
    for number, offset in enumerate((100, second)):
        part = tmp_path / f"{number}.ts"
        inputs = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=2", "-f", "lavfi", "-i", "sine=d=2:r=48000")
        words = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", 10, "-c:a", "aac")
        ffmpeg(*inputs, *words, "-output_ts_offset", offset, part)
        parts.append(part.read_bytes())
    source, output = tmp_path / "spliced.ts", tmp_path / "out.mkv"
    source.write_bytes(b"".join(parts))
    rewrite(source, output)
    for kind, length in (("video", Fraction(1, 25)), ("audio", Fraction(1024, 48000))):
        found = sorted(packet_times(output, kind))
        assert max(y - x for x, y in pairwise(found)) < 2 * length, kind
        assert found[-1] - found[0] > Fraction(39, 10)


@pytest.mark.parametrize("shift", [-4, 4, -0.5])
def test_a_single_damaged_timestamp_moves_nothing_else(
    shift: float, make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite
) -> None:
    from rtdeblur.ffmpeg.splices import Splicer

    splicer, length = Splicer(), Fraction(1, 25)
    offsets = []
    for number in range(20):
        wrong = Fraction(shift) if number == 10 else 0
        offsets.append(splicer.offset(100 + number * length + wrong, length, 0))
        splicer.offset(100 + number * length, length, 1)
    assert offsets[:10] == [0] * 10
    assert offsets[12:] == [0] * 8
