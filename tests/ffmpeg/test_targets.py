import os
from pathlib import Path

import pytest

from rtdeblur.errors import OutputError, UsageError
from rtdeblur.ffmpeg.targets import PartFile


def test_the_target_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    part = PartFile(target, source=None, overwrite=False)
    part.path.write_bytes(b"video")
    assert part.path.parent == tmp_path
    assert part.path.name.startswith(".out.")
    assert part.path.name.endswith(".part.mp4")
    assert not target.exists()
    part.commit()
    part.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert target.read_bytes() == b"video"


def test_what_is_discarded_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    part = PartFile(target, source=None, overwrite=True)
    part.path.write_bytes(b"new")
    part.discard()
    part.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("alias", ["itself", "dots", "symlink", "hardlink"])
def test_the_input_is_no_output(tmp_path: Path, alias: str) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(b"source")
    (tmp_path / "sub").mkdir()
    target = {"itself": source, "dots": tmp_path / "sub" / ".." / "in.mp4"}.get(alias, tmp_path / "x.mp4")
    if alias == "symlink":
        target.symlink_to(source)
    if alias == "hardlink":
        os.link(source, target)
    with pytest.raises(UsageError, match="is the input itself"):
        PartFile(target, source=source, overwrite=True)
    assert not list(tmp_path.glob(".*"))


def test_an_existing_target_needs_permission(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").touch()
    with pytest.raises(UsageError, match=r"out\.mp4' exists"):
        PartFile(tmp_path / "out.mp4", source=None, overwrite=False)


@pytest.mark.parametrize(("target", "said"), [("no/out.mp4", "No such file"), ("", "is a directory")])
def test_where_nothing_can_be_written(tmp_path: Path, target: str, said: str) -> None:
    with pytest.raises(OutputError, match=said):
        PartFile(tmp_path / target, source=None, overwrite=False)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "disk" / "real.mp4", tmp_path / "link.mp4"
    real.parent.mkdir()
    link.symlink_to(real)
    part = PartFile(link, source=None, overwrite=False)
    part.path.write_bytes(b"video")
    part.commit()
    assert link.is_symlink()
    assert real.read_bytes() == b"video"
