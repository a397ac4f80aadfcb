"""Sound of every codec and channel layout survives in each container that holds it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from rtdeblur.media.verify import compare, plain_copy, read_contents
from rtdeblur.media.writer import FileWriter

Ffmpeg = Callable[..., bytes]
Rewrite = Callable[..., FileWriter]

PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=0.4")
LAYOUTS = ("mono", "stereo", "5.1", "6.1", "7.1", "7.1(wide)", "octagonal", "hexadecagonal", "22.2")
# If FFmpeg copies it to Matroska, under its WAV name.
IN_WAV = {
    "wmav2": (".wmv", 44100),
    "wmav1": (".wmv", 44100),
    "pcm_mulaw": (".avi", 8000),
    "pcm_alaw": (".avi", 8000),
    "adpcm_ms": (".avi", 44100),
    "adpcm_ima_wav": (".avi", 44100),
    "adpcm_yamaha": (".avi", 22050),
    "libspeex": (".flv", 16000),
}
IN_FLASH = {"adpcm_swf": 44100, "pcm_s16le": 44100, "pcm_u8": 11025, "pcm_alaw": 8000, "pcm_mulaw": 8000}


def sounds(path: Path) -> list[str]:
    """Codec and channels of each sound, as another program sees them."""
    words = ["ffprobe", "-v", "error", "-select_streams", "a", "-show_entries", "stream=codec_name,channels"]
    done = subprocess.run([*words, "-of", "csv=p=0", path], check=True, capture_output=True, text=True)
    return done.stdout.split()


def differences(source: Path, output: Path) -> list[str]:
    checks = compare(read_contents(source), read_contents(output), lambda: plain_copy(source, output))
    return [f"{c.name}: {c.before} → {c.after}" for c in checks if c.status == "different"]


@pytest.mark.parametrize("ending", [".mov", ".mkv", ".avi", ".nut"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_channel_layout_is_copied(
    layout: str, ending: str, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    source, output = tmp_path / "in.mov", tmp_path / f"out{ending}"
    sound = ("-f", "lavfi", "-i", f"anullsrc=cl={layout}:r=8000:d=0.4")
    ffmpeg(*PICTURE, *sound, "-c:v", "mjpeg", "-c:a", "pcm_s24le", "-shortest", source)
    writer = rewrite(source, output, codec="mjpeg")
    assert writer.warnings == []
    assert sounds(output) == sounds(source)
    assert differences(source, output) == []


@pytest.mark.parametrize("ending", [".mov", ".mkv"])
@pytest.mark.parametrize("channels", [2, 9, 25, 32])
def test_channels_without_names_are_copied(
    channels: int, ending: str, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    source, output = tmp_path / "in.mov", tmp_path / f"out{ending}"
    tones = "|".join(["0.1*sin(t)"] * channels)
    sound = ("-f", "lavfi", "-i", f"aevalsrc={tones}:d=0.4:s=8000")
    ffmpeg(*PICTURE, *sound, "-c:v", "mjpeg", "-c:a", "pcm_s16le", source)
    rewrite(source, output, codec="mjpeg")
    assert sounds(output) == [f"pcm_s16le,{channels}"]
    assert differences(source, output) == []


@pytest.mark.parametrize("codec", IN_WAV)
def test_matroska_keeps_every_codec_of_wav(
    codec: str, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    ending, rate = IN_WAV[codec]
    source, output, copy = tmp_path / f"in{ending}", tmp_path / "out.mkv", tmp_path / "copy.mkv"
    video = {".wmv": "wmv2", ".avi": "mjpeg", ".flv": "flv1"}[ending]
    sound = ("-f", "lavfi", "-i", f"sine=d=0.4:r={rate}")
    ffmpeg(*PICTURE, *sound, "-ac", 1, "-c:v", video, "-c:a", codec, source)
    ffmpeg("-i", source, "-map", 0, "-c", "copy", copy)
    rewrite(source, output)
    assert sounds(copy), "FFmpeg itself drops it"
    assert sounds(output) == sounds(copy)
    assert differences(source, output) == []
    decoded = [ffmpeg("-i", path, "-map", "0:a", "-f", "md5", "-") for path in (source, output)]
    assert decoded[0] == decoded[1]


@pytest.mark.parametrize("ending", [".mov", ".mp4"])
@pytest.mark.parametrize("codec", ["adpcm_ms", "adpcm_ima_wav", "adpcm_swf", "adpcm_yamaha", "pcm_alaw"])
def test_sound_that_a_container_refuses_late_costs_nothing_else(
    codec: str, ending: str, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    """Some muxers look at the samples of a stream only as they end."""
    source, output = tmp_path / "in.mkv", tmp_path / f"out{ending}"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", "sine=r=22050:d=0.4", "-c:v", "mjpeg", "-c:a", codec, source)
    lost = [warning for warning in rewrite(source, output).warnings if "audio stream #1" in warning]
    assert len(sounds(output)) == 1 - len(lost)
    assert [told for told in differences(source, output) if "audio" in told] == []


@pytest.mark.parametrize("between", [".mkv", ".flv"])
@pytest.mark.parametrize(("codec", "rate"), IN_FLASH.items())
def test_flash_gets_no_sound_without_channel_names(
    codec: str, rate: int, between: str, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    """FFmpeg's muxer aborts the process if there are none, as after Matroska."""
    first, source, output = tmp_path / "in.flv", tmp_path / f"between{between}", tmp_path / "out.flv"
    sound = ("-f", "lavfi", "-i", f"sine=r={rate}:d=0.4", "-ac", 1)
    ffmpeg(*PICTURE, *sound, "-c:v", "flv", "-c:a", codec, first)
    ffmpeg("-i", first, "-c", "copy", source)
    is_kept = between == ".flv" or codec.startswith("pcm")
    lost = [] if is_kept else ["audio stream #1"]
    assert [w[:15] for w in rewrite(source, output).warnings if "audio" in w] == lost
    assert sounds(output) == sounds(first)[: int(is_kept)]
    assert [told for told in differences(source, output) if "audio" in told] == []


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)], ids=["video first", "sound first"])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le"])
def test_mxf_holds_pcm(
    codec: str, order: tuple[int, ...], tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    """Its muxer takes no stream before the main video, and no second video."""
    source, output, again = tmp_path / "in.mov", tmp_path / "out.mxf", tmp_path / "again.mxf"
    sound = ("-f", "lavfi", "-i", "anoisesrc=r=48000:d=0.4")
    maps = [word for index in order for word in ("-map", index)]
    ffmpeg(*PICTURE, *sound, *sound, *maps, "-c:v", "mjpeg", "-c:a", codec, source)
    assert rewrite(source, output).warnings == []
    assert sounds(output) == sounds(source)
    assert differences(source, output) == []
    # The identifiers that MXF has for each file are no tags to be copied, or missed.
    assert rewrite(output, again).warnings == []
    assert differences(output, again) == []


def test_what_mxf_cannot_hold_is_warned_of(tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite) -> None:
    source = tmp_path / "in.mov"
    sounds = [("-f", "lavfi", "-i", f"anoisesrc=r={rate}:d=0.4") for rate in (44100, 48000)]
    maps = [word for index in range(3) for word in ("-map", index)]
    ffmpeg(
        *PICTURE, *sounds[0], *sounds[1], *maps, "-c:v", "mjpeg", "-c:a", "pcm_s16le", "-c:a:1", "aac", source
    )
    warnings = rewrite(source, tmp_path / "out.mxf").warnings
    assert warnings == [
        "audio stream #1 (pcm_s16le) is not kept: mxf cannot store it; .mkv can",
        "audio stream #2 (aac) is not kept: mxf cannot store it; .mkv can",
    ]


@pytest.mark.parametrize(("late", "what"), [(0.7, "early"), (-0.72, "late"), (0, "")])
def test_mxf_cannot_begin_sound_at_its_own_time(
    late: float, what: str, tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    source, output = tmp_path / "in.mkv", tmp_path / "out.mxf"
    offsets = [("-itsoffset", seconds) for seconds in (max(0, -late), max(0, late))]
    sound = ("-f", "lavfi", "-i", "anoisesrc=r=48000:d=0.4")
    maps = ("-map", 0, "-map", 1, "-c:v", "mjpeg", "-c:a", "pcm_s16le")
    ffmpeg(*offsets[0], *PICTURE, *offsets[1], *sound, *maps, source)
    warnings = rewrite(source, output).warnings
    told = f"audio stream #1 is {abs(late)} s too {what}: mxf starts all streams together"
    assert warnings == ([f"{told}; .mkv keeps their timestamps"] if what else [])
    contents = read_contents(source), read_contents(output)
    check = {c.name: c for c in compare(*contents, lambda: plain_copy(source, output))}["audio 1 times"]
    assert check.status == ("not held" if what else "same")
    # What a plain copy would keep is a loss.
    check = {c.name: c for c in compare(*contents, lambda: contents[0])}["audio 1 times"]
    assert check.status == ("different" if what else "same")


@pytest.mark.parametrize("lengths", [(0.1, 0.3), (0.3999, 0.4001), (1, 0.2), (1.5, 1)])
def test_mxf_ends_sound_with_the_pictures(
    lengths: tuple[float, ...], tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    """Its muxer drops all pictures after the sound, and all sound after the pictures."""
    source, output = tmp_path / "in.mov", tmp_path / "out.mxf"
    sounds = [word for d in lengths for word in ("-f", "lavfi", "-i", f"anoisesrc=r=48000:d={d}")]
    maps = ("-map", 0, "-map", 1, "-map", 2, "-c:v", "mjpeg", "-c:a", "pcm_s24le")
    ffmpeg(*PICTURE, *sounds, *maps, source)
    assert rewrite(source, output).warnings == [
        f"{length - 0.4:.3g} s of audio stream #{index} are not kept: mxf ends with the last picture; "
        ".mkv keeps them"
        for index, length in enumerate(lengths, 1)
        if length > 0.45
    ]
    assert len(read_contents(output).frames) == 10
    assert differences(source, output) == []
    for index in range(2):
        before, after = (
            ffmpeg("-i", path, "-map", f"0:a:{index}", "-f", "s24le", "-") for path in (source, output)
        )
        assert after == before[: len(after)].ljust(57600, b"\0")


def test_exchanged_sounds_of_mxf_are_told_from_padded_ones(
    tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite
) -> None:
    source, exchanged, output = (tmp_path / name for name in ("in.mov", "exchanged.mov", "out.mxf"))
    sounds = [
        word for seed in (1, 2) for word in ("-f", "lavfi", "-i", f"anoisesrc=r=48000:d=0.3:seed={seed}")
    ]
    for path, order in ((source, (0, 1, 2)), (exchanged, (0, 2, 1))):
        maps = [word for index in order for word in ("-map", index)]
        ffmpeg(*PICTURE, *sounds, *maps, "-c:v", "mjpeg", "-c:a", "pcm_s16le", path)
    rewrite(exchanged, output)
    assert differences(exchanged, output) == []
    assert len([told for told in differences(source, output) if "packets" in told]) == 2


def test_real_media_numbers_its_frames(tmp_path: Path, ffmpeg: Ffmpeg, rewrite: Rewrite) -> None:
    """The times that its pictures hold themselves are in units of the rate, not of the source's clock."""
    source, output = tmp_path / "in.mkv", tmp_path / "out.rm"
    ffmpeg(*PICTURE, "-f", "lavfi", "-i", "sine=d=0.4:r=48000", "-c:v", "mjpeg", "-c:a", "ac3", source)
    rewrite(source, output)
    assert read_contents(output).frames == [frame / 25 for frame in map(Fraction, range(10))]
