"""The hidden folder beside an output that keeps finished segments until the output is whole.

    .out.mp4.rtdeblur/
        lock              held by the process that writes out.mp4
        job.json          what the job is: the input, and every setting that changes bytes
        00000250.segment  encoded frames from the 250th on (`rtdeblur.media.resume.segment_file`)
        committed         tells that out.mp4 is this job's, should only the cleaning be left

There is no list of the segments that could contradict them: each tells by itself whether it is whole, and
whose it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from rtdeblur.errors import FinishedError, OutputError, UsageError
from rtdeblur.ffmpeg.targets import is_stream, sync_folder
from rtdeblur.media.resume.segment_file import Segment, SegmentWriter, examine, glance

_VERSION = 2
"""Of a job's description; raised when its fields are made in another way. Version 1 was the bare fields."""
_SAMPLE_BYTES = 1 << 20
# In characters, of which some take four of the 255 bytes that file systems allow.
_LONGEST_NAME = 50


def open_job(target: Path, source: Path, *, resume: bool, overwrite: bool) -> JobFolder | None:
    """Lock an output for this process.

    Args:
        target: the output.
        source: the input.
        resume: go on with unfinished work.
        overwrite: start over where it should not be gone on with.

    Returns:
        The folder; None for pipes, where nothing can be kept.

    Raises:
        UsageError: there is unfinished work, and it is not said what to do with it; a pipe should be resumed;
            another process is writing the output.
        FinishedError: there is nothing to resume, since the output is whole.
        OutputError: the folder cannot be made.
    """
    if is_stream(target) or not source.is_file():
        if resume:
            raise UsageError("only work from a file to a file can be resumed; leave out --resume")
        return None
    if resume and not overwrite and _was_committed(target) and not target.samefile(source):
        if folder_of(target).is_dir():  # killed while it cleaned
            JobFolder(target).discard()
        raise FinishedError(f"output {str(target)!r} is there, with nothing to resume")
    folder = JobFolder(target)
    if (done := folder.unfinished) and not (resume or overwrite):
        folder.close(keep=True)
        raise UsageError(
            f"unfinished work for {str(target)!r} is kept ({done} frames done); "
            "--resume continues it, -y starts over"
        )
    return folder


class JobFolder:
    """The folder of one output, locked.

    Args:
        target: the output.

    Attributes:
        part: where the output grows, beside the folder.
        warnings: one line for each thing that was found damaged.

    Raises:
        UsageError: another process is writing the output.
        OutputError: the folder cannot be made.
    """

    def __init__(self, target: Path) -> None:
        self.warnings: list[str] = []
        self._name = str(target)
        target = target.resolve()
        self._path = folder_of(target)
        self.part = target.with_name(f"{self._path.name}.part")
        self._digest: str | None = None
        self._lock = FileLock(self._path / "lock", thread_local=False)  # another thread may close
        try:
            self._path.mkdir(exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"output {self._name!r} is being written by another process; wait for it"
            ) from None
        except NotImplementedError:
            pass  # a file system without locks
        except OSError as error:
            raise OutputError(
                f"cannot write into folder {str(target.parent)!r}: {error.strerror}; try another folder"
            ) from error

    @property
    def unfinished(self) -> int:
        """How many frames an earlier run says that it finished."""
        return sum(map(glance, self._path.glob("*.segment")))

    def open(self, identity: Mapping[str, str], *, resume: bool, overwrite: bool) -> dict[int, Segment]:
        """Begin the job, or go on with it.

        Args:
            identity: what makes the bytes what they are.
            resume: keep what is finished; else start over.
            overwrite: also start over where another job was begun.

        Returns:
            The finished segments, by the index of their first frame.

        Raises:
            UsageError: what is there is of another job.
        """
        job = _Description(_VERSION, dict(identity))
        digest = hashlib.sha256(job.as_json().encode()).hexdigest()
        kept: dict[int, Segment] = {}
        if resume and any(self._path.glob("*.segment")):
            kept = self._examined(job, digest, overwrite)
        self._digest = digest
        for path in self._path.iterdir():
            if path.name != "lock" and not any(path == segment.path for segment in kept.values()):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self._path / "job.json").write_text(job.as_json(indent=1))
        sync_folder(self._path.parent)
        return kept

    def new_segment(self, first: int) -> SegmentWriter:
        """Begin a segment.

        Args:
            first: index of its first frame in the whole video.
        """
        assert self._digest is not None
        return SegmentWriter(self._path / f"{first:08d}.segment", self._digest, first)

    def commit(self) -> None:
        """Note that the part file, which is whole, is about to become the output."""
        (self._path / "committed").write_text(_mark(self.part))

    def discard(self) -> None:
        """Remove the folder with all that it keeps, and let go of it."""
        _remove(self._path)
        self._lock.release()

    def close(self, *, keep: bool) -> int:
        """Let go of the folder.

        Args:
            keep: leave finished segments for another run; what was never opened stays in any case.

        Returns:
            How many frames this run leaves for another.
        """
        begun, self._digest = self._digest is not None, None
        done = self.unfinished
        if not done or (begun and not keep):
            self.discard()
            return 0
        self._lock.release()
        return done if begun else 0

    def _examined(self, job: _Description, digest: str, overwrite: bool) -> dict[int, Segment]:
        """The segments that are whole and of this job."""
        paths = sorted(self._path.glob("*.segment"))
        whole = [segment for path in paths if (segment := examine(path, digest)) is not None]
        damaged = len(paths) - len(whole)
        before = _Description.read(self._path / "job.json")
        if whole and before != job:
            damaged += 1  # the description of the job, which its segments do without
        elif before != job:
            difference, way_out = job.difference(before)
            what = f"unfinished work for {self._name!r} {difference}"
            if not overwrite:
                raise UsageError(f"{what}; {way_out}, or -y to start over")
            self.warnings.append(f"{what}: started over")
            return {}
        if damaged:
            self.warnings.append(
                f"{damaged} of {len(paths) + 1} files of the unfinished work are damaged; "
                "what they held is done again"
            )
        return {segment.first: segment for segment in whole}


@dataclass(frozen=True, slots=True)
class _Description:
    """What makes the bytes of a job what they are.

    Attributes:
        version: of the fields' meaning.
        fields: names and values.
    """

    version: int
    fields: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> _Description | None:
        """Read the description in a file; None if it is missing or damaged."""
        try:
            facts = json.loads(path.read_text())
            if "version" not in facts:
                return cls(1, dict(facts))
            return cls(int(facts["version"]), dict(facts["fields"]))
        except (OSError, ValueError, TypeError, LookupError):
            return None

    def as_json(self, indent: int | None = None) -> str:
        """The same text for the same job."""
        return json.dumps({"version": self.version, "fields": self.fields}, sort_keys=True, indent=indent)

    def difference(self, other: _Description | None) -> tuple[str, str]:
        """How another job differs, as the end of a sentence about its work, and what would resume it."""
        if other is None:
            return "is of another job (unreadable)", "use the same options"
        if other.version != self.version:
            versions = f"it is in format {other.version}, expected {self.version}"
            return f"is of another version of rtdeblur ({versions})", "resume it with that version"
        names = sorted({*self.fields, *other.fields})
        pairs = ((name, other.fields.get(name), self.fields.get(name)) for name in names)
        found = ", ".join(f"{name} was {old}, is {new}" for name, old, new in pairs if old != new)
        return f"is of another job ({found})", "use the same options"


def folder_of(target: Path) -> Path:
    """Where the segments of an output are kept."""
    target = target.resolve()
    name = target.name
    if len(name) > _LONGEST_NAME:  # no room for more
        name = f"{name[:40]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    return target.with_name(f".{name}.rtdeblur")


def _was_committed(target: Path) -> bool:
    """True where an output is whole, and at most the cleaning was cut off."""
    folder = folder_of(target)
    if not target.is_file():
        return False
    try:
        return (folder / "committed").read_text() == _mark(target)
    except FileNotFoundError:
        return not any(folder.glob("*.segment"))


def identity_of(path: Path) -> dict[str, str]:
    """What tells an input file from others, without reading all of it."""
    stat = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(_SAMPLE_BYTES))
        file.seek(max(0, stat.st_size - _SAMPLE_BYTES))
        digest.update(file.read())
    return {
        "input size": str(stat.st_size),
        "input time": str(stat.st_mtime_ns),
        "input content": digest.hexdigest(),
    }


def _mark(path: Path) -> str:
    """What a file keeps when it is renamed."""
    stat = path.stat()
    return f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"


def _remove(folder: Path) -> None:
    """Remove the folder and what is in it, the mark of completion and the lock last."""
    last = ("committed", "lock")
    for path in sorted(folder.iterdir(), key=lambda path: (path.name in last, path.name)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder.rmdir()
