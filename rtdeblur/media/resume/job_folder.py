"""The hidden folder beside an output that keeps finished segments until the output is whole.

    .out.mp4.rtdeblur/
        lock              held by the process that writes out.mp4
        job.json          what the job is: the input, and every setting that changes bytes
        00000250.segment  encoded frames from the 250th on (`rtdeblur.media.resume.segment_file`)
        committed         marks out.mp4 as this job's, if only the cleaning is left

There is no list of the segments that could contradict them: each shows by itself whether it is whole, and
whose it is. The folder is for its owner only (`rtdeblur.files`); other names in it are not touched.
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
from rtdeblur.errors import FinishedError, OutputError, UsageError
from rtdeblur.ffmpeg.targets import destination, is_stream, sync_folder
from rtdeblur.files import PrivateFolder
from rtdeblur.media.resume.segment_file import Segment, SegmentWriter, examine, glance

_VERSION = 2
"""Of a job's description; raised when its fields are made in another way. Version 1 was the bare fields."""
_SAMPLE_BYTES = 1 << 20
# In characters, of which some take four of the 255 bytes that file systems allow.
_LONGEST_NAME = 50
_OWN_NAME = re.compile(r"lock|job\.json|committed|\d{8,}\.(segment|part)")
_MOST_BYTES = 1 << 20
_LONGEST_DIFFERENCE = 400


def open_job(target: Path, source: Path, *, resume: bool, overwrite: bool) -> JobFolder | None:
    """Lock an output for this process.

    Args:
        target: the output.
        source: the input.
        resume: continue unfinished work.
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
        if folder_of(target).exists():  # killed while it cleaned
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
        target = destination(target)
        self._path = folder_of(target)
        self.part = target.with_name(f"{self._path.name}.part")
        self._digest: str | None = None
        self._closing = threading.Lock()
        self._left: int | None = None
        self._lock = FileLock(self._path / "lock", thread_local=False)  # another thread may close
        try:
            self._folder = PrivateFolder(self._path)
        except OSError as error:
            raise self._refusal(error) from error
        try:
            self._clear_lock()
            self._lock.acquire(timeout=0)
        except Timeout:
            self._folder.close()
            raise UsageError(
                f"output {self._name!r} is being written by another process; wait for it"
            ) from None
        except NotImplementedError:
            pass  # a file system without locks
        except OSError as error:
            self._folder.close()
            raise self._refusal(error) from error
        files.unfinished.add(self)

    def _clear_lock(self) -> None:
        """Remove what is no lock of ours: some releases of filelock empty what its name leads to."""
        with suppress(FileNotFoundError):
            facts = self._folder.stat("lock")
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
                self._folder.remove("lock")

    def _refusal(self, error: OSError) -> OutputError:
        if os.path.lexists(self._path):
            return OutputError(
                f"{str(self._path)!r} cannot keep the work on {self._name!r}: {error.strerror}; "
                "remove it, or write to another folder"
            )
        return OutputError(
            f"cannot write into folder {str(self._path.parent)!r}: {error.strerror}; try another folder"
        )

    @property
    def unfinished(self) -> int:
        """How many frames an earlier run says that it finished."""
        return sum(glance(self._folder, name) for name in self._segments())

    def open(self, identity: Mapping[str, str], *, resume: bool, overwrite: bool) -> dict[int, Segment]:
        """Begin the job, or continue it.

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
        if resume and self._segments():
            kept = self._examined(job, digest, overwrite)
        self._digest = digest
        self._remove_all_but("lock", *(segment.name for segment in kept.values()))
        self._folder.write("job.json", job.as_json(indent=1).encode())
        sync_folder(self._path.parent)
        return kept

    def new_segment(self, first: int) -> SegmentWriter:
        """Begin a segment.

        Args:
            first: index of its first frame in the whole video.
        """
        assert self._digest is not None
        return SegmentWriter(self._folder, self._digest, first)

    def commit(self) -> None:
        """Note that the part file, which is whole, is about to become the output."""
        self._folder.write("committed", _mark(self.part).encode())

    def discard(self) -> None:
        """Remove the folder with all that it keeps, and let go of it; what is not the job's stays."""
        for _ in range(2):  # another thread may just have begun a segment
            self._remove_all_but("committed", "lock")  # these last
            self._remove_all_but("lock")
            self._folder.remove("lock")
            with suppress(OSError):  # something else is in it
                self._path.rmdir()
                break
        self._release()

    def close(self, *, keep: bool) -> int:
        """Let go of the folder; may be called twice, and from two threads: the second waits for the first.

        Args:
            keep: leave finished segments for another run; what was never opened stays in any case.

        Returns:
            How many frames this run leaves for another.
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
        """Let go of the folder, and remove it if nothing in it is finished: the process is about to end."""
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
        """The segments that are whole and of this job."""
        names = self._segments()
        whole = [segment for name in names if (segment := examine(self._folder, name, digest)) is not None]
        damaged = len(names) - len(whole)
        before = self._description()
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
                f"{damaged} of {len(names) + 1} files of the unfinished work are damaged; "
                "what they held is done again"
            )
        return {segment.first: segment for segment in whole}

    def _description(self) -> _Description | None:
        """The job in the folder; None if its description is missing or damaged."""
        try:
            return _Description.parse(self._folder.read("job.json", _MOST_BYTES))
        except (OSError, DecodeError):
            return None


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
    def parse(cls, data: bytes) -> _Description:
        """Read the JSON of a description; of another version, only which one it is.

        Raises:
            DecodeError: it is damaged.
        """
        facts = from_json(dict[str, Any], data)
        version = converted(Count, facts.get("version", 1))
        return cls(version, converted(dict[str, str], facts.get("fields")) if version == _VERSION else {})

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
        if len(found) > _LONGEST_DIFFERENCE:
            found = f"{found[:_LONGEST_DIFFERENCE]}…"
        return f"is of another job ({found})", "use the same options"


def folder_of(target: Path) -> Path:
    """Where the segments of an output are kept."""
    target = destination(target)
    name = target.name
    if len(name) > _LONGEST_NAME:  # no room for more
        name = f"{name[:40]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    return target.with_name(f".{name}.rtdeblur")


def _was_committed(target: Path) -> bool:
    """True if an output is whole, and at most the cleaning was interrupted."""
    folder = folder_of(target)
    if not target.is_file():
        return False
    try:
        return files.read_own(folder / "committed", _MOST_BYTES).decode(errors="replace") == _mark(target)
    except FileNotFoundError:
        return not any(folder.glob("*.segment"))
    except OSError:  # planted
        return False


def identity_of(path: Path) -> dict[str, str]:
    """What tells an input file from others, without reading all of it."""
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
    """What a file keeps when it is renamed."""
    facts = path.stat()
    return f"{facts.st_ino} {facts.st_size} {facts.st_mtime_ns}"
