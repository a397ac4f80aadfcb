"""The cache of compiled graphs: same bytes without compiling, nothing that another user could write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rtdeblur import bench
from rtdeblur.backends import compiled
from rtdeblur.backends.openvino import OpenVINOBackend
from rtdeblur.frames import FrameBatch
from rtdeblur.model import Model

BATCH = bench.noise(1, 48, 64)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache; it does not exist yet."""
    monkeypatch.setenv("RTDEBLUR_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / compiled.FOLDER


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Sizes whose graphs were compiled."""
    built: list[tuple[int, ...]] = []
    graph = OpenVINOBackend._graph

    def recorded(self: OpenVINOBackend, luma: tuple[int, ...], *rest: Any) -> Any:
        built.append(luma)
        return graph(self, luma, *rest)

    monkeypatch.setattr(OpenVINOBackend, "_graph", recorded)
    return built


def restored(model: Model, batch: FrameBatch = BATCH, **options: Any) -> bytes:
    with OpenVINOBackend(model, **{"precision": "fp32", **options}) as backend:
        return b"".join(plane.tobytes() for plane in backend.infer(batch).planes)


def test_a_kept_graph_gives_the_same_bytes_without_compiling(
    model: Model, folder: Path, built: list[tuple[int, ...]]
) -> None:
    first = restored(model)
    assert restored(model) == first != b"".join(plane.tobytes() for plane in BATCH.planes)
    assert built == [(48, 64)]
    assert folder.stat().st_mode & 0o077 == 0
    assert [path.suffix for path in folder.iterdir()] == [".blob"]


def test_everything_that_a_graph_depends_on_is_in_its_name(
    model: Model, folder: Path, built: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    restored(model)
    restored(model, mode="latency")
    restored(model, bench.noise(1, 64, 64))
    fast = Model.load("fast")
    restored(fast)
    restored(replace(fast, onnx=fast.onnx + b"\x82\x01\x00"))  # an empty field at the end: the same graph
    monkeypatch.setattr("rtdeblur.system.cpu_flags", lambda: frozenset({"avx2"}))
    restored(model)
    assert len(built) == len(list(folder.iterdir())) == 6


@pytest.mark.needs_posix
@pytest.mark.parametrize(
    "how", ["cut off", "altered", "empty", "of another graph", "writable by others", "a link"]
)
def test_a_file_that_cannot_be_trusted_is_replaced(
    model: Model, folder: Path, built: list[tuple[int, ...]], tmp_path: Path, how: str
) -> None:
    first = restored(model)
    (path,) = folder.iterdir()
    data = path.read_bytes()
    if how == "writable by others":
        path.chmod(0o666)
    elif how == "a link":
        path.rename(tmp_path / "real")
        path.symlink_to(tmp_path / "real")
    elif how == "of another graph":
        path.unlink()
        restored(model, bench.noise(1, 64, 64))
        (other,) = folder.iterdir()
        other.rename(path)
    else:
        path.write_bytes({"cut off": data[:-9], "altered": data[:-9] + bytes(9), "empty": b""}[how])
    built.clear()
    assert restored(model) == first
    assert built == [(48, 64)]
    assert not path.is_symlink()
    assert restored(model) == first
    assert built == [(48, 64)]


@pytest.mark.needs_posix
@pytest.mark.parametrize("how", ["a file", "writable by others", "a link"])
def test_without_a_folder_of_its_own_nothing_is_kept(
    model: Model, folder: Path, built: list[tuple[int, ...]], tmp_path: Path, how: str
) -> None:
    folder.parent.mkdir()
    if how == "a file":
        folder.write_text("")
    elif how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    assert restored(model) == restored(model)
    assert built == [(48, 64)] * 2
    assert not folder.is_dir() or not list(folder.iterdir())


def test_only_the_graphs_used_last_are_kept(
    model: Model, folder: Path, built: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_MOST_FILES", 2)
    for side in (48, 64, 48, 80):  # 48 was used after 64
        restored(model, bench.noise(1, side, 64))
    built.clear()
    restored(model, bench.noise(1, 48, 64))
    assert built == []
    assert len(list(folder.iterdir())) == 2
