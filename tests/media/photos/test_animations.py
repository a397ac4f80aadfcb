"""Animated GIF, WebP, PNG and AVIF: pictures, times, repeats, transparency."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from rtdeblur.errors import NoVideoError, UsageError
from rtdeblur.frames import FrameBatch
from rtdeblur.media.photos.reader import PictureReader
from rtdeblur.media.photos.writer import PictureWriter
from rtdeblur.media.reader import FileReader
from rtdeblur.pictures import kind_of

MILLISECONDS = [100, 40, 250, 70, 100]
ENDINGS = [".gif", ".webp", ".png", ".avif"]


def discs(alpha: bool = False) -> Iterator[NDArray[np.uint8]]:
    """A bright disc that moves over a dark ground, which is clear if `alpha`; few colours."""
    y, x = np.mgrid[:48, :64]
    for index in range(len(MILLISECONDS)):
        inside = (x - 12 - 10 * index) ** 2 + (y - 24) ** 2 < 100
        picture = np.where(inside[..., None], (220, 180, 60), (30, 50, 90)).astype(np.uint8)
        if alpha:
            picture = np.dstack([picture, np.where(inside, 255, 0).astype(np.uint8)])
        yield picture


def animation(path: Path, *, alpha: bool = False, loop: int = 3) -> Path:
    first, *rest = (Image.fromarray(picture) for picture in discs(alpha))
    options = {"disposal": 2} if path.suffix == ".gif" and alpha else {}
    options |= {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
    options |= {"quality": 95} if path.suffix == ".avif" else {"loop": loop}
    first.save(path, save_all=True, append_images=rest, duration=MILLISECONDS, **options)
    return path


def rewrite(source: Path, output: Path, add: int = 0) -> list[str]:
    with PictureReader(source) as reader, PictureWriter(reader, output) as writer:
        for frame in reader:
            batch = FrameBatch.stack([frame])
            y, u, v = (plane + np.uint8(add) for plane in batch.planes)
            writer.write(replace(batch, planes=(y, u, v)))
        writer.commit()
    return [*reader.warnings, *writer.warnings]


def played(path: Path) -> tuple[list[NDArray[np.int64]], list[int], int | None]:
    """RGBA pictures, their milliseconds, and how often it is repeated."""
    pictures, times = [], []
    with Image.open(path) as image:
        for frame in ImageSequence.Iterator(image):
            frame.load()
            pictures.append(np.asarray(frame.convert("RGBA")).astype(np.int64))
            times.append(round(frame.info["duration"]))
        return pictures, times, image.info.get("loop")


@pytest.mark.parametrize(("before", "after"), list(itertools.product(ENDINGS, ENDINGS)))
def test_pictures_and_times_are_kept(tmp_path: Path, before: str, after: str) -> None:
    source = animation(tmp_path / f"in{before}")
    rewrite(source, tmp_path / f"out{after}", add=5)
    pictures, times, loop = played(tmp_path / f"out{after}")
    assert times == MILLISECONDS
    assert loop == {".avif": None}.get(after, 3 if before != ".avif" else (None if after == ".gif" else 1))
    for picture, expected in zip(pictures, discs(), strict=True):
        assert (picture[..., 3] == 255).all()
        assert np.abs(picture[..., :3] - expected - 5).mean() < 3  # AVIF and WebP are lossy


@pytest.mark.parametrize("after", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("before", [".gif", ".webp", ".png"])
def test_transparency_is_kept(tmp_path: Path, before: str, after: str) -> None:
    source = animation(tmp_path / f"in{before}", alpha=True)
    rewrite(source, tmp_path / f"out{after}")
    pictures, times, _ = played(tmp_path / f"out{after}")
    assert times == MILLISECONDS
    for picture, expected in zip(pictures, discs(alpha=True), strict=True):
        np.testing.assert_array_equal(picture[..., 3], expected[..., 3])
        seen = expected[..., 3] == 255
        assert np.abs(picture[seen] - expected[seen]).mean() < 4


def test_frames_carry_their_times(tmp_path: Path) -> None:
    with PictureReader(animation(tmp_path / "in.gif")) as reader:
        assert [float(frame.pts * frame.time_base) for frame in reader] == pytest.approx(
            [0, 0.1, 0.14, 0.39, 0.46]
        )
        assert reader.info.frame_count == 5


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_formats_that_ffmpeg_reads_like_a_video_are_known(tmp_path: Path, ending: str) -> None:
    source, kind = animation(tmp_path / f"in{ending}"), kind_of(Path(f"in{ending}"))
    try:
        with FileReader(source) as reader:
            is_video = len(list(reader)) == reader.info.frame_count == len(MILLISECONDS)
    except NoVideoError:
        is_video = False
    assert kind is not None
    assert kind.video == is_video


def test_a_gif_that_plays_once_still_does(tmp_path: Path) -> None:
    first, *rest = (Image.fromarray(picture) for picture in discs())
    first.save(tmp_path / "in.gif", save_all=True, append_images=rest, duration=100)
    for ending, loop in ((".gif", None), (".webp", 1), (".png", 1)):
        rewrite(tmp_path / "in.gif", tmp_path / f"out{ending}")
        assert played(tmp_path / f"out{ending}")[2] == loop


@pytest.mark.parametrize("ending", [".jpg", ".tif", ".bmp"])
def test_a_format_of_one_picture_is_refused(tmp_path: Path, ending: str) -> None:
    source = animation(tmp_path / "in.gif")
    with pytest.raises(
        UsageError, match=r"is an animation of 5 pictures.*try \.gif, \.webp, \.png, or a video"
    ):
        rewrite(source, tmp_path / f"out{ending}")
    assert [path.name for path in tmp_path.iterdir()] == ["in.gif"]


def test_reduced_colours_are_a_warning_unless_the_source_is_a_gif(tmp_path: Path) -> None:
    (warning,) = rewrite(animation(tmp_path / "in.webp"), tmp_path / "out.gif")
    assert "256" in warning
    assert rewrite(animation(tmp_path / "in.gif"), tmp_path / "out2.gif") == []


def test_a_gif_of_one_picture_is_a_photo(tmp_path: Path) -> None:
    Image.fromarray(next(discs())).save(tmp_path / "in.gif")
    rewrite(tmp_path / "in.gif", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        np.testing.assert_array_equal(np.asarray(image), next(discs()))
