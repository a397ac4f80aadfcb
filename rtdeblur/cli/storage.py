"""Files for nodes that do not see the storage of a batch: their bytes travel through Ray, in chunks.

`Storage` is an actor on the driver's machine, the only one that touches the storage. `Errand` is a node's
side: it fetches an input and the finished segments of its job into a temporary folder, and sends back what a
task made there. Per task, one chunk is in flight.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from rtdeblur import files
from rtdeblur.errors import FinishedError, OutputError
from rtdeblur.files import PrivateFolder

if TYPE_CHECKING:
    from rtdeblur.cli.plan import Job

_CHUNK = 8 << 20
_ROOM = 3
"""Free space that a task needs, in sizes of its input: for the input, its segments and the output."""


class Storage:
    """Reads inputs and writes results: an actor of Ray, whose methods the nodes call.

    Args:
        overwrite: replace existing outputs.
    """

    def __init__(self, *, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._arriving: dict[str, _Segment | _Output] = {}

    def look(self, job: Job) -> tuple[int, int, dict[str, int]]:
        """Return size and modification time (ns) of an input, and the sizes of its job's files by name.

        Raises:
            FinishedError: the output is complete.
        """
        from rtdeblur.media.resume.job_folder import folder_of, may_skip

        if may_skip(job.output, job.input, resume=True, overwrite=self._overwrite):
            raise FinishedError.of(job.output)
        facts, found = job.input.stat(), folder_of(job.output)
        kept = [path for path in found.glob("*") if path.suffix in (".segment", ".json")]
        return facts.st_size, facts.st_mtime_ns, {path.name: path.stat().st_size for path in kept}

    def read(self, path: Path, begin: int) -> bytes:
        """Return a chunk of a file, from byte `begin` on."""
        with path.open("rb") as file:
            file.seek(begin)
            return file.read(_CHUNK)

    def begin(self, job: Job, segment: str | None) -> str:
        """Start to receive a segment, or the output; return a token for it."""
        for other, started in tuple(self._arriving.items()):  # its node died
            if isinstance(started, _Output) and segment is None and started.job.output == job.output:
                self._arriving.pop(other).abandon()
        token = secrets.token_hex(4)
        self._arriving[token] = _Segment(job, segment, token) if segment else _Output(job, self._overwrite)
        return token

    def write(self, token: str, data: bytes) -> None:
        """Append a chunk to what arrives.

        Raises:
            OutputError: the output is sent by another node, which took over the task.
            OSError: the disk is full.
        """
        if token not in self._arriving:
            raise OutputError("another node is sending the same output, because it took over this task")
        try:
            self._arriving[token].file.write(data)
        except OSError:
            self._arriving.pop(token).abandon()
            raise

    def end(self, token: str) -> None:
        """Flush it to disk and rename it into place; if that fails, remove it.

        Raises:
            OutputError: another program wrote the output meanwhile.
            OSError: the disk is full.
        """
        arrived = self._arriving.pop(token)
        try:
            arrived.commit()
        except BaseException:
            arrived.abandon()  # its lock, too: another node may try again
            raise

    def close(self) -> None:
        """Remove what has arrived only in part."""
        while self._arriving:
            self._arriving.popitem()[1].abandon()


class _Segment:
    """A segment being received; another process may be writing the same one, with the same bytes."""

    def __init__(self, job: Job, name: str, token: str) -> None:
        from rtdeblur.media.resume.job_folder import folder_of

        folder = folder_of(job.output)
        if not folder.exists():
            raise OutputError(f"the unfinished work for {str(job.output)!r} has gone; start again")
        self._folder, self._name = PrivateFolder(folder), name
        self._part = f"{Path(name).stem}.{token}.part"  # removed by the join, whatever happens
        self.file: BinaryIO = self._folder.create(self._part)

    def commit(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self._folder.rename(self._part, self._name)
        self._folder.sync()
        self._folder.close()

    def abandon(self) -> None:
        with suppress(OSError):  # flushing to a full disk
            self.file.close()
        self._folder.remove(self._part)
        self._folder.close()


class _Output:
    """An output being received, locked like one that is being restored."""

    def __init__(self, job: Job, overwrite: bool) -> None:
        from rtdeblur.ffmpeg.targets import PartFile
        from rtdeblur.media.resume.job_folder import JobFolder

        self.job = job
        job.output.parent.mkdir(parents=True, exist_ok=True)
        self._folder = JobFolder(job.output)
        try:
            self._part = PartFile(job.output, source=job.input, overwrite=overwrite, part=self._folder.part)
            self.file: BinaryIO = self._part.path.open("wb")
        except BaseException:
            self._folder.close(keep=True)
            raise

    def commit(self) -> None:
        self.file.close()
        self._part.commit()
        self._folder.discard()

    def abandon(self) -> None:
        with suppress(OSError):  # flushing to a full disk
            self.file.close()
        self._part.abandon()
        self._folder.close(keep=True)


@dataclass(frozen=True)
class Relay:
    """Access to the storage for nodes that do not see it.

    Attributes:
        storage: Ray's handle of a `Storage`.
        nodes: Ray's IDs of those nodes.
    """

    storage: Any
    nodes: frozenset[str]


class NoRoomError(Exception):
    """A node has too little space for a task."""


class Errand:
    """A job of another machine's storage, in this process's folder.

    Args:
        storage: Ray's handle of the `Storage`.
        job: the job, with paths on its storage.

    Attributes:
        here: the job with paths here.
    """

    def __init__(self, storage: Any, job: Job) -> None:
        self._storage, self._job, self._root = storage, job, _folder()
        self._kept: set[str] = set()
        self.here = replace(
            job, input=_below(self._root / "in", job.input), output=_below(self._root / "out", job.output)
        )

    def fetch(self, wanted: Callable[[str], bool]) -> None:
        """Fetch the input, unless it is here, and the wanted files of the job's folder.

        Raises:
            FinishedError: the output is complete.
            NoRoomError: there is too little space.
        """
        from rtdeblur.media.resume.job_folder import folder_of

        there, here = self._job, self.here
        size, when, kept = self._ask("look", there)
        if not self._is_here(size, when):
            shutil.rmtree(self._root / "in", ignore_errors=True)  # the previous input
            if (free := shutil.disk_usage(self._root).free) < _ROOM * size:
                raise NoRoomError(
                    f"{str(self._root.parent)!r} has {free >> 20} MiB of free space there, "
                    f"{there.input.name} needs {_ROOM * size >> 20}; set TMPDIR on that node"
                )
            self._fetch(there.input, here.input, size)
            os.utime(here.input, ns=(when, when))  # last: until then, it is incomplete
        here.output.parent.mkdir(parents=True, exist_ok=True)
        PrivateFolder(folder_of(here.output)).close()
        self._kept = {name for name in kept if wanted(name)}
        for name in self._kept:
            self._fetch(folder_of(there.output) / name, folder_of(here.output) / name, kept[name])

    def text(self, text: str) -> str:
        """Return a message with the storage's paths instead of those here."""
        return text.replace(str(self._root / "in"), "").replace(str(self._root / "out"), "")

    def send(self) -> None:
        """Send the output, or else the new segments."""
        from rtdeblur.media.resume.job_folder import folder_of

        if self.here.output.is_file():
            self._send(self.here.output, None)
            return
        for path in sorted(folder_of(self.here.output).glob("*.segment")):
            if path.name not in self._kept:
                self._send(path, path.name)

    def close(self) -> None:
        """Remove everything but the input, which the next task may need again."""
        shutil.rmtree(self._root / "out", ignore_errors=True)

    def _is_here(self, size: int, when: int) -> bool:
        with suppress(OSError):
            facts = self.here.input.stat()
            return (facts.st_size, facts.st_mtime_ns) == (size, when)
        return False

    def _fetch(self, there: Path, here: Path, size: int) -> None:
        here.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(files.create(here, mode=0o600), "wb") as file:
            while file.tell() < size:
                chunk = self._ask("read", there, file.tell())
                if not chunk:
                    raise OSError(
                        f"{str(there)!r} shrank while it was sent; try again when nothing writes to it"
                    )
                file.write(chunk)

    def _send(self, path: Path, segment: str | None) -> None:
        token = self._ask("begin", self._job, segment)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                self._ask("write", token, chunk)
        self._ask("end", token)

    def _ask(self, method: str, *arguments: Any) -> Any:
        import ray
        from ray.exceptions import RayTaskError

        def ask() -> Any:
            return ray.get(getattr(self._storage, method).remote(*arguments))

        # A task whose main thread waits for Ray releases its cores, and Ray would start another one on them.
        with ThreadPoolExecutor(1) as pool:
            try:
                return pool.submit(ask).result()
            except RayTaskError as error:
                raise error.cause from None


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to(path.anchor)


_own: Path | None = None


def _folder() -> Path:
    """Return the folder of this process, which is removed when it ends, even if it is killed."""
    global _own
    if _own is None:
        _own = Path(tempfile.mkdtemp(prefix="rtdeblur-node-"))
        reader, _ = os.pipe()  # the other end stays open
        # The pipe ends with this process. Not our child, since Ray kills those. It reads from descriptor 3,
        # because in the background its standard input is /dev/null.
        script = 'exec 3<&0; { cat <&3; rm -rf -- "$1"; } >/dev/null 2>&1 &'
        subprocess.run(["sh", "-c", script, "sh", _own], stdin=reader, check=True, start_new_session=True)
        os.close(reader)
    return _own
