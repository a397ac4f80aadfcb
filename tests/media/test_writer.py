from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from disk import small_disk

from rtdeblur.errors import OutputError, RtdeblurError, UsageError
from rtdeblur.frames import Colour, FrameBatch
from rtdeblur.media.reader import FileReader
from rtdeblur.media.writer import FileWriter

MakeClip = Callable[..., Path]
Rewrite = Callable[..., FileWriter]
Ffmpeg = Callable[..., bytes]


def pictures(path: Path) -> list[bytes]:
    """Planes of every frame, as FFmpeg decodes them, alpha included."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [b"".join(plane_bytes(plane) for plane in frame.planes) for frame in frames]


def plane_bytes(plane: Any) -> bytes:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
    sample = 1 if plane.line_size < 2 * plane.width else 2
    return rows[:, : plane.width * sample].tobytes()


@pytest.mark.parametrize(
    "pix_fmt",
    [
        "yuv420p",
        "yuv422p10le",
        "yuv444p16le",
        "yuva420p",
        "gray",
        "gray12le",
        "yuv411p",
        "bgr0",
        "bgra",
        "gbrp16le",
    ],
)
def test_lossless_is_bit_exact(make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path, pix_fmt: str) -> None:
    source = make_clip(".mkv", "-c:v", "ffv1", "-pix_fmt", pix_fmt, size="98x66", frames=4)
    writer = rewrite(source, "out.mkv", codec="ffv1")
    assert writer.encoding.pix_fmt == pix_fmt
    assert writer.warnings == []
    assert pictures(tmp_path / "out.mkv") == pictures(source)


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("libx264", "yuv420p"),
        ("libx264", "yuv444p10le"),
        ("libx264rgb", "bgr0"),
        ("libx265", "yuv420p10le"),
        ("libx265", "gbrp12le"),
        ("libvpx-vp9", "yuv420p"),
        ("libvpx-vp9", "gbrp"),
    ],
)
def test_crf_0_is_bit_exact(
    make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path, codec: str, pix_fmt: str
) -> None:
    clip, stored = (".nut", "rawvideo") if pix_fmt == "gbrp" else (".mkv", "ffv1")
    source = make_clip(clip, "-c:v", stored, "-pix_fmt", pix_fmt, size="98x66", frames=4, sound=False)
    assert rewrite(source, "out.mkv", codec=codec, crf=0).warnings == []
    for before, after in zip(FileReader(source), FileReader(tmp_path / "out.mkv"), strict=True):
        for was, now in zip(before.planes, after.planes, strict=True):
            np.testing.assert_array_equal(was, now)


@pytest.mark.parametrize("ending", [".mov", ".mkv", ".avi", ".nut", ".wmv"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuva444p", "gray", "gbrp", "gbrp10le"])
def test_raw_video_is_written_as_readers_understand_it(
    pix_fmt: str, ending: str, make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path
) -> None:
    words = ["-c:v", "ffv1", "-pix_fmt", pix_fmt]
    source = make_clip(".mkv", *words, size="96x64", frames=3, sound=False)
    warnings = rewrite(source, f"out{ending}", codec="rawvideo").warnings
    before, after = FileReader(source), FileReader(tmp_path / f"out{ending}")
    is_same = after.info.pix_fmt == pix_fmt
    assert not (is_same and warnings)
    for was, now in zip(before, after, strict=True):
        assert was.colour.matrix == now.colour.matrix or warnings
        luma = [frame.planes[0].astype(float) / frame.colour.peak for frame in (was, now)]
        if was.colour.matrix == now.colour.matrix:
            assert np.abs(luma[0] - luma[1]).max() < (1e-9 if is_same else 0.005)


def test_transparency_of_vp9_is_read_and_written(
    make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path
) -> None:
    ramp = "format=yuva420p,geq=lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)':a='2*X'"
    words = ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-deadline", "realtime"]
    source = make_clip(".webm", *words, size="64x64", frames=3, filters=ramp, sound=False)
    for output in ("out.webm", "out.mkv"):
        codec = "auto" if output.endswith("webm") else "ffv1"
        assert rewrite(source, output, codec=codec).warnings == []
        reader = FileReader(tmp_path / output)
        assert reader.info.pix_fmt == "yuva420p"
        alpha = next(iter(reader)).carrier.frame.planes[3]
        levels = np.frombuffer(alpha, np.uint8).reshape(alpha.height, -1)[:, : alpha.width]
        np.testing.assert_allclose(levels[5], 2 * np.arange(64), atol=8)  # twice lossy
    assert rewrite(source, "out.mp4").warnings == [
        "the transparency of yuva420p is not kept: libx264 encodes yuv420p; ffv1 in .mkv keeps it"
    ]


def test_the_restored_planes_are_what_is_written(make_clip: MakeClip, tmp_path: Path) -> None:
    reader = FileReader(make_clip(".mp4", frames=5))
    writer = FileWriter(reader, tmp_path / "out.mkv", codec="ffv1")
    frames = list(reader)
    batch = FrameBatch.stack(frames)
    for plane in batch.planes:
        np.subtract(255, plane, out=plane)
    expected = [[plane[i, 0].copy() for plane in batch.planes] for i in range(5)]
    writer.write(batch)
    writer.commit()
    for frame, planes in zip(FileReader(tmp_path / "out.mkv"), expected, strict=True):
        for got, wanted in zip(frame.planes, planes, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_the_default_is_visually_transparent(make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path) -> None:
    source = make_clip(".mp4", "-crf", "10", size="320x240")
    assert rewrite(source, "out.mp4").encoding.codec == "libx264"
    for before, after in zip(FileReader(source), FileReader(tmp_path / "out.mp4"), strict=True):
        error = before.planes[0].astype(float) - after.planes[0]
        # 40 dB is the usual bound of visible loss; the default measures 44 on this picture.
        assert 10 * np.log10(255**2 / np.mean(error**2)) > 40


@pytest.mark.parametrize(
    ("size", "pix_fmt"), [("97x65", "yuv444p"), ("98x65", "yuv422p"), ("34x18", "yuv420p")]
)
def test_odd_and_tiny_sizes_are_encoded(
    make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path, size: str, pix_fmt: str
) -> None:
    width, height = map(int, size.split("x"))
    crop = f"format=yuv420p,crop={width}:{height}:0:0:exact=1"
    source = make_clip(".mkv", "-c:v", "ffv1", frames=3, filters=crop, sound=False)
    writer = rewrite(source, "out.mp4")
    assert FileReader(tmp_path / "out.mp4").info.pix_fmt == pix_fmt
    assert [size in warning for warning in writer.warnings] == [True] * (pix_fmt != "yuv420p")


def test_x265_refuses_sizes_that_crash_it(make_clip: MakeClip, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="64 pixels a side or more, got 34x18"):
        FileWriter(FileReader(make_clip(".mkv", size="34x18")), tmp_path / "out.mp4", codec="libx265")


def test_a_warning_names_what_the_encoder_cannot_keep(make_clip: MakeClip, rewrite: Rewrite) -> None:
    alpha = make_clip(".mkv", "-c:v", "ffv1", "-pix_fmt", "yuva420p", frames=2)
    assert rewrite(alpha, "alpha.mp4").warnings == [
        "the transparency of yuva420p is not kept: libx264 encodes yuv420p; ffv1 in .mkv keeps it"
    ]
    assert rewrite(alpha, "alpha.mov").warnings == [
        "the transparency of yuva420p is not kept: libx264 encodes yuv420p; prores keeps it"
    ]
    assert rewrite(alpha, "kept.mov", codec="prores").warnings == []
    deep = make_clip(".mkv", "-c:v", "ffv1", "-pix_fmt", "yuv444p16le", frames=2)
    warnings = rewrite(deep, "deep.mp4").warnings
    assert [warning.split(":")[0] for warning in warnings] == ["the bit depth of yuv444p16le is not kept"]


def test_rgb_is_kept_if_the_encoder_supports_it(
    make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path
) -> None:
    source = make_clip(".mkv", "-c:v", "ffv1", "-pix_fmt", "bgr0", size="64x48", frames=2)
    kept = rewrite(source, "kept.mkv", codec="libx264rgb")
    assert (kept.encoding.pix_fmt, kept.warnings) == ("bgr24", [])
    writer = rewrite(source, "out.mp4")
    assert writer.warnings == [
        "the colours of bgr0 are encoded as yuv444p, rounded to code values; ffv1 in .mkv keeps them"
    ]
    before, after = next(iter(FileReader(source))), next(iter(FileReader(tmp_path / "out.mp4")))
    assert after.colour == Colour("bt709", full_range=True)
    matrix = after.colour.yuv_to_rgb()
    rgb = np.tensordot(matrix[:, :3], np.stack(after.planes).astype(np.float32), 1) + matrix[:, 3, None, None]
    # Lossy, on a test picture with hard edges: what counts is that no channel moved.
    np.testing.assert_allclose(
        (rgb * 255).mean((1, 2)), np.stack([before.planes[i] for i in (2, 0, 1)]).mean((1, 2)), atol=1.5
    )


def test_a_change_of_colour_is_converted_with_a_warning(
    make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path
) -> None:
    tags = [("-colorspace", "bt709", "-color_range", range) for range in ("tv", "pc")]
    flat = "geq=lum=235:cb=128:cr=128,format=yuv420p"
    parts = [make_clip(".ts", *tag, frames=4, filters=flat, sound=False).read_bytes() for tag in tags]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    writer = rewrite(tmp_path / "both.ts", "out.mkv", codec="ffv1")
    assert writer.warnings == ["colour is converted from bt709 full range to bt709 limited range"]
    levels = [round(frame.planes[0].mean()) for frame in FileReader(tmp_path / "out.mkv")]
    assert levels == [235] * 4 + [16 + round(235 * 219 / 255)] * 4


def test_a_change_of_size_is_scaled_with_a_warning(
    make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path
) -> None:
    parts = [make_clip(".ts", size=size, frames=5, sound=False).read_bytes() for size in ("98x66", "128x96")]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    writer = rewrite(tmp_path / "both.ts", "out.mp4")
    assert writer.warnings == ["picture size changes to 128x96: scaled to 98x66"]
    assert [frame.planes[0].shape for frame in FileReader(tmp_path / "out.mp4")] == [(66, 98)] * 10


# -- what is refused, and what is left behind


@pytest.mark.parametrize(
    ("output", "options", "error", "said"),
    [
        ("out.xyz", {}, UsageError, "is not a video container"),
        ("out.yuv", {}, UsageError, "no header, so that readers would not know its size; try y4m"),
        ("out.mkv", {"format_name": "md5"}, UsageError, "'md5' is not a video container"),
        ("out", {}, UsageError, "has no extension; add .mp4"),
        ("out.png", {}, UsageError, "is not a video container"),
        ("out.mp4", {"codec": "nope"}, UsageError, "no video encoder called 'nope'"),
        ("out.mp4", {"codec": "aac"}, UsageError, "no video encoder called 'aac'"),
        ("out.mkv", {"codec": "ffv1", "crf": 3}, UsageError, "'ffv1' has no crf"),
        ("out.mkv", {"codec": "ffv1", "preset": "fast"}, UsageError, "'ffv1' has no presets"),
        ("out.mp4", {"preset": "quick"}, UsageError, "no preset 'quick'; try ultrafast"),
        ("out.mp4", {"codec": "libsvtav1", "preset": "99"}, OutputError, "leave out preset 99"),
        ("out.webm", {"codec": "libx264"}, OutputError, "does not support 'libx264'"),
        ("no/out.mp4", {}, OutputError, "No such file"),
    ],
)
def test_an_impossible_output_is_refused_at_once(
    make_clip: MakeClip,
    tmp_path: Path,
    output: str,
    options: dict[str, Any],
    error: type[RtdeblurError],
    said: str,
) -> None:
    with pytest.raises(error, match=re.escape(said)) as caught:
        FileWriter(FileReader(make_clip(".mp4")), tmp_path / output, **options)
    assert "\n" not in str(caught.value)
    assert "a folder ends" not in str(caught.value)  # only the command line writes to folders
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_visible_before_commit(make_clip: MakeClip, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    reader = FileReader(make_clip(".mp4"))
    writer = FileWriter(reader, target, overwrite=True)
    for frame in reader:
        writer.write(FrameBatch.stack([frame]))
    assert target.read_bytes() == b"old"
    writer.close()
    writer.close()
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_bytes() == b"old"
    with pytest.raises(OutputError, match="already been closed"):
        writer.commit()


def test_close_from_another_thread_ends_a_write(make_clip: MakeClip, tmp_path: Path) -> None:
    reader = FileReader(make_clip(".mp4", frames=200, size="320x240"))
    writer = FileWriter(reader, tmp_path / "out.mp4")
    writing = threading.Event()
    errors: list[str] = []

    def write() -> None:
        try:
            for frame in reader:
                writer.write(FrameBatch.stack([frame]))
                writing.set()
        except OutputError as error:
            errors.append(str(error))

    thread = threading.Thread(target=write)
    thread.start()
    assert writing.wait(10)
    writer.close()
    thread.join(10)
    assert not thread.is_alive()
    assert errors == [f"cannot write '{tmp_path / 'out.mp4'}': it has already been closed"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs_posix
def test_a_full_disk_is_an_error_and_leaves_nothing(
    make_clip: MakeClip, rewrite: Rewrite, tmp_path: Path
) -> None:
    source = make_clip(".mp4", frames=50, size="320x240")
    with small_disk(20_000), pytest.raises(OutputError, match="File too large"):
        rewrite(source, "out.mkv", codec="ffv1")
    assert list(tmp_path.iterdir()) == []


def test_a_packet_that_a_muxer_refuses_is_damage(make_clip: MakeClip, tmp_path: Path) -> None:
    reader = FileReader(make_clip(".ts", "-c:a", "aac", frames=30))
    with closing(FileWriter(reader, tmp_path / "out.mp4")) as writer:
        frames = list(reader)
        sound = [packet for frame in frames for packet in frame.carrier.packets]
        sound[5].update(b"\xff\xf1" + b"\xff" * (sound[5].size - 2))  # a header of AAC that means nothing
        for frame in frames:
            writer.write(FrameBatch.stack([frame]))
        writer.commit()
    assert (reader.damage + writer.damage).count == 1
    assert frames_in(tmp_path / "out.mp4") == 30


def frames_in(path: Path) -> int:
    return sum(1 for _ in FileReader(path))


def test_an_abandoned_encoder_ends(make_clip: MakeClip, tmp_path: Path) -> None:
    """A hang is the failure: freeing x264 with pictures in flight used to block forever, most of the time."""
    program = (
        "from rtdeblur.frames import FrameBatch\n"
        "from rtdeblur.media.reader import FileReader\n"
        "from rtdeblur.media.writer import FileWriter\n"
        "for _ in range(8):\n"
        f"    reader = FileReader({str(make_clip('.ts', frames=30))!r})\n"
        f"    writer = FileWriter(reader, {str(tmp_path / 'out.mp4')!r})\n"
        "    for frame, _ in zip(reader, range(15)):\n"
        "        writer.write(FrameBatch.stack([frame]))\n"
        "    writer.close()\n"
        "    del writer\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
