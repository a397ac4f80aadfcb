"""Containers: what FFmpeg's muxers take from the name of a file must not depend on the temporary name."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.container import OutputContainer
from av.error import FFmpegError
from av.format import ContainerFormat
from av.video.stream import VideoStream

from rtdeblur.errors import UsageError
from rtdeblur.ffmpeg.container import VARIANTS, name_of, open_output
from rtdeblur.ffmpeg.formats import ending_of, format_of
from rtdeblur.media.encoder_traits import x264_params

EXACT = {"fflags": "+bitexact"}


def endings() -> list[str]:
    """The extensions of all muxers."""
    found: set[str] = set()
    for name in av.formats_available:
        with suppress(ValueError):  # some only read
            found |= ContainerFormat(name, "w").extensions
    return sorted(found)


def fill(container: OutputContainer) -> None:
    """Write three pictures in the container's own codec, or for AV1 in VP9, which is quicker to open."""
    codec = container.default_video_codec
    stream = container.add_stream("libvpx-vp9" if codec == "av1" else codec, 25, width=352, height=288)
    assert isinstance(stream, VideoStream)
    if codec == "h264":
        stream.options = {"x264-params": x264_params()}  # else equal pictures may give different bytes
    formats = [known.name for known in stream.codec_context.codec.video_formats or ()]
    stream.pix_fmt = "yuv420p" if "yuv420p" in formats or not formats else formats[0]
    stream.codec_context.thread_count = 1
    for index in range(3):
        frame = av.VideoFrame(352, 288, stream.pix_fmt)
        for plane in frame.planes:
            plane.update(bytes([50 * index]) * plane.buffer_size)
        frame.pts, frame.time_base = index, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def test_no_muxer_depends_on_the_name_of_its_file(tmp_path: Path) -> None:
    """Files are written under a temporary name, which has lost its ending for FFmpeg."""
    same: set[str] = set()
    differ: set[str] = set()
    for ending in endings():
        try:
            name = format_of(Path(f"x.{ending}"))
        except UsageError:
            continue
        named, nameless = tmp_path / f"a.{ending}", tmp_path / "b"
        try:
            with av.open(str(named), "w", container_options=EXACT) as container:
                fill(container)
        except (FFmpegError, ValueError):
            continue  # needs audio, another size, or a codec that this build lacks
        with open_output(str(nameless), name, EXACT) as container:
            assert name_of(container) == name
            fill(container)
        (same if named.read_bytes() == nameless.read_bytes() else differ).add(ending)
    assert same > {"mp4", "mov", "mkv", "avi", "ts", "m2ts", "mpg", "nut", "m4v", "flv"}
    assert differ == {"mts"}  # AVCHD; FFmpeg writes a plain transport stream


@pytest.mark.parametrize("name", ["x.m2ts", "x.M2TS", "00001.MTS", "x.mts"])
def test_transport_streams_of_cameras_and_discs_have_a_format_of_their_own(name: str) -> None:
    assert format_of(Path(name)) == "m2ts"
    assert format_of(Path("x.mp4"), "m2ts") == format_of(Path("-"), "mts") == "m2ts"
    assert ending_of("m2ts") == ".m2ts"
    assert format_of(Path("x.ts")) == format_of(Path("x.m2t")) == format_of(Path(name), "mpegts") == "mpegts"
    assert VARIANTS["m2ts"][0] == "mpegts"
