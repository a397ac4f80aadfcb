"""Numbered pictures and animations as the frames of a video."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rtdeblur.errors import InputError
from rtdeblur.frames import FrameBatch
from rtdeblur.media.photos.sequence import SequenceReader, gaps, in_order, is_pattern, matching
from rtdeblur.media.reader import FileReader
from rtdeblur.media.writer import FileWriter


def numbered(folder: Path, count: int = 6, name: str = "frame{:04}.png", **options: Any) -> list[Path]:
    """Pictures of one colour each, lighter from one to the next."""
    paths = [folder / name.format(index) for index in range(count)]
    for index, path in enumerate(paths):
        colour = (40 + 20 * index, 120, 200 - 20 * index)
        Image.new("RGB", (64, 48), colour).save(path, **options)
    return paths


def encode(reader: SequenceReader, output: Path, **options: Any) -> list[str]:
    with reader, FileWriter(reader, output, **options) as writer:
        for frame in reader:
            writer.write(FrameBatch.stack([frame]))
        writer.commit()
    return writer.warnings


def frames(path: Path) -> tuple[list[NDArray[Any]], list[float], str]:
    """RGB pictures, times, pixel format."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        decoded = list(container.decode(video))
        pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in decoded]
        return pictures, [float(frame.pts * frame.time_base) for frame in decoded], video.pix_fmt or ""


def test_pictures_become_a_video_that_players_play(tmp_path: Path) -> None:
    paths = numbered(tmp_path)
    warnings = encode(SequenceReader(tmp_path, paths, rate=Fraction(30)), tmp_path / "out.mp4")
    assert warnings == []
    pictures, times, pix_fmt = frames(tmp_path / "out.mp4")
    assert pix_fmt == "yuv420p"
    assert times == pytest.approx([index / 30 for index in range(6)], abs=1e-4)
    for index, picture in enumerate(pictures):
        assert np.abs(picture.mean((0, 1)) - (40 + 20 * index, 120, 200 - 20 * index)).max() < 3
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].average_rate == 30
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1, 1)  # BT.709, limited


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1"])
def test_a_lossless_video_has_the_same_samples(tmp_path: Path, mode: str) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for index in range(3):
        image = Image.fromarray(rng.integers(0, 256, (48, 64, 4), np.uint8)).convert(mode)
        image.save(tmp_path / f"{index}.png")
        paths.append(tmp_path / f"{index}.png")
    encode(SequenceReader(tmp_path, paths, lossless=True), tmp_path / "out.mkv", codec="ffv1")
    with av.open(str(tmp_path / "out.mkv")) as container:
        for frame, path in zip(container.decode(video=0), paths, strict=True):
            with Image.open(path) as image:
                expected = np.asarray(image.convert("RGBA"))
            np.testing.assert_array_equal(frame.to_ndarray(format="rgba"), expected)


def test_16_bits_are_kept(tmp_path: Path) -> None:
    from rtdeblur.media.photos import deep

    samples = (np.arange(48 * 64 * 3).reshape(48, 64, 3) * 7).astype(np.uint16)
    (tmp_path / "0.png").write_bytes(deep.encode_png(samples, b""))
    paths = [tmp_path / "0.png"]
    encode(SequenceReader(tmp_path, paths, lossless=True), tmp_path / "out.mkv", codec="ffv1")
    with av.open(str(tmp_path / "out.mkv")) as container:
        frame = next(container.decode(video=0))
        np.testing.assert_array_equal(frame.to_ndarray(format="rgb48le"), samples)
    encode(SequenceReader(tmp_path, paths), tmp_path / "out.mp4")
    assert frames(tmp_path / "out.mp4")[2] == "yuv420p10le"


def test_an_orientation_is_followed(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    paths = numbered(tmp_path, 2, "{}.jpg", exif=tags)
    encode(SequenceReader(tmp_path, paths), tmp_path / "out.mp4")
    assert frames(tmp_path / "out.mp4")[0][0].shape == (64, 48, 3)


def test_a_picture_of_another_size_is_scaled_with_a_warning(tmp_path: Path) -> None:
    paths = numbered(tmp_path, 3)
    Image.new("RGB", (32, 24)).save(paths[1])
    (warning,) = encode(SequenceReader(tmp_path, paths), tmp_path / "out.mp4")
    assert "changes to 32x24: scaled to 64x48" in warning


def test_a_damaged_picture_leaves_a_gap_and_is_counted(tmp_path: Path) -> None:
    paths = numbered(tmp_path, 4)
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    reader = SequenceReader(tmp_path, paths, rate=Fraction(10))
    encode(reader, tmp_path / "out.mp4")
    assert frames(tmp_path / "out.mp4")[1] == pytest.approx([0, 0.2, 0.3], abs=1e-4)
    assert reader.damage.count == 1
    assert "frame0001.png" in reader.damage.message
    with pytest.raises(InputError, match=r"frame0001\.png"):
        encode(SequenceReader(tmp_path, paths, strict=True), tmp_path / "strict.mp4")


def test_only_damaged_pictures_are_an_error(tmp_path: Path) -> None:
    paths = numbered(tmp_path, 2)
    for path in paths:
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"frame0000\.png"):
        SequenceReader(tmp_path, paths)


def test_a_part_can_be_read(tmp_path: Path) -> None:
    paths = numbered(tmp_path, 10)
    reader = SequenceReader(tmp_path, paths, rate=Fraction(10), start=0.3, duration=0.4)
    assert [int(frame.planes[2][0, 0]) for frame in reader] == [40 + 20 * index for index in (3, 4, 5, 6)]


@pytest.mark.parametrize("source", ["numbered", "animation", "video"])
def test_a_part_past_the_end_is_one_error_for_pictures_and_videos(tmp_path: Path, source: str) -> None:
    paths, path = numbered(tmp_path, 10), tmp_path / f"in.{'mkv' if source == 'video' else 'webp'}"
    encode(SequenceReader(tmp_path, paths, rate=Fraction(10)), tmp_path / "in.mkv")
    first, *rest = map(Image.open, paths)
    first.save(tmp_path / "in.webp", save_all=True, append_images=rest, duration=100)
    reader = FileReader if source == "video" else partial(SequenceReader, rate=Fraction(10))
    given = {"numbered": (path, paths), "animation": (path, [path]), "video": (path,)}[source]
    with pytest.raises(InputError) as caught:
        reader(*given, start=9)
    problem = "no frame in the requested part; it lasts 1.0 s"
    assert str(caught.value) == f"input {str(path)!r} has {problem}"


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png"])
def test_an_animation_becomes_a_video_with_its_times(tmp_path: Path, ending: str) -> None:
    first, *rest = (Image.new("RGB", (64, 48), (40 * i, 90, 90)) for i in range(4))
    path = tmp_path / f"in{ending}"
    first.save(path, save_all=True, append_images=rest, duration=[100, 50, 200, 100])
    encode(SequenceReader(path, [path]), tmp_path / "out.mkv")
    pictures, times, pix_fmt = frames(tmp_path / "out.mkv")
    assert times == pytest.approx([0, 0.1, 0.15, 0.35])
    assert pix_fmt == "yuv420p"
    assert [round(picture[..., 0].mean() / 40) for picture in pictures] == [0, 1, 2, 3]


def test_transparency_is_kept_if_the_encoder_supports_it(tmp_path: Path) -> None:
    paths = []
    for index in range(3):
        picture = np.full((48, 64, 4), 200, np.uint8)
        picture[..., 3] = np.where(np.arange(64) < 20 + index, 255, 0)
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
        paths.append(tmp_path / f"{index}.png")
    assert encode(SequenceReader(tmp_path, paths), tmp_path / "out.webm") == []
    (warning,) = encode(SequenceReader(tmp_path, paths), tmp_path / "out.mp4")
    assert "transparency" in warning


def test_patterns_find_pictures_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["shot2.png", "shot10.png", "shot1.png", "shot1.txt", "other.png", "shotx.png"]
    for name in names:
        Image.new("L", (8, 8)).save(tmp_path / name, "PNG")
    found = lambda pattern: [path.name for path in matching(tmp_path / pattern)]  # noqa: E731
    assert found("shot%d.png") == ["shot1.png", "shot2.png", "shot10.png"]
    assert found("shot%02d.png") == found("shot%d.png")  # what is there decides
    assert found("shot?.png") == ["shot1.png", "shot2.png", "shotx.png"]
    assert found("*.png") == ["other.png", "shot1.png", "shot2.png", "shot10.png", "shotx.png"]
    assert found("shot1.*") == ["shot1.png"]
    for pattern in ("none%d.png", "*.jpg", "nowhere/%d.png"):
        with pytest.raises(InputError, match=r"no picture matches"):
            matching(tmp_path / pattern)


def test_a_file_named_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "50%d [a].png")
    assert not is_pattern(tmp_path / "50%d [a].png")
    assert is_pattern(tmp_path / "50%d [b].png")
    assert not is_pattern(tmp_path / "100%.png")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["f1.png", "f2.png", "f3.png"], None),
        (["f1.png", "f4.png"], "2 numbers are missing, the first 2; the video continues without them"),
        (["f1.png", "f3.png"], "number 2 is missing; the video continues without it"),
        (["2024-01-01.png", "2024-12-31.png"], None),
        (["a.png", "b.png"], None),
        (["IMG_20240101.png", "IMG_20250101.png"], None),
        (["a1.png", "b1.png"], None),
    ],
)
def test_missing_numbers_are_reported(names: list[str], says: str | None) -> None:
    said = gaps(in_order([Path(name) for name in names]))
    assert said is None if says is None else said is not None and says in said
