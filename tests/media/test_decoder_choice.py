"""Choice of a decoder other than FFmpeg's default: the GPU's, and those of transparent video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.codec.codec import Codec
from av.codec.context import CodecContext
from av.codec.hwaccel import HWAccel

from rtdeblur.errors import GpuDecodingError
from rtdeblur.ffmpeg import container
from rtdeblur.ffmpeg.damage import Damage
from rtdeblur.frames import Frame
from rtdeblur.gpu_path import Wanted, open_reader
from rtdeblur.media import codecs
from rtdeblur.media.reader import FileReader

MakeClip = Callable[..., Path]
AV1 = ("-c:v", "libsvtav1", "-preset", "12")


class FakeNativeAv1:
    """FFmpeg's native decoder of AV1 with its hardware acceleration; another decoder does the work."""

    is_hwaccel = True
    name = "av1"
    codec = Codec("av1", "r")

    def __init__(self, works: str) -> None:
        self.__dict__["_decoder"] = CodecContext.create(works, "r")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._decoder, name, value)


@pytest.fixture
def av1_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Install a GPU that decodes AV1, or one that does not; the list has the decoders created for it."""

    def install(works: bool) -> list[str]:
        created: list[str] = []

        def create(name: str, mode: str, accelerator: HWAccel | None) -> FakeNativeAv1:
            assert mode == "r"
            assert accelerator is not None
            assert accelerator.is_hw_owned
            created.append(name)
            return FakeNativeAv1("libdav1d" if works else "av1")

        monkeypatch.setattr(container, "CodecContext", SimpleNamespace(create=create))
        return created

    return install


def turned(clip: Path, output: Path) -> Path:
    """Copy a video, rotated by its container."""
    with av.open(str(clip)) as source, av.open(str(output), "w") as out:
        video = source.streams.video[0]
        copy = out.add_stream_from_template(video, opaque=True)
        copy.metadata.update(video.metadata)
        copy.set_display_rotation(90)
        for packet in source.demux(video):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    return output


def test_av1_is_decoded_by_the_decoder_that_the_gpu_accelerates(
    make_clip: MakeClip, av1_gpu: Callable[..., list[str]]
) -> None:
    clip = make_clip(".mkv", *AV1, size="192x128", sound=False)
    created = av1_gpu(works=True)
    with FileReader(clip, device="cuda") as ours, FileReader(clip) as theirs:
        assert created == ["av1"]  # not by the default, libdav1d, and only for the GPU
        count = 0
        for mine, other in zip(ours, theirs, strict=True):
            assert isinstance(mine, Frame)
            assert isinstance(other, Frame)
            assert mine.pts == other.pts
            np.testing.assert_array_equal(mine.planes[0], other.planes[0])
            count += 1
    assert count == 12
    assert ours.damage.count == 0


def test_a_decoder_other_than_the_default_keeps_the_rotation(
    make_clip: MakeClip, tmp_path: Path, av1_gpu: Callable[..., list[str]]
) -> None:
    clip = turned(make_clip(".mp4", *AV1, size="192x128", sound=False), tmp_path / "turned.mp4")
    av1_gpu(works=True)
    with FileReader(clip, device="cuda") as ours, FileReader(clip) as theirs:
        assert ours.source.picture.display_matrix == theirs.source.picture.display_matrix is not None
        rotations = [frame.carrier.frame.rotation for frame in ours if isinstance(frame, Frame)]
    assert rotations == [90] * 12


def test_damaged_first_packets_do_not_lose_the_rotation(
    make_clip: MakeClip, tmp_path: Path, av1_gpu: Callable[..., list[str]]
) -> None:
    clip = turned(make_clip(".mp4", *AV1, "-g", "4", size="192x128", sound=False), tmp_path / "turned.mp4")
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as source:
        first = next(source.demux(video=0))
    data[first.pos : first.pos + first.size] = b"\xff" * first.size
    clip.write_bytes(data)
    av1_gpu(works=True)
    with FileReader(clip, device="cuda") as ours, FileReader(clip) as theirs:
        assert ours.source.picture.display_matrix is not None
        assert ours.damage.kinds == theirs.damage.kinds
        assert ours.damage.count > 0


def test_a_gpu_without_av1_leaves_it_to_the_cpu(
    make_clip: MakeClip, av1_gpu: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The native decoder opens, and fails at each packet, as it has no software fallback."""
    clip = make_clip(".mkv", *AV1, size="192x128", sound=False)
    av1_gpu(works=False)
    with pytest.raises(GpuDecodingError, match=r"^the GPU cannot decode av1, the codec of .*--decoder cpu$"):
        FileReader(clip, device="cuda")
    monkeypatch.setattr(codecs, "nvenc_opens", lambda: True)
    reader, obstacle = open_reader(clip, Wanted())
    assert str(obstacle) == f"the GPU cannot decode av1, the codec of {str(clip)!r}"
    assert reader.source.device == "cpu"
    assert sum(isinstance(frame, Frame) for frame in reader) == 12
    reader.close()


def test_a_gpu_without_av1_fails_at_the_first_packet(
    make_clip: MakeClip, av1_gpu: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the end of a long file, whose every packet would count as damaged."""
    counted: list[str] = []
    monkeypatch.setattr(Damage, "add", lambda self, kind, *_: counted.append(kind))
    av1_gpu(works=False)
    with pytest.raises(GpuDecodingError):
        FileReader(make_clip(".mkv", *AV1, size="192x128", sound=False), device="cuda")
    assert counted == []


@pytest.mark.skipif(codecs.nvenc_opens(), reason="there is a GPU that encodes")
def test_a_missing_gpu_is_a_one_line_error_for_av1_too(make_clip: MakeClip) -> None:
    with pytest.raises(GpuDecodingError, match=r"^no GPU decoder for --decoder cuda; try --decoder cpu$"):
        FileReader(make_clip(".mkv", *AV1, size="192x128", sound=False), device="cuda")


@pytest.mark.parametrize(
    ("name", "accelerated"),
    [("h264", True), ("hevc", True), ("vp9", True), ("av1", True), ("libdav1d", False), ("ffv1", False)],
)
def test_decoders_with_nvdec_are_known_without_a_gpu(name: str, accelerated: bool) -> None:
    assert container._has_nvdec(name) == accelerated


def test_transparent_video_keeps_its_limits_and_its_rotation(make_clip: MakeClip, tmp_path: Path) -> None:
    """It is decoded by libvpx instead of FFmpeg's default."""
    words = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-pix_fmt", "yuva420p")
    plain = make_clip(".mkv", *words, "-metadata:s:v", "alpha_mode=1", size="192x128", sound=False)
    clip = turned(plain, tmp_path / "turned.mkv")
    opened, _, context = container.open_video(clip, 1 << 20)
    assert (context.name, context.options) == ("libvpx-vp9", {"max_pixels": str((2 << 20) + 65536)})
    opened.close()
    with FileReader(clip) as reader:
        assert reader.source.picture.format.name == "yuva420p"
        assert reader.source.picture.display_matrix is not None
