"""Segments outlive a run, each by itself; what is damaged is noticed and done again."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from rtdeblur.errors import FinishedError, OutputError, UsageError
from rtdeblur.frames import FrameBatch
from rtdeblur.media import resume
from rtdeblur.media.reader import FileReader
from rtdeblur.media.resume import segment_frames
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
    """Write a file, or its first frames and then give up; give the frames done before, and warnings."""
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
def test_the_same_bytes(clip: Path, tmp_path: Path, ending: str, codec: str) -> None:
    whole, target = tmp_path / f"whole.{ending}", tmp_path / f"out.{ending}"
    rewrite(clip, whole, codec=codec)
    rewrite(clip, target, codec=codec, stop=60)
    assert [path.stem for path in kept(target)] == ["00000000", "00000025"]
    assert rewrite(clip, target, codec=codec)[0] == 50
    assert target.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"out.{ending}", f"whole.{ending}"]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "ffv1"])
def test_the_same_times_as_in_one_go(clip: Path, tmp_path: Path, codec: str) -> None:
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


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_damage_costs_the_damaged_part(clip: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    rewrite(clip, tmp_path / "whole.mp4")
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=105)
    damage(kept(target)[1])
    done, warnings = rewrite(clip, target)
    assert done == 75
    seen = [] if damage is Path.unlink else ["1 of 5 files of the unfinished work are damaged"]
    assert [warning.partition(";")[0] for warning in warnings] == seen
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_where_all_is_damaged_it_is_said(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=30)
    cut(kept(target)[0])
    assert rewrite(clip, target) == (
        0,
        ["1 of 2 files of the unfinished work are damaged; what they held is done again"],
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "\0\0"])
def test_a_damaged_description_costs_nothing(clip: Path, tmp_path: Path, text: str) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=105)
    (kept(target)[0].parent / "job.json").write_text(text)
    done, warnings = rewrite(clip, target)
    assert done == 100
    assert warnings == ["1 of 5 files of the unfinished work are damaged; what they held is done again"]


def test_leftovers_of_something_else_are_removed(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    folder = kept(target)[0].parent
    (folder / "00000050.part").write_bytes(b"half")
    (folder / "00000999.segment").write_bytes(b"who knows" * 9)
    assert rewrite(clip, target) == (
        50,
        ["1 of 4 files of the unfinished work are damaged; what they held is done again"],
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_segment_of_another_job_is_not_taken(clip: Path, tmp_path: Path) -> None:
    rewrite(clip, tmp_path / "other.mp4", stop=60, crf=30)
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    kept(target)[0].write_bytes(kept(tmp_path / "other.mp4")[0].read_bytes())
    assert rewrite(clip, target)[0] == 25


def test_another_job_is_refused_or_replaces(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    with pytest.raises(UsageError, match="is of another job"):
        rewrite(clip, target, crf=30)
    clip.touch()
    with pytest.raises(UsageError, match=r"another job .input time was .*; use the same options, or -y"):
        rewrite(clip, target)
    assert len(kept(target)) == 2
    done, warnings = rewrite(clip, target, overwrite=True)
    assert done == 0
    assert [warning.rpartition(":")[2] for warning in warnings] == [" started over"]


def test_the_description_says_what_the_job_is(clip: Path, tmp_path: Path) -> None:
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


def test_work_of_the_format_before_is_refused_and_left_alone(clip: Path, tmp_path: Path) -> None:
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


def test_work_of_a_format_to_come_is_refused(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60)
    folder = kept(target)[0].parent
    age(folder)
    (folder / "job.json").write_text(json.dumps({"version": 3, "fields": {}, "more": [1]}))
    with pytest.raises(UsageError, match=r"it is in format 3, expected 2.; resume it with that version"):
        rewrite(clip, target)
    assert len(kept(target)) == 2


def test_one_process_at_a_time(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    first = FileWriter(FileReader(clip), target, resume=False)
    try:
        with pytest.raises(UsageError, match="is being written by another process"):
            FileWriter(FileReader(clip), target, resume=False, overwrite=True)
    finally:
        first.close()
    assert list(tmp_path.iterdir()) == []
    rewrite(clip, target)


def test_what_is_whole_is_not_done_again(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target)
    with pytest.raises(FinishedError, match="nothing to resume"):
        rewrite(clip, target)
    assert rewrite(clip, target, overwrite=True)[0] == 0


def test_the_input_is_never_the_output(clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(clip.read_bytes())
    with pytest.raises(UsageError, match="is the input itself"):
        rewrite(source, source)
    assert list(tmp_path.iterdir()) == [source]


def test_a_name_as_long_as_may_be(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / f"{'ü' * 125}.mp4"
    rewrite(clip, target, stop=60)
    assert rewrite(clip, target)[0] == 50
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_run_leaves_nothing_unless_asked(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    rewrite(clip, target, stop=60, resume=False)
    assert list(tmp_path.iterdir()) == []
    rewrite(clip, target, stop=20)  # no segment is finished
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_costs_no_finished_segment(clip: Path, tmp_path: Path) -> None:
    whole, target = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    rewrite(clip, whole, codec="ffv1")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole.stat().st_size // 2, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"out\.mkv': File too large"):
            rewrite(clip, target, codec="ffv1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not target.exists()
    done = min(FRAMES, len(kept(target)) * 25)
    assert done > 0
    assert rewrite(clip, target, codec="ffv1")[0] == done
    assert target.read_bytes() == whole.read_bytes()


def test_large_pictures_make_short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [segment_frames(*size) for size in ((720, 1280), (1080, 1920), (2160, 3840), (8192, 8192))] == [
        250,
        250,
        62,
        25,
    ]
