"""Sound of every codec and channel layout survives in each container that holds it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
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
