import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from links import hard, symbolic

from rtdeblur import files
from rtdeblur.errors import OutputError, UsageError
from rtdeblur.ffmpeg.targets import PartFile, StreamTarget


def test_the_target_appears_only_when_complete(tmp_path: Path) -> None:
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


def test_discarding_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    part = PartFile(target, source=None, overwrite=True)
    part.path.write_bytes(b"new")
    part.discard()
    part.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("alias", ["itself", "dots", "symlink", "hardlink"])
def test_the_input_cannot_be_the_output(tmp_path: Path, alias: str) -> None:
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


def test_an_existing_target_needs_overwrite(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").touch()
    with pytest.raises(UsageError, match=r"out\.mp4' already exists"):
        PartFile(tmp_path / "out.mp4", source=None, overwrite=False)


@pytest.mark.parametrize(("target", "said"), [("no/out.mp4", "No such file"), ("", "is a directory")])
def test_an_unwritable_target_is_an_error(tmp_path: Path, target: str, said: str) -> None:
    with pytest.raises(OutputError, match=said):
        PartFile(tmp_path / target, source=None, overwrite=False)


@pytest.mark.needs_posix
def test_an_error_at_the_end_of_a_pipe_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe.mkv"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    target = StreamTarget(pipe)

    def fail(fd: int) -> None:
        close(fd)
        raise OSError(errno.ENOSPC, "No space left on device")

    close = os.close
    monkeypatch.setattr(os, "close", fail)
    with pytest.raises(OutputError, match=r"cannot write to '.*pipe\.mkv': No space left on device"):
        target.commit()
    monkeypatch.undo()
    os.close(reader)


def test_a_link_to_itself_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").symlink_to("out.mp4")
    with pytest.raises(OutputError, match=r"out\.mp4' is a link that leads back to itself"):
        PartFile(tmp_path / "out.mp4", source=None, overwrite=True)
    assert (tmp_path / "out.mp4").is_symlink()


def test_writing_to_a_link_keeps_the_link(tmp_path: Path) -> None:
    real, link = tmp_path / "disk" / "real.mp4", tmp_path / "link.mp4"
    real.parent.mkdir()
    link.symlink_to(real)
    part = PartFile(link, source=None, overwrite=False)
    part.path.write_bytes(b"video")
    part.commit()
    assert link.is_symlink()
    assert real.read_bytes() == b"video"


posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither links nor modes of this kind")


def dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("new.txt"))


def left(path: Path, victim: Path) -> None:
    path.write_bytes(b"left by a killed program")


@posix
@pytest.mark.parametrize("plant", [symbolic, dangling, hard, left])
def test_a_link_at_the_part_files_name_is_not_followed(
    tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    victim, name = tmp_path / "victim.txt", tmp_path / ".part"
    victim.write_bytes(b"precious")
    plant(name, victim)
    part = PartFile(tmp_path / "out.mp4", source=None, overwrite=False, part=name)
    Path(part.url).write_bytes(b"video")
    part.commit()
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "out.mp4").read_bytes() == b"video"
    assert not (tmp_path / "out.mp4").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "victim.txt"]


@posix
@pytest.mark.parametrize(
    "make", [Path.mkdir, pytest.param(getattr(os, "mkfifo", None), marks=pytest.mark.needs_posix)]
)
def test_a_folder_at_the_part_files_name_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / ".part")
    with pytest.raises(OutputError, match=r"it holds .part, which is not a file"):
        PartFile(tmp_path / "out.mp4", source=None, overwrite=False, part=tmp_path / ".part")
    assert [path.name for path in tmp_path.iterdir()] == [".part"]


@posix
@pytest.mark.parametrize("name", [None, ".part"])
def test_a_part_file_replaced_while_it_grows_is_an_error(tmp_path: Path, name: str | None) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_bytes(b"precious")
    part = PartFile(tmp_path / "out.mp4", source=None, overwrite=False, part=name and tmp_path / name)
    part.path.unlink()
    part.path.symlink_to(victim)
    if part.url.startswith("/proc/"):
        Path(part.url).write_bytes(b"video")
    with pytest.raises(OutputError, match="another program replaced"):
        part.commit()
    part.discard()
    assert victim.read_bytes() == b"precious"
    assert part.path.is_symlink()  # nor is another program's file removed
    assert not (tmp_path / "out.mp4").exists()


def test_a_file_that_appears_during_the_run_stays(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "out.mp4", source=None, overwrite=False)
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(OutputError, match="another program wrote it meanwhile"):
        part.commit()
    part.discard()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"out.mp4": b"precious"}


@pytest.mark.needs_posix
@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o777, 0o444, 0o400])
def test_the_new_file_keeps_the_mode_of_the_old(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    target.chmod(mode)
    part = PartFile(target, source=None, overwrite=True)
    assert stat.S_IMODE(part.path.stat().st_mode) == 0o600
    Path(part.url).write_bytes(b"video")
    part.commit()
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert target.read_bytes() == b"video"


@posix
def test_a_new_file_has_the_default_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    part = PartFile(tmp_path / "out.mp4", source=None, overwrite=False)
    part.commit()
    assert (tmp_path / "out.mp4").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can act as two users")
@pytest.mark.parametrize("exists", [False, True])
def test_another_users_link_is_not_followed(tmp_path: Path, exists: bool) -> None:
    victim, link = tmp_path / "victim.txt", tmp_path / "out.mp4"
    if exists:
        victim.write_bytes(b"precious")
    link.symlink_to(victim)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(OutputError, match=r"is another user's link \(uid 65534\)"):
        PartFile(link, source=None, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", *["victim.txt"] * exists]


@pytest.mark.parametrize("made", [True, False])
def test_a_file_that_a_signal_interrupts_is_removed(
    made: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the system makes it, or before the caller holds it."""

    def interrupted(*args: Any, **words: Any) -> int:
        create(*args, **words)
        raise KeyboardInterrupt

    create = files.create
    if made:
        file = PartFile(tmp_path / "out.mp4", source=None, overwrite=False)
        assert file.path.exists()
        del file
    else:
        monkeypatch.setattr(files, "create", interrupted)
        with pytest.raises(KeyboardInterrupt):
            PartFile(tmp_path / "out.mp4", source=None, overwrite=False)
    assert len(list(tmp_path.iterdir())) == 1
    files.abandon_unfinished()
    assert list(tmp_path.iterdir()) == []


def test_what_is_whole_is_not_abandoned(tmp_path: Path) -> None:
    file = PartFile(tmp_path / "out.mp4", source=None, overwrite=False)
    file.commit()
    discarded = PartFile(tmp_path / "other.mp4", source=None, overwrite=False)
    discarded.discard()
    assert not files.unfinished & {file, discarded}
    files.abandon_unfinished()
    assert list(tmp_path.iterdir()) == [tmp_path / "out.mp4"]
