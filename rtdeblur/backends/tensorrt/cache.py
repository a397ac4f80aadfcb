"""Cache of built engines in a folder, each named by the key of its spec.

An engine is checked before use, and written atomically. Engines are code: they are loaded only if folder and
files belong to the user (or root) and no other user can write to them.

    NAME.engine    the serialized engine
    NAME.json      its sidecar: what it was built from, and its checksum
    NAME.runtime   kernels that the RTX flavour compiled for this GPU while running the engine
    NAME.parity    GPUs on which it passed the parity check
    .NAME.lock     locked while NAME is being built
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rtdeblur import cache, files
from rtdeblur.backends.tensorrt.sidecar import read_sidecar, sidecar_of
from rtdeblur.backends.tensorrt.spec import EngineSpec
from rtdeblur.errors import EngineError, InterruptedRunError

T = TypeVar("T")

FOLDER_VARIABLE = "RTDEBLUR_ENGINE_DIR"
_ORPHAN_SECONDS = 3600.0
"""Age at which a partial file cannot belong to a running build, in seconds."""
_POLL_SECONDS = 0.1
_MOST_ENGINE_BYTES = 1 << 34


@dataclass(frozen=True)
class CachedEngine:
    """An engine ready to load.

    Attributes:
        spec: what it was built from; its profile may be wider than the requested one.
        data: the serialized engine.
        path: its file; None if it could not be stored.
        runtime_cache_path: file for the RTX flavour's compiled kernels; None if nothing can be stored.
        build_seconds: build time in seconds.
        fresh: whether it was built just now.
    """

    spec: EngineSpec
    data: bytes
    path: Path | None
    runtime_cache_path: Path | None
    build_seconds: float
    fresh: bool


@dataclass(frozen=True)
class Entry:
    """An engine file in the folder.

    Attributes:
        path: path of the engine.
        spec: spec from its sidecar; None if there is no readable one.
        size: size on disk in bytes, all files of its name together.
        used_at: time when it was last used or built, in seconds since the epoch.
        build_seconds: build time in seconds; None if unknown.
        problem: what is wrong with it; empty if it is intact.
    """

    path: Path
    spec: EngineSpec | None
    size: int
    used_at: float
    build_seconds: float | None
    problem: str


def default_folder() -> Path:
    """Return the folder set by RTDEBLUR_ENGINE_DIR, else `engines` in the user's cache."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser()
    return cache.folder() / "engines"


class EngineCache:
    """A folder of engines.

    Args:
        folder: created on first use, accessible only to its owner; None means `default_folder`.
        notice: called with one line for the user: a rebuild and its reason, a wait, an engine that cannot be
            stored.
        stopped: polled while another process builds; True ends the wait.
    """

    def __init__(
        self,
        folder: Path | None = None,
        notice: Callable[[str], None] = lambda _: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.folder = folder or default_folder()
        self._notice, self._stopped = notice, stopped

    def find(self, spec: EngineSpec) -> CachedEngine | None:
        """Return the engine of a spec, or another that serves it; None if there is no intact one."""
        try:
            self._check_folder()
            return self._find(spec)
        except EngineError as error:
            self._notice(str(error))
            return None

    def get_or_build(self, spec: EngineSpec, build: Callable[[], bytes]) -> CachedEngine:
        """Return the engine of a spec; build and store it if no intact one exists.

        If several processes need it, one builds and the others wait. If the folder is not writable, the
        engine is built but not stored.

        Args:
            spec: the wanted engine.
            build: returns the serialized engine; if it raises, nothing is stored.

        Raises:
            InterruptedRunError: the wait for another process was ended.
        """
        try:
            self._check_folder()
        except EngineError as error:
            self._notice(f"{error}; building without it")
            return self._built(spec, build, keep=False)
        try:
            if found := self._find(spec):
                return found
        except EngineError as error:
            self._notice(f"{error}; rebuilding it")
        with ExitStack() as stack:
            writable = self._lock(spec, stack)
            with suppress(EngineError):  # already reported
                if writable and (found := self._find(spec)):  # built by another process in the meantime
                    return found
            return self._built(spec, build, keep=writable)

    def load(self, spec: EngineSpec, build: Callable[[], bytes], load: Callable[[CachedEngine], T]) -> T:
        """Load the engine of a spec; if that fails, report it, discard the engine and rebuild it once.

        Args:
            spec: the wanted engine.
            build: returns the serialized engine.
            load: loads an engine, or raises EngineError.

        Raises:
            EngineError: a newly built engine does not load either.
        """
        found = self.get_or_build(spec, build)
        try:
            return load(found)
        except EngineError as error:
            if found.fresh:
                raise
            self._notice(f"the engine {found.path} does not load ({error}); rebuilding it")
        self.discard(found.spec)
        return load(self.get_or_build(spec, build))

    def discard(self, spec: EngineSpec) -> None:
        """Remove an engine and its other files, unless the folder belongs to another user."""
        with suppress(EngineError):
            self._check_folder()
            _remove(self.folder / f"{spec.stem}.engine")

    def entries(self, *, verify: bool = False) -> Iterator[Entry]:
        """List every engine in the folder, sorted by name.

        Args:
            verify: read every engine in full and check its checksum.
        """
        try:
            self._check_folder()
            refusal = ""
        except EngineError as error:
            refusal = str(error)
        for path in sorted(self.folder.glob("*.engine")):
            problem, spec, seconds = "", None, None
            try:
                sidecar = read_sidecar(path)
                spec, seconds = sidecar.spec, sidecar.build_seconds
                sidecar.check(path, files.read_own(path, _MOST_ENGINE_BYTES) if verify else None)
            except (EngineError, OSError) as error:
                if not os.path.lexists(path):  # removed by another process
                    continue
                problem = str(error)
            with suppress(FileNotFoundError):
                sizes = [os.lstat(file).st_size for file in _files(path) if os.path.lexists(file)]
                yield Entry(path, spec, sum(sizes), os.lstat(path).st_mtime, seconds, refusal or problem)

    def prune(
        self,
        *,
        stale: Callable[[EngineSpec], bool],
        unused_days: float | None = None,
        most_mib: float | None = None,
    ) -> list[Entry]:
        """Remove damaged and stale engines and remains of crashes; optionally, unused or excess ones.

        Args:
            stale: whether the engine of a spec is no longer useful here.
            unused_days: remove engines not used for this many days.
            most_mib: remove the least recently used until the rest fits in this many MiB.

        Returns:
            the removed engines.

        Raises:
            EngineError: the folder does not belong to the user.
        """
        self._check_folder()
        removed: list[Entry] = []
        kept: list[Entry] = []
        oldest = time.time() - unused_days * 86400 if unused_days is not None else 0.0
        for entry in self.entries(verify=True):
            useless = entry.problem or entry.spec is None or stale(entry.spec) or entry.used_at < oldest
            (removed if useless else kept).append(entry)
        kept.sort(key=lambda entry: entry.used_at)
        total = sum(entry.size for entry in kept)
        while kept and most_mib is not None and total > most_mib * 2**20:
            removed.append(kept.pop(0))
            total -= removed[-1].size
        for entry in removed:
            _remove(entry.path)
        for path in self.folder.glob(".*.part"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _ORPHAN_SECONDS:
                    path.unlink()
        return removed

    def _check_folder(self) -> None:
        """Raise EngineError if the folder exists and others could have put files into it."""
        try:
            files.check_folder(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            pass  # nothing to load; writing will report the reason
        except OSError as error:
            raise EngineError(
                f"engines in {str(self.folder)!r} are not used: {error.strerror}; "
                f"try --engine-dir, or set {FOLDER_VARIABLE}"
            ) from None

    def _built(self, spec: EngineSpec, build: Callable[[], bytes], *, keep: bool) -> CachedEngine:
        began = time.monotonic()
        data = build()
        seconds = time.monotonic() - began
        path = self._keep(spec, data, seconds) if keep else None
        return _cached(spec, data, path, seconds, fresh=True)

    def _find(self, spec: EngineSpec) -> CachedEngine | None:
        """Same as `find`, but raises EngineError if the spec's own engine is damaged."""
        own = self.folder / f"{spec.stem}.engine"
        served: list[tuple[bool, int, bool, Path]] = []
        for entry in self.entries():
            if entry.problem and entry.path == own:
                raise EngineError(entry.problem)
            if entry.spec and not entry.problem and entry.spec.serves(spec):
                # Prefer the most specific profile, the highest optimization level, and the spec's own engine.
                fits = entry.spec.profile == spec.profile
                served.append((fits, entry.spec.optimization_level or 0, entry.path == own, entry.path))
        for *_, path in sorted(served, reverse=True):
            with suppress(FileNotFoundError):
                return _read(path)
        return None

    def _lock(self, spec: EngineSpec, stack: ExitStack) -> bool:
        """Hold the lock of a spec; if the folder is not writable, report that and yield False."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.check_folder(self.folder)
            path = lock_file(self.folder / f"{spec.stem}.engine")
            stack.enter_context(hold(path, self._notice, self._stopped))
        except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
            self._cannot_keep(error)
            return False
        return True

    def _keep(self, spec: EngineSpec, data: bytes, seconds: float) -> Path | None:
        """Write an engine, then its sidecar, each atomically."""
        path = self.folder / f"{spec.stem}.engine"
        try:
            for left in (".runtime", ".parity"):
                path.with_suffix(left).unlink(missing_ok=True)
            files.write_whole(path, data)
            files.write_whole(path.with_suffix(".json"), sidecar_of(spec, data, seconds))
        except OSError as error:
            _remove(path)
            self._cannot_keep(error)
            return None
        return path

    def _cannot_keep(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error
        self._notice(
            f"engines cannot be stored in {str(self.folder)!r} ({reason}), so each run rebuilds them; "
            f"try --engine-dir, or set {FOLDER_VARIABLE}"
        )


def _read(path: Path) -> CachedEngine:
    """Read an engine; raise FileNotFoundError if it is missing, EngineError if it is damaged."""
    sidecar = read_sidecar(path)
    try:
        data = files.read_own(path, _MOST_ENGINE_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise EngineError(f"the engine {path} cannot be read: {error.strerror}") from None
    sidecar.check(path, data)
    with suppress(OSError):
        os.utime(path)  # marks it as used now
    return _cached(sidecar.spec, data, path, sidecar.build_seconds, fresh=False)


def _cached(spec: EngineSpec, data: bytes, path: Path | None, seconds: float, *, fresh: bool) -> CachedEngine:
    return CachedEngine(spec, data, path, path and path.with_suffix(".runtime"), seconds, fresh)


def _files(path: Path) -> tuple[Path, ...]:
    """Files of an engine; the sidecar first, since without it the engine is no longer used."""
    return *(path.with_suffix(s) for s in (".json", ".engine", ".runtime", ".parity")), lock_file(path)


def _remove(path: Path) -> None:
    for file in _files(path)[:-1]:  # a lock may be held, so keep its file
        with suppress(OSError):
            file.unlink(missing_ok=True)


def lock_file(path: Path) -> Path:
    """Path of the lock file of an engine."""
    return path.with_name(f".{path.stem}.lock")


def hold(
    path: Path, notice: Callable[[str], None], stopped: Callable[[], bool]
) -> AbstractContextManager[object]:
    """Hold a lock for the duration of the context.

    Args:
        path: the lock file.
        notice: called with a message if another process holds it.
        stopped: polled while waiting; True ends the wait.

    Raises:
        InterruptedRunError: the wait was ended.
        OSError: the file cannot be written.
        NotImplementedError: the file system has no locks.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    with suppress(Timeout):
        return lock.acquire(timeout=0)
    notice("another process is building this engine; waiting for it")
    while not stopped():
        with suppress(Timeout):
            return lock.acquire(timeout=_POLL_SECONDS)
    raise InterruptedRunError("interrupted while another process was building the engine")
