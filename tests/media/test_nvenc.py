"""Choice of GPU encoding and decoding; their absence here is detected by opening them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from rtdeblur.errors import InputError
from rtdeblur.frames import Frame
from rtdeblur.media import codecs, encoder
from rtdeblur.media.encoder_traits import NVENC, traits_of
from rtdeblur.media.reader import FileReader

MakeClip = Callable[..., Path]

no_gpu = pytest.mark.skipif(codecs.nvenc_opens(), reason="there is a GPU that encodes")


@pytest.fixture
def has_nvenc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose GPU encodes."""
    monkeypatch.setattr(codecs, "nvenc_opens", lambda: True)
    monkeypatch.setattr(codecs, "refusal", lambda *_: None)


def chosen(path: Path, format_name: str = "mp4", codec: str = "auto", **options: object) -> encoder.Encoding:
    reader = FileReader(path)
    try:
        words = {"crf": None, "preset": None} | options
        return codecs.choose(reader.source, format_name, codec, words["crf"], words["preset"])  # type: ignore[arg-type]
    finally:
        reader.close()


@no_gpu
def test_a_listed_encoder_that_does_not_open_is_not_used(make_clip: MakeClip) -> None:
    assert NVENC in av.codecs_available
    clip = make_clip(".mp4", size="192x128", sound=False)
    assert codecs.suits_nvenc(FileReader(clip).source.picture)
    assert chosen(clip).codec == "libx264"


@pytest.mark.usefixtures("has_nvenc")
def test_auto_prefers_the_gpu(make_clip: MakeClip) -> None:
    clip = make_clip(".mp4", size="192x128", sound=False)
    encoding = chosen(clip)
    assert (encoding.codec, encoding.pix_fmt) == ("h264_nvenc", "yuv420p")
    assert encoding.options == dict(traits_of(NVENC).options) | {"a53cc": "1"}
    assert chosen(clip, codec="libx264").codec == "libx264"


@pytest.mark.usefixtures("has_nvenc")
@pytest.mark.parametrize(
    ("size", "words", "ending", "options"),
    [
        ("192x128", ("-pix_fmt", "yuv444p"), ".mp4", {}),
        (
            "192x128",
            ("-c:v", "ffv1", "-pix_fmt", "yuv420p10le"),
            ".mkv",
            {},
        ),
        ("98x66", (), ".mp4", {}),
        ("192x128", ("-c:v", "ffv1", "-pix_fmt", "gray"), ".mkv", {}),
        ("192x128", (), ".mp4", {"crf": 18}),
        ("192x128", (), ".mp4", {"preset": "slow"}),
    ],
    ids=["4:4:4", "10 bits", "small", "gray", "crf", "preset"],
)
def test_pictures_that_nvenc_cannot_keep_are_encoded_on_the_cpu(
    make_clip: MakeClip, size: str, words: tuple[str, ...], ending: str, options: dict[str, object]
) -> None:
    clip = make_clip(ending, *words, size=size, sound=False)
    assert "nvenc" not in chosen(clip, **options).codec


@pytest.mark.usefixtures("has_nvenc")
def test_a_container_without_h264_keeps_its_codec(make_clip: MakeClip) -> None:
    assert chosen(make_clip(".mp4", size="192x128", sound=False), "webm").codec == "libvpx-vp9"


@no_gpu
def test_a_missing_gpu_decoder_is_a_one_line_error(make_clip: MakeClip) -> None:
    with pytest.raises(InputError, match=r"no GPU decoder for --decoder cuda; try --decoder cpu"):
        FileReader(make_clip(".mp4", sound=False), device="cuda")


def test_an_unsharable_context_is_a_one_line_error(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What FFmpeg says where CUDA's primary context waits in another way than its own would."""

    def refuse(*_: object, **__: object) -> None:
        raise av.error.OSError(errno.EOPNOTSUPP, "Operation not supported")

    clip = make_clip(".mp4", sound=False)
    monkeypatch.setattr("rtdeblur.ffmpeg.container.av.open", refuse)
    with pytest.raises(InputError, match="FFmpeg cannot share the GPU context"):
        FileReader(clip, device="cuda")


def test_a_codec_that_the_gpu_cannot_decode_is_a_one_line_error(make_clip: MakeClip) -> None:
    clip = make_clip(".mkv", "-c:v", "ffv1", sound=False)
    with pytest.raises(InputError, match=r"GPU cannot decode ffv1.*try --decoder cpu"):
        FileReader(clip, device="cuda")


def test_frames_in_the_gpus_layout_have_the_same_planes(
    make_clip: MakeClip, ffmpeg: Callable[..., bytes]
) -> None:
    """NVDEC returns nv12, the CPU yuv420p: the same samples in another order."""
    clip = make_clip(".mp4", size="192x128", sound=False)
    twin = clip.with_name(f"{clip.stem}-nv12.nut")
    ffmpeg("-i", clip, "-pix_fmt", "nv12", "-c:v", "rawvideo", twin)
    ours, theirs = FileReader(clip), FileReader(twin)
    assert theirs.info.pix_fmt == "nv12"
    count = 0
    for a, b in zip(ours, theirs, strict=True):
        assert isinstance(a, Frame)
        assert isinstance(b, Frame)
        for one, other in zip(a.planes, b.planes, strict=True):
            np.testing.assert_array_equal(one, other)
        count += 1
    assert count == 12
    ours.close()
    theirs.close()
