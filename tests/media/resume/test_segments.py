"""Segments survive a run independently; damaged ones are detected and redone."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from disk import small_disk

from rtdeblur.errors import FinishedError, OutputError, UsageError
from rtdeblur.files import PrivateFolder
from rtdeblur.frames import FrameBatch
from rtdeblur.media import resume
from rtdeblur.media.reader import FileReader
from rtdeblur.media.resume import segment_frames
from rtdeblur.media.resume.job_folder import JobFolder, folder_of
from rtdeblur.media.resume.segment_file import SegmentWriter
from rtdeblur.media.writer import FileWriter

MakeClip = Callable[..., Path]
FRAMES = 110
SETTINGS = {"model": "identity"}


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "_FRAMES", 25)
    monkeypatch.setattr(resume, "_FEWEST_FRAMES", 25)


@pytest.fixture
def clip(make_clip: MakeClip) -> Path:
    return make_clip(".mp4", "-preset", "medium", frames=FRAMES)


def rewrite(
    source: Path, target: Path, *, stop: int | None = None, **options: object
) -> tuple[int, list[str]]:
    """Write a file, or only its first frames; return the frames done before, and warnings."""
    reader = FileReader(source)
    writer = FileWriter(reader, target, **{"resume": True, **options})
    try:
        done = writer.begin(SETTINGS)
        for index, frame in enumerate(reader):
            if index == stop:
                break
            writer.write(FrameBatch.stack([frame]))
        else:
            writer.commit()
    finally:
        writer.close()
        reader.close()
    return done, writer.warnings


def kept(target: Path) -> list[Path]:
    return sorted(target.with_name(f".{target.name}.rtdeblur").glob("*.segment"))


@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        ("mp4", "libx264"),
        ("mkv", "libx265"),
        ("mkv", "ffv1"),
        ("mov", "prores_ks"),
        ("webm", "libvpx-vp9"),
        ("webm", "libsvtav1"),
        ("avi", "mpeg4"),
        ("ts", "libx264"),
        ("mpg", "mpeg2video"),
    ],
)
def test_a_resumed_run_gives_the_same_bytes(clip: Path, tmp_path: Path, ending: str, codec: str) -> None:
    whole, target = tmp_path / f"whole.{ending}", tmp_path / f"out.{ending}"
    rewrite(clip, whole, codec=codec)
    rewrite(clip, target, codec=codec, stop=60)
    assert [path.stem for path in kept(target)] == ["00000000", "00000025"]
    assert rewrite(clip, target, codec=codec)[0] == 50
    assert target.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"out.{ending}", f"whole.{ending}"]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "ffv1"])
def test_segments_have_the_same_timestamps_as_one_go(clip: Path, tmp_path: Path, codec: str) -> None:
    rewrite(clip, tmp_path / "segments.mkv", codec=codec)
    rewrite(clip, tmp_path / "whole.mkv", codec=codec, resume=None)
    times = []
    for name in ("segments.mkv", "whole.mkv"):
        with av.open(str(tmp_path / name)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
        decoded = [p.dts for p in packets if p.dts is not None]
        assert decoded == sorted(set(decoded))
        times.append((sorted(p.pts for p in packets if p.pts is not None), len(packets)))
    assert times[0] == times[1]


def test_pictures_of_finished_frames_are_not_read(clip: Path, tmp_path: Path) -> None:
    rewrite(clip, tmp_path / "whole.mp4")
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    with FileReader(clip) as reader, FileWriter(reader, target, resume=True) as writer:
        writer.begin(SETTINGS)
        assert [index for index in range(FRAMES) if not writer.needs(index)] == list(range(50))
        for index, frame in enumerate(reader):
            batch = FrameBatch.stack([frame])
            if not writer.needs(index):
                for plane in batch.planes:
                    plane[...] = 77
            writer.write(batch)
        writer.commit()
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_only_the_damaged_segment_is_redone(
    clip: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    rewrite(clip, tmp_path / "whole.mp4")
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=105)
    damage(kept(target)[1])
    done, warnings = rewrite(clip, target)
    assert done == 75
    seen = [] if damage is Path.unlink else ["1 of 5 files of the unfinished work are damaged"]
    assert [warning.partition(";")[0] for warning in warnings] == seen
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_complete_damage_is_reported(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=30)
    cut(kept(target)[0])
    assert rewrite(clip, target) == (
        0,
        ["1 of 2 files of the unfinished work are damaged; their frames will be restored again"],
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "\0\0"])
def test_a_damaged_description_does_not_lose_segments(clip: Path, tmp_path: Path, text: str) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=105)
    (kept(target)[0].parent / "job.json").write_text(text)
    done, warnings = rewrite(clip, target)
    assert done == 100
    assert warnings == [
        "1 of 5 files of the unfinished work are damaged; their frames will be restored again"
    ]


def test_unrelated_leftovers_are_removed(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    folder = kept(target)[0].parent
    (folder / "00000050.part").write_bytes(b"half")
    (folder / "00000999.segment").write_bytes(b"who knows" * 9)
    assert rewrite(clip, target) == (
        50,
        ["1 of 4 files of the unfinished work are damaged; their frames will be restored again"],
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_segment_of_another_job_is_not_used(clip: Path, tmp_path: Path) -> None:
    rewrite(clip, tmp_path / "other.mp4", stop=60, crf=30)
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    kept(target)[0].write_bytes(kept(tmp_path / "other.mp4")[0].read_bytes())
    assert rewrite(clip, target)[0] == 25


def test_another_job_is_refused_or_replaced(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    with pytest.raises(UsageError, match="belongs to another job"):
        rewrite(clip, target, crf=30)
    clip.touch()
    with pytest.raises(UsageError, match=r"another job .input time was .*; use the same options, or -y"):
        rewrite(clip, target)
    assert len(kept(target)) == 2
    done, warnings = rewrite(clip, target, overwrite=True)
    assert done == 0
    assert [warning.rpartition(":")[2] for warning in warnings] == [" started over"]


def test_the_description_identifies_the_job(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    facts = json.loads((kept(target)[0].parent / "job.json").read_text())
    assert facts["version"] == 2
    assert {"input content", "codec", "encoder options", "av", "rtdeblur", "model"} <= set(facts["fields"])


def age(folder: Path) -> None:
    """Make unfinished work what the format before left: the bare fields, and segments named after them."""
    fields = json.loads((folder / "job.json").read_text())["fields"]
    (folder / "job.json").write_text(json.dumps(fields, indent=1))
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    for path in folder.glob("*.segment"):
        header, _, rest = path.read_bytes()[:-32].partition(b"\n")
        facts = json.loads(header) | {"job": digest}
        sealed = json.dumps(facts, separators=(",", ":")).encode() + b"\n" + rest
        path.write_bytes(sealed + hashlib.sha256(sealed).digest())


def test_work_in_the_previous_format_is_refused_and_kept(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    age(kept(target)[0].parent)
    before = {path: path.read_bytes() for path in kept(target)}
    with pytest.raises(
        UsageError,
        match=r"version of rtdeblur .*in format 1, expected 2.; resume it with that version, or -y",
    ):
        rewrite(clip, target)
    assert {path: path.read_bytes() for path in kept(target)} == before
    done, warnings = rewrite(clip, target, overwrite=True)
    assert done == 0
    assert [warning.rpartition(":")[2] for warning in warnings] == [" started over"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_work_in_a_newer_format_is_refused(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    folder = kept(target)[0].parent
    age(folder)
    (folder / "job.json").write_text(json.dumps({"version": 3, "fields": {}, "more": [1]}))
    with pytest.raises(UsageError, match=r"it is in format 3, expected 2.; resume it with that version"):
        rewrite(clip, target)
    assert len(kept(target)) == 2


def test_only_one_process_writes_an_output(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    first = FileWriter(FileReader(clip), target, resume=False)
    try:
        with pytest.raises(UsageError, match="is being written by another process"):
            FileWriter(FileReader(clip), target, resume=False, overwrite=True)
    finally:
        first.close()
    assert list(tmp_path.iterdir()) == []
    rewrite(clip, target)


def test_a_complete_output_is_not_redone(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target)
    with pytest.raises(FinishedError, match="nothing to resume"):
        rewrite(clip, target)
    assert rewrite(clip, target, overwrite=True)[0] == 0


def test_the_input_cannot_be_the_output(clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(clip.read_bytes())
    with pytest.raises(UsageError, match="is the input itself"):
        rewrite(source, source)
    assert list(tmp_path.iterdir()) == [source]


def test_the_longest_file_name_works(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / f"{'ü' * 125}.mp4"
    rewrite(clip, target, stop=60)
    assert rewrite(clip, target)[0] == 50
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_run_keeps_work_only_with_resume(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60, resume=False)
    assert list(tmp_path.iterdir()) == []
    rewrite(clip, target, stop=20)  # no segment is finished
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs_posix
def test_a_full_disk_costs_no_finished_segment(clip: Path, tmp_path: Path) -> None:
    whole, target = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    rewrite(clip, whole, codec="ffv1")
    size = whole.stat().st_size // 2
    with small_disk(size), pytest.raises(OutputError, match=r"out\.mkv': File too large"):
        rewrite(clip, target, codec="ffv1")
    assert not target.exists()
    done = min(FRAMES, len(kept(target)) * 25)
    assert done > 0
    assert rewrite(clip, target, codec="ffv1")[0] == done
    assert target.read_bytes() == whole.read_bytes()


def test_large_pictures_have_short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [segment_frames(*size) for size in ((720, 1280), (1080, 1920), (2160, 3840), (8192, 8192))] == [
        250,
        250,
        62,
        25,
    ]


# What is planted.

STRANGER = 65534
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither links nor owners of this kind")
needs_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can act as two users")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Make an unrelated folder with a file named like a job's."""
    folder = tmp_path / "documents"
    (folder / "sub").mkdir(parents=True)
    for name in ("thesis.txt", "sub/y", "00000000.segment", "job.json", "lock"):
        (folder / name).write_text("precious")
    return folder


def folder_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def folder_of_another(path: Path, victim: Path) -> None:
    path.mkdir(mode=0o777)
    os.chown(path, STRANGER, STRANGER)


def folder_open_to_all(path: Path, victim: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def file_instead(path: Path, victim: Path) -> None:
    path.write_text("precious")


def link_to_a_file(path: Path, victim: Path) -> None:
    path.symlink_to(victim / "thesis.txt")


def pipe_instead(path: Path, victim: Path) -> None:
    os.mkfifo(path)


@posix
@pytest.mark.parametrize(
    "options", [{"resume": False}, {}, {"overwrite": True}], ids=["fresh", "resume", "-y"]
)
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(
    "plant",
    [
        folder_link,
        pytest.param(folder_of_another, marks=needs_root),
        folder_open_to_all,
        file_instead,
        link_to_a_file,
        pipe_instead,
    ],
)
def test_a_folder_that_is_not_the_jobs_is_refused(
    clip: Path, tmp_path: Path, victim: Path, plant: Callable[[Path, Path], None],
    options: dict[str, bool], exists: bool,
) -> None:  # fmt: skip
    target = tmp_path / "out" / "out.mp4"
    target.parent.mkdir()
    if exists:
        target.write_text("precious")
    plant(target.with_name(".out.mp4.rtdeblur"), victim)
    before = contents(tmp_path)
    with pytest.raises(
        OutputError, match=r"cannot hold the unfinished work for .*: .*; remove it, or write to another"
    ):
        rewrite(clip, target, **({"overwrite": exists} | options))
    assert contents(tmp_path) == before
    assert os.path.lexists(target.with_name(".out.mp4.rtdeblur"))


@needs_root
def test_no_work_is_kept_behind_another_users_link(clip: Path, tmp_path: Path, victim: Path) -> None:
    target = tmp_path / "out.mp4"
    target.symlink_to(victim / "out.mp4")
    os.chown(target, STRANGER, STRANGER, follow_symlinks=False)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="is another user's link"):
        rewrite(clip, target)
    assert contents(tmp_path) == before
    assert not list(victim.glob(".*"))


def hard_link(path: Path, victim: Path) -> None:
    os.link(victim / "thesis.txt", path)


def link_to_a_folder(path: Path, victim: Path) -> None:
    path.symlink_to(victim / "sub")


@pytest.mark.needs_posix
@posix
@pytest.mark.parametrize("plant", [link_to_a_file, hard_link, pipe_instead, link_to_a_folder])
@pytest.mark.parametrize(
    "name", ["lock", "job.json", "committed", "00000000.part", "00000000.segment", "00000025.segment"]
)
def test_nothing_is_written_through_links_in_the_folder(
    clip: Path, tmp_path: Path, victim: Path, plant: Callable[[Path, Path], None], name: str
) -> None:
    before = contents(victim)
    target = tmp_path / "out.mp4"
    for stop in (60, None):  # planted before a run, then into work that is resumed
        folder = target.with_name(".out.mp4.rtdeblur")
        folder.mkdir(exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        plant(folder / name, victim)
        rewrite(clip, target, stop=stop, overwrite=stop is not None)
        assert contents(victim) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["documents", "out.mp4"]
    rewrite(clip, tmp_path / "whole.mp4")
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.mark.parametrize("stop", [None, 60])
def test_other_files_in_the_folder_stay(clip: Path, tmp_path: Path, stop: int | None) -> None:
    target = tmp_path / "out.mp4"
    folder = target.with_name(".out.mp4.rtdeblur")
    (folder / "sub").mkdir(parents=True)
    for name in ("thesis.txt", "sub/y", "1.segment", "00000000.segment.txt"):
        (folder / name).write_text("precious")
    before = contents(folder)
    rewrite(clip, target, stop=stop, resume=False)
    assert contents(folder) == before
    assert target.exists() is (stop is None)


@pytest.mark.needs_posix
@posix
def test_only_the_owner_can_access_the_folder(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    folder = target.with_name(".out.mp4.rtdeblur")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in kept(target)} == {0}


def test_the_second_of_two_that_close_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a process that is about to end would end in the middle of what its main thread removes."""
    job = JobFolder(tmp_path / "out.mp4")
    job.open({}, resume=False, overwrite=False)
    (folder_of(tmp_path / "out.mp4") / "00000000.segment").touch()
    reached, go = threading.Event(), threading.Event()
    remove = JobFolder._remove_all_but

    def slowly(self: JobFolder, *kept: str) -> None:
        reached.set()
        go.wait(10)
        remove(self, *kept)

    monkeypatch.setattr(JobFolder, "_remove_all_but", slowly)
    threads = [threading.Thread(target=job.close, kwargs={"keep": keep}) for keep in (False, True)]
    threads[0].start()
    reached.wait(10)
    threads[1].start()
    threads[1].join(0.2)
    assert threads[1].is_alive()
    go.set()
    for thread in threads:
        thread.join()
    assert list(tmp_path.iterdir()) == []


def test_what_another_thread_begins_meanwhile_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JobFolder(tmp_path / "out.mp4")
    job.open({}, resume=False, overwrite=False)
    begun: list[SegmentWriter] = []
    removed = PrivateFolder.remove

    def remove(self: PrivateFolder, name: str) -> None:
        removed(self, name)
        if name == "lock" and not begun:
            begun.append(job.new_segment(0))

    monkeypatch.setattr(PrivateFolder, "remove", remove)
    job.close(keep=False)
    assert list(tmp_path.iterdir()) == []
    begun[0].close()
