"""The cache stores bytes, so its tests need no TensorRT."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from rtdeblur.backends.tensorrt.cache import CachedEngine, EngineCache, default_folder
from rtdeblur.backends.tensorrt.spec import EngineSpec, Shape
from rtdeblur.errors import EngineError, InterruptedRunError

MakeSpec = Callable[..., EngineSpec]
DATA = b"engine" * 1000


class Cache(EngineCache):
    """A cache that records its messages and counts its builds."""

    def __init__(self, folder: Path) -> None:
        self.told: list[str] = []
        self.builds = 0
        super().__init__(folder, self.told.append)

    def build(self) -> bytes:
        self.builds += 1
        return DATA


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "engines")


def test_an_engine_is_built_once_and_found_again(cache: Cache, make_spec: MakeSpec) -> None:
    first, second = (cache.get_or_build(make_spec(), cache.build) for _ in range(2))
    assert (first.data, second.data) == (DATA, DATA)
    assert (first.fresh, second.fresh) == (True, False)
    assert (cache.builds, cache.told) == (1, [])
    assert second.path == cache.folder / f"{make_spec().stem}.engine"
    assert second.runtime_cache_path == second.path.with_suffix(".runtime")
    if os.name == "posix":
        assert cache.folder.stat().st_mode & 0o077 == 0


def test_the_sidecar_records_what_the_engine_was_built_from(cache: Cache, make_spec: MakeSpec) -> None:
    spec = make_spec()
    path = cache.get_or_build(spec, cache.build).path
    assert path is not None
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert EngineSpec.from_json(sidecar["spec"]) == spec
    assert (sidecar["key"], sidecar["bytes"]) == (spec.key, len(DATA))


def test_another_spec_gives_another_engine(cache: Cache, make_spec: MakeSpec) -> None:
    cache.get_or_build(make_spec(), cache.build)
    assert cache.find(make_spec(precision="fp32")) is None
    assert cache.find(make_spec(Shape.of(2, 64, 96))) is None


def test_a_wider_profile_serves_only_what_it_covers(cache: Cache, make_spec: MakeSpec) -> None:
    wide = make_spec(Shape.of(1, 64, 96), Shape.of(4, 256, 256))
    cache.get_or_build(wide, cache.build)
    found = cache.find(make_spec(Shape.of(2, 128, 128)))
    assert found is not None
    assert found.spec == wide
    assert cache.find(make_spec(Shape.of(2, 256, 256, "444"))) is None
    assert cache.find(make_spec(Shape.of(8, 128, 128))) is None
    assert cache.find(make_spec(Shape.of(2, 128, 128), precision="fp32")) is None


def test_build_options_need_not_match_unless_requested(cache: Cache, make_spec: MakeSpec) -> None:
    cache.get_or_build(make_spec(), cache.build)
    for level in (5, 1):
        cache.get_or_build(make_spec(optimization_level=level, workspace_mib=64), cache.build)
    assert cache.builds == 3
    found = cache.find(make_spec())
    assert found is not None
    assert found.spec.optimization_level == 5  # the one that most effort went into
    assert cache.find(make_spec(optimization_level=1, workspace_mib=32)) is None
    assert cache.find(make_spec(optimization_level=0)) is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def flip(path: Path) -> None:
    path.write_bytes(b"E" + path.read_bytes()[1:])


def orphan(path: Path) -> None:
    path.with_suffix(".json").unlink()


def scribble(path: Path) -> None:
    path.with_suffix(".json").write_text("{")


def impostor(path: Path) -> None:
    """Replace the sidecar by another engine's, as if an engine of another version were renamed."""
    text = path.with_suffix(".json").read_text()
    path.with_suffix(".json").write_text(text.replace('"version": "1.7.1"', '"version": "1.6.0"'))


def newer(path: Path) -> None:
    text = path.with_suffix(".json").read_text()
    path.with_suffix(".json").write_text(text.replace('"format_version": 1', '"format_version": 2'))


DAMAGES = [
    (cut, "has 100 bytes, expected 6000"),
    (flip, "sha256 differs from its sidecar"),
    (orphan, "has no sidecar"),
    (scribble, "unreadable sidecar"),
    (impostor, "sidecar belongs to another engine"),
    (newer, "sidecar format 2"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_damaged_engine_is_reported_and_rebuilt_once(
    cache: Cache, make_spec: MakeSpec, damage: Callable[[Path], None], reason: str
) -> None:
    path = cache.get_or_build(make_spec(), cache.build).path
    assert path is not None
    damage(path)
    assert cache.get_or_build(make_spec(), cache.build).data == DATA
    assert cache.builds == 2
    assert len(cache.told) == 1
    assert reason in cache.told[0]
    assert "rebuilding it" in cache.told[0]
    assert cache.get_or_build(make_spec(), cache.build).fresh is False


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_verification_names_the_damage(
    cache: Cache, make_spec: MakeSpec, damage: Callable[[Path], None], reason: str
) -> None:
    path = cache.get_or_build(make_spec(), cache.build).path
    assert path is not None
    assert [entry.problem for entry in cache.entries(verify=True)] == [""]
    damage(path)
    assert reason in next(cache.entries(verify=True)).problem


STRANGER = 65534
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither links nor owners of this kind")
needs_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can act as two users")


def give_away(path: Path) -> None:
    os.chown(path, STRANGER, STRANGER)


def give_sidecar_away(path: Path) -> None:
    os.chown(path.with_suffix(".json"), STRANGER, STRANGER)


def open_to_all(path: Path) -> None:
    path.chmod(0o666)


def link_to_another(path: Path) -> None:
    other = path.parent.parent / "planted"
    other.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(other)


def link_sidecar_to_another(path: Path) -> None:
    link_to_another(path.with_suffix(".json"))


def pipe_in_its_place(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def pipe_for_a_sidecar(path: Path) -> None:
    pipe_in_its_place(path.with_suffix(".json"))


@posix
@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        pytest.param(give_away, "belongs to another user", marks=needs_root),
        pytest.param(give_sidecar_away, "belongs to another user", marks=needs_root),
        (open_to_all, "other users may write to it"),
        (link_to_another, "is a symbolic link"),
        (link_sidecar_to_another, "is a symbolic link"),
        (pipe_in_its_place, "expected a regular file"),
        (pipe_for_a_sidecar, "expected a regular file"),
    ],
)
def test_a_planted_engine_is_not_loaded(
    cache: Cache, make_spec: MakeSpec, plant: Callable[[Path], None], reason: str
) -> None:
    path = cache.get_or_build(make_spec(), cache.build).path
    assert path is not None
    plant(path)
    assert reason in next(cache.entries()).problem
    assert cache.find(make_spec()) is None
    assert cache.get_or_build(make_spec(), cache.build).fresh
    assert reason in cache.told[-1]


@pytest.mark.needs_posix
@posix
@pytest.mark.parametrize(
    ("owner", "mode", "reason"),
    [
        pytest.param(STRANGER, 0o700, "belongs to another user (uid 65534)", marks=needs_root),
        pytest.param(STRANGER, 0o777, "belongs to another user (uid 65534)", marks=needs_root),
        (-1, 0o777, "other users may write to it (mode 0777)"),
        (-1, 0o1777, "other users may write to it (mode 1777)"),
    ],
)
def test_a_folder_of_another_user_is_not_used(
    cache: Cache, make_spec: MakeSpec, owner: int, mode: int, reason: str
) -> None:
    """Nothing in it is loaded, written or removed."""
    cache.get_or_build(make_spec(), cache.build)
    cache.folder.chmod(mode)
    for path in (cache.folder, *cache.folder.iterdir()):
        os.chown(path, owner, -1)
    before = sorted(cache.folder.iterdir())
    engine = cache.get_or_build(make_spec(), cache.build)
    assert (engine.fresh, engine.path, engine.runtime_cache_path) == (True, None, None)
    assert len(cache.told) == 1
    assert reason in cache.told[0]
    assert cache.find(make_spec()) is None
    assert reason in next(cache.entries()).problem
    with pytest.raises(EngineError, match=r"are not used: it|are not used: other"):
        cache.prune(stale=lambda _: True)
    cache.discard(make_spec())
    assert sorted(cache.folder.iterdir()) == before


def sidecar_with(path: tuple[str, ...], value: object) -> Callable[[Path], None]:
    """Replace one value of the sidecar."""

    def damage(engine: Path) -> None:
        file = engine.with_suffix(".json")
        content = inner = json.loads(file.read_text())
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        file.write_text(json.dumps(content))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        *(
            sidecar_with(path, value)
            for path, values in {
                ("format_version",): (None, "1", True, [], 1e400),
                ("bytes",): ("6000", 1e400, -1, 2**70, None),
                ("sha256",): (5, None, "no digest"),
                ("build_seconds",): ("1", None, 1e400, -1),
                ("spec",): (5, None, [], {}),
                ("spec", "model"): (5, None, ""),
                ("spec", "stride"): ("16", 1e400),
                ("spec", "planes"): (5, "float"),
                ("spec", "profile"): (5, {}, {"min": {}}),
                ("spec", "profile", "min", "height"): ("64", 2**70, 0, -1, True),
                ("spec", "target"): (5, {}),
                ("spec", "target", "compute_capabilities"): (5, [8.6]),
            }.items()
            for value in values
        ),
        *(
            lambda engine, text=text: engine.with_suffix(".json").write_bytes(text)
            for text in (b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"", b"9" * 5000, b" " * (2 << 20))
        ),
    ],
)
def test_a_bad_sidecar_costs_only_its_own_engine(
    cache: Cache, make_spec: MakeSpec, damage: Callable[[Path], None]
) -> None:
    bad = cache.get_or_build(make_spec(Shape.of(2, 64, 96)), cache.build).path
    cache.get_or_build(make_spec(), cache.build)
    assert bad is not None
    damage(bad)
    assert [bool(entry.problem) for entry in cache.entries()].count(True) == 1
    assert cache.get_or_build(make_spec(), cache.build).fresh is False
    assert cache.get_or_build(make_spec(Shape.of(2, 64, 96)), cache.build).fresh is True


def test_an_engine_that_does_not_load_is_rebuilt_once(cache: Cache, make_spec: MakeSpec) -> None:
    """An intact engine that TensorRT rejects, such as one from another driver."""
    cache.get_or_build(make_spec(), cache.build)
    tries = []

    def load(engine: CachedEngine) -> str:
        tries.append(engine.fresh)
        if len(tries) == 1:
            raise EngineError("version tag does not match")
        return "loaded"

    assert cache.load(make_spec(), cache.build, load) == "loaded"
    assert tries == [False, True]
    assert "does not load (version tag does not match); rebuilding it" in cache.told[0]


@pytest.mark.parametrize("kept", [True, False])
def test_an_engine_that_never_loads_fails_after_one_rebuild(
    cache: Cache, make_spec: MakeSpec, kept: bool
) -> None:
    def refuse(engine: CachedEngine) -> None:
        raise EngineError("no kernel for this GPU")

    if kept:
        cache.get_or_build(make_spec(), cache.build)
    with pytest.raises(EngineError, match="no kernel for this GPU"):
        cache.load(make_spec(), cache.build, refuse)
    assert cache.builds == (2 if kept else 1)


def test_a_failed_build_leaves_nothing(cache: Cache, make_spec: MakeSpec) -> None:
    def fail() -> bytes:
        raise EngineError("unsupported operator")

    with pytest.raises(EngineError, match="unsupported operator"):
        cache.get_or_build(make_spec(), fail)
    assert [path.suffix for path in cache.folder.iterdir()] == [".lock"]
    assert cache.get_or_build(make_spec(), cache.build).fresh


def test_an_engine_is_used_but_not_kept_if_the_folder_cannot_be_created(
    tmp_path: Path, make_spec: MakeSpec
) -> None:
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "engines")
    engine = cache.get_or_build(make_spec(), cache.build)
    assert (engine.data, engine.path, engine.runtime_cache_path) == (DATA, None, None)
    assert "cannot be stored" in cache.told[0]
    assert "--engine-dir" in cache.told[0]


def test_engines_in_a_read_only_folder_are_used(
    cache: Cache, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions do not bind root, so the system's error is simulated."""
    cache.get_or_build(make_spec(), cache.build)

    def refuse(*args: object, **options: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert cache.get_or_build(make_spec(), cache.build).fresh is False
    assert cache.told == []
    assert cache.get_or_build(make_spec(precision="fp32"), cache.build).path is None
    assert "Permission denied" in cache.told[0]


FULL_DISK = """
import resource, sys
from pathlib import Path
from rtdeblur.backends.tensorrt.cache import EngineCache
from rtdeblur.backends.tensorrt.spec import *
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
profile = ShapeProfile.static(Shape.of(1, 64, 96))
spec = EngineSpec("m", "ab" * 32, "fp16", 16, profile, Target("rtx", "1.7.1"))
engine = EngineCache(Path({folder!r}), notice=print).get_or_build(spec, lambda: b"x" * 100000)
print(len(engine.data), engine.path)
"""


@pytest.mark.needs_posix
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_leaves_no_partial_engine(tmp_path: Path) -> None:
    code = FULL_DISK.format(folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    notice, result = done.stdout.splitlines()
    assert "cannot be stored" in notice
    assert "File too large" in notice
    assert result == "100000 None"
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


TWO = """
import sys, time
from pathlib import Path
from rtdeblur.backends.tensorrt.cache import EngineCache
from rtdeblur.backends.tensorrt.spec import *
folder = Path(sys.argv[1])
profile = ShapeProfile.static(Shape.of(1, 64, 96))
spec = EngineSpec("m", "ab" * 32, "fp16", 16, profile, Target("rtx", "1.7.1"))

def build():
    with open(folder / "builds", "a") as log:
        log.write("b")
    while not (folder / "go").exists():
        time.sleep(0.01)
    return b"engine" * 1000

cache = EngineCache(folder / "engines", notice=lambda line: print(line, flush=True))
engine = cache.get_or_build(spec, build)
print(len(engine.data), engine.fresh)
"""


def test_of_two_processes_one_builds(tmp_path: Path) -> None:
    words = [sys.executable, "-c", TWO, str(tmp_path)]
    first, second = (subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2))
    assert first.stdout
    assert second.stdout
    # The second process reports that it waits; only then does the build end.
    with selectors.DefaultSelector() as selector:
        for process in (first, second):
            assert process.stdout
            selector.register(process.stdout, selectors.EVENT_READ, process)
        ready = selector.select(timeout=120)
    assert ready
    waiter: subprocess.Popen[str] = ready[0][0].data
    assert waiter.stdout
    assert "another process is building this engine; waiting" in waiter.stdout.readline()
    (tmp_path / "go").touch()
    outputs = sorted(process.communicate(timeout=120)[0] for process in (first, second))
    assert outputs == ["6000 False\n", "6000 True\n"]
    assert (tmp_path / "builds").read_text() == "b"


def test_waiting_for_another_process_can_be_stopped(tmp_path: Path, make_spec: MakeSpec) -> None:
    told: list[str] = []
    holder, waiter = EngineCache(tmp_path), EngineCache(tmp_path, told.append, lambda: bool(told))

    def build() -> bytes:
        with pytest.raises(InterruptedRunError, match="interrupted while another process was building"):
            waiter.get_or_build(make_spec(), lambda: b"never")
        return DATA

    assert holder.get_or_build(make_spec(), build).fresh
    assert told == ["another process is building this engine; waiting for it"]


def test_prune_removes_damaged_stale_unused_and_surplus_engines(cache: Cache, make_spec: MakeSpec) -> None:
    def keep(width: int, age_days: float) -> Path:
        path = cache.get_or_build(make_spec(Shape.of(1, 64, width)), cache.build).path
        assert path is not None
        used = time.time() - age_days * 86400
        os.utime(path, (used, used))
        return path

    damaged, stale, unused, surplus, kept = (
        keep(w, age) for w, age in ((32, 0), (48, 0), (64, 9), (80, 2), (96, 1))
    )
    cut(damaged)
    part = cache.folder / ".m.engine.abc.part"
    part.touch()
    os.utime(part, (0, 0))
    removed = cache.prune(
        stale=lambda spec: spec.profile.opt.width == 48, unused_days=7, most_mib=1.5 * len(DATA) / 2**20
    )
    assert {entry.path for entry in removed} == {damaged, stale, unused, surplus}
    assert sorted(cache.folder.glob("*.engine")) == [kept]
    assert sorted(cache.folder.glob("*.json")) == [kept.with_suffix(".json")]
    assert not part.exists()


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RTDEBLUR_ENGINE_DIR", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("RTDEBLUR_ENGINE_DIR")
    assert default_folder().parts[-2:] == ("rtdeblur", "engines")


def test_the_former_module_names_still_import() -> None:
    from rtdeblur.engine import cache, spec

    assert (cache.EngineCache, spec.EngineSpec) == (EngineCache, EngineSpec)
    for name in ("cache", "spec", "sidecar"):
        assert import_module(f"rtdeblur.engine.{name}") is import_module(f"rtdeblur.backends.tensorrt.{name}")
