"""Files planted under guessable names are not followed, written or trusted."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from rtdeblur import files
from rtdeblur.files import PrivateFolder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither links nor owners of this kind")
needs_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can act as two users")
STRANGER = 65534


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    return folder


def symbolic(path: Path, victim: Path) -> None:
    path.symlink_to(victim / "thesis.txt")


def dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim / "new.txt")


def hard(path: Path, victim: Path) -> None:
    os.link(victim / "thesis.txt", path)


def pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, victim: Path) -> None:
    path.mkdir()


Plant = Callable[[Path, Path], None]
PLANTS = [symbolic, dangling, hard, pipe, folder]


@pytest.mark.parametrize("plant", PLANTS)
def test_nothing_is_created_over_what_is_planted(tmp_path: Path, victim: Path, plant: Plant) -> None:
    plant(tmp_path / "new", victim)
    with pytest.raises(FileExistsError):
        files.create(tmp_path / "new")
    assert {path.name: path.read_text() for path in victim.iterdir()} == {"thesis.txt": "precious"}


@pytest.mark.parametrize("plant", [symbolic, dangling, hard, pipe])
def test_a_private_folder_writes_to_new_files_only(tmp_path: Path, victim: Path, plant: Plant) -> None:
    private = PrivateFolder(tmp_path / "private")
    plant(tmp_path / "private" / "name", victim)
    private.write("name", b"own")
    assert private.read("name", 10) == b"own"
    assert stat.S_IMODE(private.stat("name").st_mode) == 0o600
    assert {path.name: path.read_text() for path in victim.iterdir()} == {"thesis.txt": "precious"}


@pytest.mark.parametrize(
    ("plant", "said"),
    [(symbolic, "is a symbolic link"), (dangling, "is a symbolic link"), (pipe, "expected a regular file")],
)
def test_links_and_pipes_are_not_read(tmp_path: Path, victim: Path, plant: Plant, said: str) -> None:
    plant(tmp_path / "name", victim)
    with pytest.raises(OSError, match=said):
        files.read_own(tmp_path / "name", 100)
    with pytest.raises(OSError, match=said):
        PrivateFolder(tmp_path).read("name", 100)


def test_a_named_file_may_be_a_link_but_not_a_pipe(tmp_path: Path, victim: Path) -> None:
    symbolic(tmp_path / "link", victim)
    pipe(tmp_path / "pipe", victim)
    assert files.read(tmp_path / "link", 8) == b"precious"
    with pytest.raises(OSError, match="larger than 7 bytes"):
        files.read(tmp_path / "link", 7)
    with pytest.raises(OSError, match="expected a regular file"):
        files.read(tmp_path / "pipe", 8)


@pytest.mark.parametrize("plant", PLANTS[:4])
def test_a_private_folder_must_be_a_real_folder(tmp_path: Path, victim: Path, plant: Plant) -> None:
    plant(tmp_path / "private", victim)
    with pytest.raises(PermissionError, match="expected a folder"):
        PrivateFolder(tmp_path / "private")
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(PermissionError, match="is a symbolic link, expected a folder"):
        PrivateFolder(tmp_path / "link")


def test_a_private_folder_is_accessible_only_to_its_owner(tmp_path: Path) -> None:
    PrivateFolder(tmp_path / "private")
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    try:
        for check in (PrivateFolder, files.check_folder):
            with pytest.raises(PermissionError, match=f"other users may write to it .mode {mode:04o}"):
                check(tmp_path)
        assert list(tmp_path.iterdir()) == []
    finally:
        tmp_path.chmod(0o700)


def test_files_that_others_may_write_to_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b"data")
    (tmp_path / "name").chmod(0o666)
    with pytest.raises(PermissionError, match="other users may write to it"):
        files.read_own(tmp_path / "name", 100)


@needs_root
@pytest.mark.parametrize(("group", "allowed"), [(STRANGER, False), (0, True)])
def test_write_access_for_a_group_of_one_is_accepted(tmp_path: Path, group: int, allowed: bool) -> None:
    tmp_path.chmod(0o770)
    os.chown(tmp_path, -1, group)
    if allowed:
        return files.check_folder(tmp_path)
    with pytest.raises(PermissionError, match="other users may write"):
        files.check_folder(tmp_path)


@needs_root
def test_files_of_another_user_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b"data")
    os.chown(tmp_path / "name", STRANGER, STRANGER)
    with pytest.raises(PermissionError, match=f"belongs to another user .uid {STRANGER}"):
        files.read_own(tmp_path / "name", 100)
    os.chown(tmp_path, STRANGER, STRANGER)
    with pytest.raises(PermissionError, match=f"belongs to another user .uid {STRANGER}"):
        PrivateFolder(tmp_path)


def test_a_file_system_without_modes_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On FAT and on Windows shares under Linux, every file appears writable by everyone."""
    real = os.fstat

    def open_to_all(descriptor: int) -> os.stat_result:
        facts = real(descriptor)
        return os.stat_result((facts.st_mode | 0o777, *facts[1:]))

    (tmp_path / "name").write_bytes(b"data")
    (tmp_path / "name").chmod(0o777)
    monkeypatch.setattr(os, "fstat", open_to_all)
    assert files.read_own(tmp_path / "name", 100) == b"data"
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_a_folder_that_is_replaced_redirects_nothing(tmp_path: Path, victim: Path) -> None:
    private = PrivateFolder(tmp_path / "private")
    private.write("thesis.txt", b"own")
    (tmp_path / "private").rename(tmp_path / "elsewhere")
    (tmp_path / "private").symlink_to(victim)
    private.write("thesis.txt", b"newer")
    private.write("part", b"part")
    private.rename("part", "whole")
    assert private.names() == ["thesis.txt", "whole"]
    private.remove("thesis.txt")
    assert {path.name: path.read_text() for path in victim.iterdir()} == {"thesis.txt": "precious"}
    assert (tmp_path / "elsewhere" / "whole").read_bytes() == b"part"
    private.close()
