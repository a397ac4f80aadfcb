"""Two videos in one picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.media.reader import FileReader
from rtdeblur.media.side_by_side import SideBySide
from rtdeblur.media.writer import FileWriter
from rtdeblur.pipeline import Pipeline

MakeClip = Callable[..., Path]


def join(first: Path, second: Path, output: Path, layout: str, **options: object) -> list[str]:
    with (
        FileReader(first) as left,
        FileReader(second) as right,
        SideBySide(left, right, layout) as joined,  # type: ignore[arg-type]
        FileWriter(joined, output, **options) as writer,  # type: ignore[arg-type]
    ):
        Pipeline(joined, IdentityBackend(), writer).run()
    return writer.warnings


def decoded(path: Path) -> tuple[list[NDArray[np.int64]], list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.to_ndarray(format="rgb24").astype(np.int64) for f in frames], [
        float(f.pts * f.time_base) for f in frames
    ]


def plain(
    path: Path,
    level: int,
    *,
    frames: int = 20,
    size: tuple[int, int] = (96, 64),
    rate: int = 10,
    step: int = 2,
) -> Path:
    """A video of one grey, a little lighter from frame to frame."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=rate, width=size[0], height=size[1], pix_fmt="yuv420p")
        for index in range(frames):
            picture = np.full((size[1], size[0], 3), level + step * index, np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")))
        out.mux(video.encode(None))
    return path


@pytest.mark.parametrize("width", [96, 98])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le", "gbrp", "gray"])
def test_both_videos_are_shown_in_full(make_clip: MakeClip, tmp_path: Path, width: int, pix_fmt: str) -> None:
    words = ("-c:v", "ffv1", "-pix_fmt", pix_fmt)
    first = make_clip(".mkv", *words, size=f"{width}x66")
    second = make_clip(".mkv", *words, size=f"{width}x66", filters="negate")
    join(first, second, tmp_path / "out.mkv", "side", codec="ffv1")
    offset = -(-width // 4) * 4
    for both, left, right in zip(
        *(decoded(p)[0] for p in (tmp_path / "out.mkv", first, second)), strict=True
    ):
        assert both.shape == (66, offset + width, 3)
        # Chroma at the seam is interpolated from both sides.
        assert np.abs(both[:, : width - 4] - left[:, : width - 4]).max() <= 2
        assert np.abs(both[:, offset + 4 :] - right[:, 4:]).max() <= 2


def test_a_wipe_shows_the_first_left_of_a_moving_line(tmp_path: Path) -> None:
    first, second = plain(tmp_path / "a.mkv", 20, frames=60), plain(tmp_path / "b.mkv", 120, frames=60)
    join(first, second, tmp_path / "out.mkv", "wipe", codec="ffv1")
    pictures, _ = decoded(tmp_path / "out.mkv")
    places = []
    for index, picture in enumerate(pictures):
        row = picture[10, :, 1]
        line = np.flatnonzero(row > 250) if index < 55 else np.flatnonzero(row == row.max())
        places.append(int(line.min()))
        assert np.abs(row[: max(0, line.min() - 2)] - (20 + 2 * index)).max(initial=0) < 4
        assert np.abs(row[line.max() + 3 :] - (120 + 2 * index)).max(initial=0) < 4
    assert min(places) == 0
    assert max(places) == 92
    assert places.index(92) == 30  # there after 3 of 6 seconds
    assert places[45] == pytest.approx(46, abs=4)  # and half the way back


def test_timestamps_sound_and_tags_are_those_of_the_first(make_clip: MakeClip, tmp_path: Path) -> None:
    first = make_clip(".mkv", "-metadata", "title=One", filters="setpts='(N+0.4*mod(N,3))/25/TB'")
    second = make_clip(".mkv", "-metadata", "title=Two", sound=False)
    join(first, second, tmp_path / "out.mkv", "side")
    assert decoded(tmp_path / "out.mkv")[1] == pytest.approx(decoded(first)[1], abs=1e-3)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.metadata["title"] == "One"
        assert len(container.streams.audio) == 1


def test_the_second_is_fitted_to_the_size_rate_and_length_of_the_first(tmp_path: Path) -> None:
    first = plain(tmp_path / "a.mkv", 20, frames=20, rate=10)
    second = plain(tmp_path / "b.mkv", 100, frames=5, size=(48, 40), rate=5, step=10)  # its last frame stays
    join(first, second, tmp_path / "out.mkv", "side", codec="ffv1")
    pictures, _ = decoded(tmp_path / "out.mkv")
    assert len(pictures) == 20
    shown = [round((picture[:, 110:, 1].mean() - 100) / 10) for picture in pictures]
    assert shown == [min(4, index // 2) for index in range(20)]
