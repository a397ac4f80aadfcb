from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type

from rtdeblur.frames import Colour, Frame
from rtdeblur.live.image import to_bgr, upright
from rtdeblur.live.sources.file import FilePlayer

ONE = 1 << 16
# a, b, c, d of the display matrix: where x and y go.
TURNS = {
    "as it is": (1, 0, 0, 1),
    "a quarter": (0, 1, -1, 0),
    "half": (-1, 0, 0, -1),
    "three quarters": (0, -1, 1, 0),
    "upturned": (1, 0, 0, -1),
    "mirrored": (-1, 0, 0, 1),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}


@pytest.fixture
def noted(tmp_path: Path) -> Callable[[tuple[int, int, int, int]], Path]:
    """Writes three pictures, each corner of its own brightness, that are noted as turned."""

    def write(turn: tuple[int, int, int, int]) -> Path:
        path = tmp_path / "noted.mp4"
        y, x = np.mgrid[:64, :96]
        picture = np.concatenate([(40 + x + y).astype(np.uint8), np.full((32, 96), 90, np.uint8)])
        picture[64:80, :48] = 150
        with av.open(str(path), "w") as out:
            stream = out.add_stream("libx264", 25, {"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            a, b, c, d = (ONE * value for value in turn)
            stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
            for i in range(3):
                frame = av.VideoFrame.from_ndarray(picture, "yuv420p")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return path

    return write


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_a_live_picture_is_rotated_as_in_players(
    turn: tuple[int, int, int, int],
    noted: Callable[[tuple[int, int, int, int]], Path],
    ffmpeg: Callable[..., bytes],
) -> None:
    path = noted(turn)
    player = FilePlayer(path)
    frames = list(iter(player.read, None))
    player.close()
    shown = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
    assert len(frames) == 3
    assert frames[0].planes[0].shape == ((96, 64) if turn[0] == 0 else (64, 96))
    assert b"".join(plane.tobytes() for frame in frames for plane in frame.planes) == shown


@pytest.mark.parametrize(
    ("chroma", "expected"),
    [
        ((32, 48), (48, 32)),
        ((64, 96), (96, 64)),
        ((64, 48), (96, 64)),
        ((64, 24), (96, 64)),
        ((1, 1), (1, 1)),
    ],
    ids=["4:2:0", "4:4:4", "4:2:2", "4:1:1", "gray"],
)
@pytest.mark.parametrize("bit_depth", [8, 14])
def test_any_chroma_format_can_be_rotated_and_shown(
    chroma: tuple[int, int], expected: tuple[int, int], bit_depth: int
) -> None:
    dtype, grey = (np.uint8, 128) if bit_depth == 8 else (np.uint16, 1 << 13)
    planes = [np.full(shape, grey, dtype) for shape in ((64, 96), chroma, chroma)]
    planes[0][:, :48] = 0
    frame = Frame(tuple(planes), 0, Fraction(1), Colour("bt709", True, bit_depth))  # type: ignore[arg-type]
    a, b, c, d = (ONE * value for value in TURNS["a quarter"])
    decoded = SimpleNamespace(side_data={Type.DISPLAYMATRIX: struct.pack("9i", a, b, 0, c, d, *[0] * 3, 1)})
    turned = upright(frame, decoded)  # type: ignore[arg-type]
    assert [plane.shape for plane in turned.planes] == [(96, 64), expected, expected]
    bgr = to_bgr(turned)
    assert bgr[:48].mean() < 2
    assert bgr[48:].mean() == pytest.approx(128, abs=2)
