"""AAC of MPEG-TS into pipes, whose header cannot be completed at the end."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from rtdeblur.ffmpeg.aac import audio_specific_config


@pytest.fixture(params=[(44100, "mono"), (48000, "stereo"), (16000, "5.1")], ids=str)
def stream(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Half a second of MPEG-TS with sound."""
    rate, layout = request.param
    with av.open(tmp_path / "in.ts", "w") as container:
        video = container.add_stream("mpeg2video", 24, width=64, height=48, pix_fmt="yuv420p")
        audio = container.add_stream("aac", rate, layout=layout)
        for i in range(12):
            picture = np.full((72, 64), 20 * i, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "yuv420p")))
        wave = np.sin(np.arange(rate // 2) / 9).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.tile(wave, (audio.layout.nb_channels, 1)), "fltp", layout)
        frame.sample_rate = rate
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
        container.mux(video.encode(None))
    return tmp_path / "in.ts"


def sound(file: Path | io.BytesIO) -> np.ndarray:
    with av.open(file) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


@pytest.mark.parametrize("name", ["matroska", "mp4", "mov", "flv", "mpegts", "nut"])
def test_aac_of_mpegts_reaches_a_pipe(stream: Path, name: str) -> None:
    words = [
        sys.executable,
        "-m",
        "rtdeblur",
        str(stream),
        "-o",
        "-",
        "--model",
        "identity",
        "--format",
        name,
    ]
    run = subprocess.run(words, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    np.testing.assert_array_equal(sound(io.BytesIO(run.stdout)), sound(stream))


def test_only_aac_without_a_header_gets_one(stream: Path, tmp_path: Path) -> None:
    with av.open(stream) as container:
        assert audio_specific_config(container.streams.video[0]) is None
        config = audio_specific_config(container.streams.audio[0])
    assert config is not None
    with av.open(stream) as source, av.open(tmp_path / "out.mkv", "w") as target:
        copy = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    with av.open(tmp_path / "out.mkv") as container:
        track = container.streams.audio[0]
        assert (track.codec_context.extradata or b"")[:2] == config  # FFmpeg's own
        assert audio_specific_config(track) is None
