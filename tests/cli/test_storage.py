"""Files for nodes that do not see the storage: what travels, and what is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rtdeblur.cli import node_tasks, storage
from rtdeblur.cli.node_tasks import Differs
from rtdeblur.cli.plan import Job
from rtdeblur.cli.storage import Errand, NoRoomError, Relay, Storage
from rtdeblur.errors import FinishedError, LockedError, OutputError
from rtdeblur.media.resume.job_folder import JobFolder, folder_of

pytestmark = pytest.mark.needs_posix


@pytest.fixture
def job(tmp_path: Path) -> Job:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    (source / "clip.mp4").write_bytes(bytes(range(250)) * 4)
    return Job(source / "clip.mp4", target / "clip.mp4")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """Let errands call a storage without Ray, in small chunks; yield the names of the methods called."""
    calls: list[str] = []

    def ask(self: Any, method: str, *arguments: Any) -> Any:
        calls.append(method)
        return getattr(self._storage, method)(*arguments)

    monkeypatch.setattr(Errand, "_ask", ask)
    monkeypatch.setattr(storage, "_CHUNK", 300)
    node = tmp_path / "node"
    node.mkdir()
    monkeypatch.setattr(storage, "_own", node)
    yield calls
    shutil.rmtree(node)


def everything(name: str) -> bool:
    return True


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_an_output_travels_in_chunks_and_replaces_the_work(job: Job, asked: list[str]) -> None:
    errand = Errand(Storage(overwrite=False), job)
    errand.fetch(everything)
    assert errand.here.input.read_bytes() == job.input.read_bytes()
    assert errand.here.input.stat().st_mtime_ns == job.input.stat().st_mtime_ns
    errand.here.output.write_bytes(b"restored" * 100)
    errand.send()
    errand.close()
    assert job.output.read_bytes() == b"restored" * 100
    assert (asked.count("read"), asked.count("write")) == (4, 3)
    assert names(job.output.parent) == ["clip.mp4"]
    assert not errand.here.output.exists()


def test_segments_travel_both_ways(job: Job, asked: list[str]) -> None:
    there = folder_of(job.output)
    there.mkdir(mode=0o700)
    for name in ("00000000.segment", "00000010.segment"):
        (there / name).write_bytes(name.encode() * 50)
        (there / name).chmod(0o600)
    errand = Errand(Storage(overwrite=False), job)
    errand.fetch({"00000010.segment"}.__contains__)
    here = folder_of(errand.here.output)
    assert names(here) == ["00000010.segment"]
    (here / "00000020.segment").write_bytes(b"new")
    asked.clear()
    errand.send()
    assert asked == ["begin", "write", "end"]  # only the new one
    assert (there / "00000020.segment").read_bytes() == b"new"
    assert names(there) == ["00000000.segment", "00000010.segment", "00000020.segment"]


def test_an_input_is_fetched_once_unless_it_changes(job: Job, asked: list[str]) -> None:
    def reads() -> int:
        asked.clear()
        errand = Errand(Storage(overwrite=False), job)
        errand.fetch(everything)
        assert errand.here.input.read_bytes() == job.input.read_bytes()
        errand.close()
        return asked.count("read")

    assert [reads(), reads()] == [4, 0]
    job.input.write_bytes(b"other" * 200)
    os.utime(job.input, ns=(0, 10**18))
    assert reads() == 4


def test_without_space_the_task_is_refused(
    job: Job, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9999, 8000, 1999))
    with pytest.raises(NoRoomError, match=r"has 0 MiB of free space.*clip\.mp4"):
        Errand(Storage(overwrite=False), job).fetch(everything)
    assert "read" not in asked


def test_messages_have_the_paths_of_the_storage(job: Job, asked: list[str]) -> None:
    errand = Errand(Storage(overwrite=False), job)
    assert errand.text(f"cannot read {errand.here.input}, write {errand.here.output}") == (
        f"cannot read {job.input}, write {job.output}"
    )


def test_a_finished_output_is_not_made_again(job: Job, asked: list[str]) -> None:
    job.output.write_bytes(b"finished")
    with pytest.raises(FinishedError):
        Errand(Storage(overwrite=False), job).fetch(everything)
    errand = Errand(Storage(overwrite=True), job)
    errand.fetch(everything)
    errand.here.output.write_bytes(b"again")
    errand.send()
    assert job.output.read_bytes() == b"again"


def test_an_output_that_cannot_be_placed_is_released(job: Job) -> None:
    there = Storage(overwrite=False)
    token = there.begin(job, None)
    there.write(token, b"restored")
    job.output.write_bytes(b"by another program")
    with pytest.raises(OutputError, match="another program wrote it meanwhile"):
        there.end(token)
    job.output.unlink()
    token = there.begin(job, None)
    there.write(token, b"restored")
    there.end(token)
    assert job.output.read_bytes() == b"restored"
    assert names(job.output.parent) == ["clip.mp4"]


def test_an_output_that_is_the_input_does_not_count_as_finished(job: Job) -> None:
    size, _, kept = Storage(overwrite=False).look(replace(job, output=job.input))
    assert (size, kept) == (job.input.stat().st_size, {})


def test_an_output_of_a_node_that_died_is_started_again(job: Job) -> None:
    held = Storage(overwrite=False)
    first = held.begin(job, None)
    held.write(first, b"half")
    second = held.begin(job, None)
    with pytest.raises(OutputError, match="another node"):
        held.write(first, b"late")
    held.write(second, b"whole")
    held.end(second)
    assert job.output.read_bytes() == b"whole"
    assert names(job.output.parent) == ["clip.mp4"]


def test_what_arrived_in_part_is_removed(job: Job) -> None:
    held = Storage(overwrite=False)
    held.write(held.begin(job, None), b"half")
    assert names(job.output.parent) != []
    held.close()
    assert names(job.output.parent) == []
    folder_of(job.output).mkdir(mode=0o700)
    held.write(held.begin(job, "00000000.segment"), b"half")
    held.close()
    assert names(folder_of(job.output)) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_nothing(job: Job) -> None:
    held = Storage(overwrite=False)
    token = held.begin(job, None)
    with Path("/dev/full").open("wb", buffering=0) as full:
        held._arriving[token].file.close()
        held._arriving[token].file = full
        with pytest.raises(OSError, match="No space left"):
            held.write(token, b"data")
    assert names(job.output.parent) == []


def test_an_output_that_another_process_writes_is_refused(job: Job) -> None:
    other = JobFolder(job.output)
    with pytest.raises(LockedError):
        Storage(overwrite=False).begin(job, None)
    other.close(keep=False)


def test_a_segment_of_a_job_that_has_gone_is_refused(job: Job) -> None:
    with pytest.raises(OutputError, match="has gone"):
        Storage(overwrite=False).begin(job, "00000000.segment")
    assert names(job.output.parent) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_node_leaves_no_files(number: signal.Signals) -> None:
    code = (
        "from rtdeblur.cli.storage import _folder\nimport time\nplace = _folder()\n"
        "(place / 'file').write_text('x')\nprint(place, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        place = Path(process.stdout.readline().strip())
        time.sleep(1)
        assert (place / "file").exists()
        process.send_signal(number)
    deadline = time.monotonic() + 20
    while place.exists():
        assert time.monotonic() < deadline, "the folder is left"
        time.sleep(0.05)


class FakeRestorer:
    """Copies an input; its node's fingerprint is {}."""

    def fingerprint(self) -> dict[str, str]:
        return {}

    def restore(self, job: Job) -> str:
        shutil.copyfile(job.input, job.output)
        return "restored"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process a worker of the node `here`."""
    monkeypatch.setattr(node_tasks, "_restorer_of", lambda request: FakeRestorer())
    context = SimpleNamespace(get_node_id=lambda: "here")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get_runtime_context=lambda: context))


def restored(relay: Relay | None, job: Job) -> Any:
    request: Any = None
    return node_tasks.restore(request, {}, relay, job)


@pytest.mark.parametrize(("names", "reads"), [(frozenset({"here"}), 4), (frozenset({"there"}), 0)])
def test_only_nodes_that_do_not_see_the_storage_are_sent_files(
    node: None, job: Job, asked: list[str], names: frozenset[str], reads: int
) -> None:
    assert restored(Relay(Storage(overwrite=False), names), job) == "restored"
    assert job.output.read_bytes() == job.input.read_bytes()
    assert asked.count("read") == reads


def test_a_node_that_joins_later_without_the_storage_is_left_out(node: None, tmp_path: Path) -> None:
    job = Job(tmp_path / "unmounted" / "clip.mp4", tmp_path / "out" / "clip.mp4")
    assert restored(None, job) == Differs("here", f"it does not see {str(tmp_path / 'unmounted')!r}")
    assert names(tmp_path) == []


def test_a_node_without_room_is_left_out(
    node: None, job: Job, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9999, 8000, 1999))
    answer = restored(Relay(Storage(overwrite=False), frozenset({"here"})), job)
    assert isinstance(answer, Differs)
    assert "of free space" in answer.difference
