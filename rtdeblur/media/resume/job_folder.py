"""Hidden folder next to an output that keeps finished segments until the output is complete.

    .out.mp4.rtdeblur/
        lock              held by the process that writes out.mp4
        job.json          description of the job: the input, and every setting that affects the bytes
        00000250.segment  encoded frames from number 250 on (`rtdeblur.media.resume.segment_file`)
        committed         marks out.mp4 as complete, if only the cleanup is left

No separate list of segments can contradict them: each segment shows whether it is complete and which job it
belongs to. Only the owner has access to the folder (`rtdeblur.files`); other files in it are not touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rtdeblur import files
from rtdeblur.decode import Count, DecodeError, converted, from_json
from rtdeblur.errors import FinishedError, LockedError, OutputError, UsageError
from rtdeblur.ffmpeg.targets import destination, is_stream, sync_folder, unwritable
from rtdeblur.files import PrivateFolder
from rtdeblur.media.resume.segment_file import Segment, SegmentWriter, examine, glance
from rtdeblur.plurals import counted

_VERSION = 2
"""Version of the job description; raised when its fields change. Version 1 was the bare fields."""
_SAMPLE_BYTES = 1 << 20
# In characters, each of which may take four of the 255 bytes that file systems allow.
_LONGEST_NAME = 50
_OWN_NAME = re.compile(r"lock|job\.json|committed|\d{8,}(\.segment|(\.[0-9a-f]+)?\.part)")
_MOST_BYTES = 1 << 20
_LONGEST_DIFFERENCE = 400


def open_job(target: Path, source: Path, *, resume: bool, overwrite: bool) -> JobFolder | None:
    """Lock an output for this process.

    Args:
        target: the output.
        source: the input.
        resume: continue unfinished work.
        overwrite: discard unfinished work that is not to be resumed, and start over.

    Returns:
        The folder; None for pipes and numbered pictures, which cannot be resumed.

    Raises:
        UsageError: there is unfinished work, but neither `resume` nor `overwrite` is set; `resume` is set for
            a pipe or numbered pictures; another process is writing the output.
        FinishedError: there is nothing to resume, since the output is complete.
        OutputError: the folder cannot be created.
    """
    if is_stream(target) or not source.is_file():
        if resume:
            raise UsageError("a pipe cannot be resumed, nor numbered pictures; leave out --resume")
        return None
    if may_skip(target, source, resume=resume, overwrite=overwrite):
        if folder_of(target).exists():  # killed during cleanup
            JobFolder(target).discard()
        raise FinishedError.of(target)
    folder = JobFolder(target)
    if (done := folder.unfinished) and not (resume or overwrite):
        folder.close(keep=True)
        raise UsageError(
            f"unfinished work for {str(target)!r} exists ({counted(done, 'frame')} done); "
            "continue with --resume, or start over with -y"
        )
    return folder


class JobFolder:
    """The folder of an output, locked.

    Args:
        target: the output.

    Attributes:
        part: partial output file, next to the folder.
        warnings: one line per damaged item.

    Raises:
        LockedError: another process is writing the output.
        OutputError: the folder cannot be created.
    """

    def __init__(self, target: Path) -> None:
        self.warnings: list[str] = []
        self._name = str(target)
        target = destination(target)
        self._path = folder_of(target)
        self.part = target.with_name(f"{self._path.name}.part")
        self._digest: str | None = None
        self._closing = threading.Lock()
        self._left: int | None = None
        self._lock = FileLock(self._path / "lock", thread_local=False)  # it may be closed by another thread
        try:
            self._folder = PrivateFolder(self._path)
        except OSError as error:
            raise self._refusal(error) from error
        try:
            self._clear_lock()
            self._lock.acquire(timeout=0)
        except Timeout:
            self._folder.close()
            raise LockedError(
                f"output {self._name!r} is being written by another process; wait for it"
            ) from None
        except NotImplementedError:
            pass  # a file system without locks
        except OSError as error:
            self._folder.close()
            raise self._refusal(error) from error
        files.unfinished.add(self)

    def _clear_lock(self) -> None:
        """Remove anything but our lock at its path: some versions of filelock truncate a link's target."""
        with suppress(FileNotFoundError):
            facts = self._folder.stat("lock")
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
                self._folder.remove("lock")

    def _refusal(self, error: OSError) -> OutputError:
        if os.path.lexists(self._path):
            return OutputError(
                f"{str(self._path)!r} cannot hold the unfinished work for {self._name!r}: {error.strerror}; "
                "remove it, or write to another folder"
            )
        return unwritable(self._path.parent, error)

    @property
    def unfinished(self) -> int:
        """Return the number of frames that an earlier run claims to have finished."""
        return sum(glance(self._folder, name) for name in self._segments())

    def open(self, identity: Mapping[str, str], *, resume: bool, overwrite: bool) -> dict[int, Segment]:
        """Start the job, or continue it.

        Args:
            identity: description of everything that affects the bytes.
            resume: keep finished segments; else start over.
            overwrite: also start over if the folder belongs to a different job.

        Returns:
            The finished segments, by index of their first frame.

        Raises:
            UsageError: the unfinished work belongs to a different job.
        """
        job, digest = _Description(_VERSION, dict(identity)), key_of(identity)
        kept: dict[int, Segment] = {}
        if resume and self._segments():
            kept = self._examined(job, digest, overwrite)
        self._digest = digest
        self._remove_all_but("lock", *(segment.name for segment in kept.values()))
        self._folder.write("job.json", job.as_json(indent=1).encode())
        sync_folder(self._path.parent)
        return kept

    def new_segment(self, first: int) -> SegmentWriter:
        """Start a segment.

        Args:
            first: index of its first frame in the whole video.
        """
        assert self._digest is not None
        return SegmentWriter(self._folder, self._digest, first)

    def commit(self) -> None:
        """Mark the complete part file as about to become the output."""
        self._folder.write("committed", _mark(self.part).encode())

    def discard(self) -> None:
        """Remove the folder's files and release it; files that are not the job's stay."""
        for _ in range(2):  # another thread may just have created a segment
            self._remove_all_but("committed", "lock")  # remove these last
            self._remove_all_but("lock")
            self._folder.remove("lock")
            with suppress(OSError):  # other files are in it
                self._path.rmdir()
                break
        self._release()

    def close(self, *, keep: bool) -> int:
        """Release the folder; may be called twice, also by two threads: the second waits for the first.

        Args:
            keep: keep finished segments for another run; segments never opened stay in any case.

        Returns:
            Number of frames kept for another run.
        """
        with self._closing:
            if self._left is None:
                begun, done = self._digest is not None, self.unfinished
                if not done or (begun and not keep):
                    self.discard()
                    done = 0
                else:
                    self._release()
                self._left = done if begun else 0
            return self._left

    def abandon(self) -> None:
        """Release the folder, and remove it if no segment is finished: the process is about to end."""
        self.close(keep=True)

    def _release(self) -> None:
        files.unfinished.discard(self)
        self._lock.release()
        self._folder.close()

    def _segments(self) -> list[str]:
        return [name for name in self._folder.names() if name.endswith(".segment")]

    def _remove_all_but(self, *kept: str) -> None:
        for name in self._folder.names():
            if _OWN_NAME.fullmatch(name) and name not in kept:
                self._folder.remove(name)

    def _examined(self, job: _Description, digest: str, overwrite: bool) -> dict[int, Segment]:
        """Return the complete segments of this job."""
        names = self._segments()
        whole = [segment for name in names if (segment := examine(self._folder, name, digest)) is not None]
        damaged = len(names) - len(whole)
        before = self._description()
        if whole and before != job:
            damaged += 1  # the job's description, which its segments do not need
        elif before != job:
            difference, way_out = job.difference(before)
            what = f"unfinished work for {self._name!r} {difference}"
            if not overwrite:
                raise UsageError(f"{what}; {way_out}, or -y to start over")
            self.warnings.append(f"{what}: started over")
            return {}
        if damaged:
            self.warnings.append(
                f"{damaged} of {len(names) + 1} files of the unfinished work are damaged; "
                "their frames will be restored again"
            )
        return {segment.first: segment for segment in whole}

    def _description(self) -> _Description | None:
        """Return the job in the folder; None if its description is missing or damaged."""
        try:
            return _Description.parse(self._folder.read("job.json", _MOST_BYTES))
        except (OSError, DecodeError):
            return None


@dataclass(frozen=True, slots=True)
class _Description:
    """Identity of a job: everything that affects the output bytes.

    Attributes:
        version: version of the fields.
        fields: names and values.
    """

    version: int
    fields: Mapping[str, str]

    @classmethod
    def parse(cls, data: bytes) -> _Description:
        """Parse a description; for another version, only the version number.

        Raises:
            DecodeError: it is damaged.
        """
        facts = from_json(dict[str, Any], data)
        version = converted(Count, facts.get("version", 1))
        return cls(version, converted(dict[str, str], facts.get("fields")) if version == _VERSION else {})

    def as_json(self, indent: int | None = None) -> str:
        """Return canonical JSON: equal jobs have equal text."""
        return json.dumps({"version": self.version, "fields": self.fields}, sort_keys=True, indent=indent)

    def difference(self, other: _Description | None) -> tuple[str, str]:
        """Describe how another job differs (as the end of a sentence), and how to resume it."""
        if other is None:
            return "belongs to another job (unreadable)", "use the same options"
        if other.version != self.version:
            versions = f"it is in format {other.version}, expected {self.version}"
            return f"is from another version of rtdeblur ({versions})", "resume it with that version"
        names = sorted({*self.fields, *other.fields})
        pairs = [(name, other.fields.get(name), self.fields.get(name)) for name in names]
        changed = [(name, old, new) for name, old, new in pairs if old != new]
        found = ", ".join(f"{name} was {old}, is {new}" for name, old, new in changed)
        hint = "use the same options"
        if [name for name, *_ in changed] == ["precision"]:  # auto may have chosen another one
            hint = f"add --precision {changed[0][1]}"
        if len(found) > _LONGEST_DIFFERENCE:
            found = f"{found[:_LONGEST_DIFFERENCE]}…"
        return f"belongs to another job ({found})", hint


def key_of(identity: Mapping[str, str]) -> str:
    """Return the key of a job, which each of its segments states."""
    return hashlib.sha256(_Description(_VERSION, dict(identity)).as_json().encode()).hexdigest()


def folder_of(target: Path) -> Path:
    """Return the path of an output's folder."""
    target = destination(target)
    name = target.name
    if len(name) > _LONGEST_NAME:  # no room for a longer name
        name = f"{name[:40]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    return target.with_name(f".{name}.rtdeblur")


def may_skip(target: Path, source: Path, *, resume: bool, overwrite: bool) -> bool:
    """Whether a run may skip an output, because an earlier run has completed it.

    Args:
        target: the output.
        source: the input; an output that is the input itself is never skipped, but refused when it is opened.
        resume: whether the run continues an earlier one.
        overwrite: whether it replaces what is complete.
    """
    is_input = source.exists() and target.exists() and target.samefile(source)
    return resume and not overwrite and not is_input and _is_complete(target)


def _is_complete(target: Path) -> bool:
    """True if an output is complete and only the cleanup may have been interrupted."""
    folder = folder_of(target)
    if not target.is_file():
        return False
    try:
        return files.read_own(folder / "committed", _MOST_BYTES).decode(errors="replace") == _mark(target)
    except FileNotFoundError:
        return not any(folder.glob("*.segment"))
    except OSError:  # tampered with
        return False


def identity_of(path: Path) -> dict[str, str]:
    """Identify an input file without reading all of it."""
    facts = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(_SAMPLE_BYTES))
        file.seek(max(0, facts.st_size - _SAMPLE_BYTES))
        digest.update(file.read())
    return {
        "input size": str(facts.st_size),
        "input time": str(facts.st_mtime_ns),
        "input content": digest.hexdigest(),
    }


def _mark(path: Path) -> str:
    """Return properties of a file that survive a rename."""
    facts = path.stat()
    return f"{facts.st_ino} {facts.st_size} {facts.st_mtime_ns}"
