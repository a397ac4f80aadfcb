from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from rtdeblur.errors import RtdeblurError
from rtdeblur.frames import Colour, Frame
from rtdeblur.live.displays import LivePicture
from rtdeblur.live.sinks import snapshot
from rtdeblur.live.sinks.snapshot import save_snapshot


def frame(value: int) -> Frame:
    luma, chroma = np.full((49, 64), value, np.uint8), np.full((25, 32), 128, np.uint8)
    return Frame((luma, chroma, chroma), 0, Fraction(1, 30), Colour())


def test_both_pictures_are_saved(tmp_path: Path) -> None:
    files = save_snapshot(LivePicture(frame(60), frame(180), 0.0), tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    means = []
    for path in files:
        with av.open(str(path)) as container:
            (picture,) = container.decode(video=0)
        assert (container.format.name, picture.width, picture.height) == ("png_pipe", 64, 49)
        means.append(picture.to_ndarray(format="gray").mean())
    assert means == pytest.approx([(60 - 16) * 255 / 219, (180 - 16) * 255 / 219], abs=2)


def test_both_names_have_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.count()
    monkeypatch.setattr(snapshot, "stamped", lambda folder, ending: folder / f"at-{next(times)}{ending}")
    files = save_snapshot(LivePicture(frame(60), frame(180), 0.0), tmp_path)
    assert [path.name for path in files] == ["at-0-blurred.png", "at-0-restored.png"]


def test_nothing_is_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_bytes(b"precious")
    (tmp_path / "now-blurred.png").symlink_to(victim)
    monkeypatch.setattr(snapshot, "stamped", lambda folder, ending: folder / f"now{ending}")
    with pytest.raises(RtdeblurError, match="exists"):
        save_snapshot(LivePicture(frame(60), frame(180), 0.0), tmp_path)
    assert victim.read_bytes() == b"precious"
