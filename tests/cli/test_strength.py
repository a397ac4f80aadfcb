"""`--strength` scales the model's change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from rtdeblur.cli import main
from rtdeblur.frames import Frame
from rtdeblur.media import resume
from rtdeblur.media.reader import FileReader

WORDS = ("-q", "--gate", "off", "--precision", "fp32", "--codec", "ffv1")


def luma(path: Path) -> np.ndarray:
    with closing(FileReader(path)) as reader:
        return np.stack([frame.planes[0].astype(int) for frame in reader if isinstance(frame, Frame)])


@pytest.fixture(scope="module")
def source(make_clip: Callable[..., Path]) -> Path:
    return make_clip(".mkv", "-c:v", "ffv1", frames=6)


def test_the_change_grows_with_strength_from_none_at_zero(source: Path, tmp_path: Path) -> None:
    changes = {}
    for strength in ("0", "0.5", "1", "2"):
        output = tmp_path / f"{strength}.mkv"
        assert main([str(source), "-o", str(output), *WORDS, "--strength", strength]) == 0
        changes[strength] = luma(output) - luma(source)
    assert not changes["0"].any()
    # Where twice the change is not clipped.
    inside = (np.abs(changes["1"]) < 20) & (luma(source) > 60) & (luma(source) < 190)
    assert np.abs(changes["1"][inside]).max() >= 4  # well above the rounding below
    np.testing.assert_allclose(changes["0.5"][inside], changes["1"][inside] / 2, atol=0.51)
    np.testing.assert_allclose(changes["2"][inside], changes["1"][inside] * 2, atol=0.51)


def test_unfinished_work_of_another_strength_is_refused(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "_FRAMES", 2)
    monkeypatch.setattr(resume, "_FEWEST_FRAMES", 2)
    words = (source, "-o", tmp_path / "out.mkv", *WORDS)
    with monkeypatch.context() as broken:  # a run that ends after two segments, and keeps them
        broken.setattr("rtdeblur.media.writer.FileWriter.commit", _full)
        assert main([*map(str, words), "--resume", "--strength", "0.5"]) == 1
    assert any(tmp_path.glob(".out.mkv.rtdeblur/*.segment"))
    assert main([*map(str, words), "--resume", "--strength", "0.75"]) == 1
    assert "strength was 0.5, is 0.75" in capfd.readouterr().err
    assert main([*map(str, words), "--resume", "--strength", "0.5"]) == 0


def _full(writer: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("strength", ["-0.1", "2.1", "much", "nan"])
def test_a_strength_out_of_range_is_refused(source: Path, tmp_path: Path, strength: str) -> None:
    assert main([str(source), "-o", str(tmp_path / "out.mkv"), "--strength", strength]) == 2
    assert not list(tmp_path.iterdir())
