"""What users call a codec, and an encoder for every container."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from rtdeblur.errors import OutputError
from rtdeblur.media import codecs
from rtdeblur.media.encoder_traits import encoder_of
from rtdeblur.media.writer import FileWriter

MakeClip = Callable[..., Path]
Rewrite = Callable[..., FileWriter]

ALIASES = {
    "h264": "libx264",
    "H.264": "libx264",
    "hevc": "libx265",
    "HEVC": "libx265",
    "h265": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "prores": "prores_ks",
    "ffv1": "ffv1",
    "libx264": "libx264",
    "mpeg4": "mpeg4",
}


@pytest.mark.parametrize("name", ALIASES)
def test_a_codec_name_selects_the_tested_encoder(name: str) -> None:
    assert encoder_of(name) == ALIASES[name]


@pytest.mark.parametrize(
    ("pix_fmt", "words", "codec", "tag"),
    [
        ("yuv420p", (), "h264", "avc1"),
        ("yuv420p10le", (), "hevc", "hvc1"),  # the tag that Apple's players require
        ("yuv422p10le", (), "hevc", "hvc1"),
        ("yuv420p10le", ("-vf", "setfield=tff", "-flags", "+ilme+ildct"), "h264", "avc1"),
    ],
)
def test_ten_bits_become_hevc_unless_interlaced(
    pix_fmt: str,
    words: tuple[str, ...],
    codec: str,
    tag: str,
    make_clip: MakeClip,
    tmp_path: Path,
    rewrite: Rewrite,
) -> None:
    source = make_clip(
        ".mkv", "-c:v", "ffv1", "-pix_fmt", pix_fmt, *words, size="96x64", frames=3, sound=False
    )
    writer = rewrite(source, "out.mp4")
    assert writer.warnings == []
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.codec_tag, context.pix_fmt) == (codec, tag, pix_fmt)


@pytest.mark.parametrize(
    ("alias", "ending", "options"),
    [
        ("h264", ".mp4", {"crf": 0}),
        ("hevc", ".mkv", {"crf": 0}),
        ("hevc", ".mp4", {}),
        ("vp9", ".webm", {"crf": 0}),
        ("av1", ".mkv", {"preset": "12"}),
        ("prores", ".mov", {}),
    ],
)
def test_an_alias_gives_the_same_bytes(
    alias: str, ending: str, options: dict[str, object], make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite
) -> None:
    source = make_clip(".mkv", "-pix_fmt", "yuv422p10le" if alias == "prores" else "yuv420p", sound=False)
    for name in (alias, ALIASES[alias]):
        writer = rewrite(source, f"{name}{ending}", codec=name, **options)
        assert writer.encoding.codec == ALIASES[alias]
    assert (tmp_path / f"{alias}{ending}").read_bytes() == (
        tmp_path / f"{ALIASES[alias]}{ending}"
    ).read_bytes()


@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        (".gif", "gif"),
        (".ogv", "vp8"),
        (".dv", "dvvideo"),
        (".apng", "apng"),
        (".mxf", None),
        (".mpg", None),
        (".wmv", None),
        (".3gp", None),
        (".flv", "h264"),
        (".avi", "h264"),
    ],
)
def test_every_container_gets_an_encoder_that_fits(
    ending: str, codec: str | None, make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite
) -> None:
    source, output = make_clip(".mp4", size="96x64", frames=10), tmp_path / f"out{ending}"
    rewrite(source, output)
    words = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v"]
    words += ["-show_entries", "stream=codec_name,nb_read_frames", "-of", "csv=p=0", str(output)]
    found, frames = (
        subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip().split(",")
    )
    assert frames == "10"
    assert codec in (None, found)


def test_dv_is_scaled_with_a_warning(make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite) -> None:
    writer = rewrite(make_clip(".mp4", size="96x64", frames=5), "out.dv")
    assert [w for w in writer.warnings if "scaled" in w] == [
        "96x64 is scaled to 720x576: dvvideo supports no other size; .mkv keeps it"
    ]


def test_dv_of_its_own_size_has_no_warning(make_clip: MakeClip, rewrite: Rewrite) -> None:
    source = make_clip(".mp4", "-pix_fmt", "yuv420p", size="720x576", frames=2, sound=False)
    assert rewrite(source, "out.dv").warnings == []


def test_a_rate_that_dv_lacks_is_refused(make_clip: MakeClip, rewrite: Rewrite) -> None:
    source = make_clip(".mp4", "-r", 24, size="96x64", frames=25)
    with pytest.raises(OutputError, match=r"dvvideo supports only 25 or 29\.97 frames per second, got 24"):
        rewrite(source, "out.dv")


@pytest.mark.parametrize(
    "made",
    [
        ("-vf", "scale=out_color_matrix=bt709", "-colorspace", "bt709", "-color_range", "tv"),
        ("-vf", "scale=out_color_matrix=bt709:out_range=full", "-colorspace", "bt709", "-color_range", "pc"),
        ("-c:v", "libx264rgb", "-qp", "0"),
        ("-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p"),
    ],
    ids=["limited", "full", "rgb", "jpeg"],
)
@pytest.mark.parametrize("ending", [".avi", ".mov", ".mjpeg"])
def test_motion_jpeg_has_the_colours_of_its_source(
    made: tuple[str, ...], ending: str, make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite
) -> None:
    source = make_clip(".mkv", *made, frames=3, sound=False)
    writer = rewrite(source, f"out{ending}", codec="mjpeg", quality="high")
    assert not [w for w in writer.warnings if "changes to" in w]
    before, after = (
        np.stack([f.to_ndarray(format="rgb24") for f in av.open(str(path)).decode(video=0)]).astype(int)
        for path in (source, tmp_path / f"out{ending}")
    )
    # JPEG at scale 2, chroma of half size. A wrong matrix or range moves means by 5 and more.
    assert np.abs(before.mean((0, 1, 2)) - after.mean((0, 1, 2))).max() < 2
    assert np.abs(before - after).mean() < 6


OTHERS = ["ffv1", "prores_ks", "libvpx-vp9", "mpeg4", "mjpeg", "png", "utvideo", "flv"]


@pytest.mark.parametrize("ending", [".ts", ".m2ts", ".mpg", ".vob", ".wtv", ".swf", ".mov", ".avi", ".mkv"])
def test_a_codec_that_readers_cannot_decode_in_a_container_is_refused(
    ending: str, make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite
) -> None:
    """Transport streams take any codec, but have no name for most."""
    source, written = make_clip(".mp4", size="96x64", frames=5, sound=False), set()
    for codec in OTHERS:
        output = tmp_path / f"{codec}{ending}"
        try:
            rewrite(source, output, codec=codec)
        except OutputError:
            continue
        written.add(codec)
        with av.open(str(output)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.codec.canonical_name == av.Codec(codec, "w").canonical_name
            assert sum(1 for _ in container.decode(stream)) == 5
    assert written == {
        ".ts": {"mpeg4"}, ".m2ts": {"mpeg4"}, ".mpg": {"mpeg4"}, ".vob": {"mpeg4"}, ".swf": {"flv", "mjpeg"},
    }.get(ending, written)  # fmt: skip
    assert written


@pytest.mark.parametrize("ending", [".ts", ".mpg"])
def test_lossless_chooses_among_the_codecs_that_a_container_names(
    ending: str, make_clip: MakeClip, tmp_path: Path, rewrite: Rewrite
) -> None:
    source = make_clip(".mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp", frames=5, sound=False)
    assert rewrite(source, f"out{ending}", quality="lossless").encoding.codec == "libx264rgb"
    with pytest.raises(OutputError, match="readers cannot decode ffv1 in it"):
        rewrite(source, f"other{ending}", codec="ffv1")


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "gray", "yuv422p10le", "yuv444p"])
def test_y4m_has_raw_frames_and_says_so(
    pix_fmt: str, make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path, ffmpeg: Callable[..., bytes]
) -> None:
    source = make_clip(".mkv", "-c:v", "ffv1", "-pix_fmt", pix_fmt, sound=False)
    encoding = rewrite(source, "out.y4m").encoding
    assert encoding.codec == "rawvideo"
    before, after = (
        [frame.to_ndarray(format="gray8") for frame in av.open(str(path)).decode(video=0)]
        for path in (source, tmp_path / "out.y4m")
    )
    assert len(after) == 12
    assert all(np.abs(x.astype(int) - y).max() <= 3 for x, y in zip(before, after, strict=True))


def test_a_trial_frame_of_raw_video_is_encoded_once(
    make_clip: MakeClip, rewrite: Rewrite, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, trials, read_back = make_clip(".mp4", filters="setsar=4/3", sound=False), [], codecs._read_back

    def counted(*words: object) -> object:
        trials.append(words)
        return read_back(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(codecs, "_read_back", counted)
    rewrite(source, "out.nut", codec="rawvideo")
    assert len(trials) == 1
