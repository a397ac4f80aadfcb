"""A video restored in ranges, in any order, has the bytes of an ordinary run."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rtdeblur import ranges
from rtdeblur.backends.base import Backend
from rtdeblur.backends.identity import IdentityBackend
from rtdeblur.errors import InputError, OutputError
from rtdeblur.frames import FrameBatch
from rtdeblur.media import resume
from rtdeblur.media.reader import FileReader
from rtdeblur.media.resume.job_folder import JobFolder, folder_of, key_of
from rtdeblur.media.writer import FileWriter
from rtdeblur.model import Manifest, Model
from rtdeblur.pipeline import Pipeline
from rtdeblur.ranges import Survey, restore_range, survey
from rtdeblur.temporal import with_temporal

MakeClip = Callable[..., Path]
SETTINGS = {"model": "a test's"}
MODEL = Model(Manifest(1, "dimmer", "0" * 64, {}, 16, "fp32", "off", "MIT"), b"graph", None)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "_FRAMES", 25)
    monkeypatch.setattr(resume, "_FEWEST_FRAMES", 25)


class Dimmer(IdentityBackend):
    """Darkens by the number of frames so far, and the last frame of each batch more.

    Forgetting earlier frames, or cutting batches elsewhere, changes the result.
    """

    def __init__(self) -> None:
        self.seen = 0

    @property
    def memory(self) -> object:
        return self.seen

    def begin(self) -> None:
        self.seen = 0

    def recall(self, memory: object) -> None:
        self.seen = int(memory or 0)

    def observe(self, batch: FrameBatch) -> None:
        self.seen += len(batch)

    def infer(self, batch: FrameBatch) -> FrameBatch:
        y, u, v = (plane.copy() for plane in batch.planes)
        y -= np.minimum(y, self.seen)
        y[-1] //= 2
        self.observe(batch)
        return replace(batch, planes=(y, u, v))


def ordinary(source: Path, target: Path, backend: Backend) -> bytes:
    with FileReader(source) as reader, FileWriter(reader, target, resume=False) as writer:
        writer.begin(SETTINGS)
        Pipeline(reader, backend, writer, batch_size=4).run()
    return target.read_bytes()


class Ranges:
    """A job in ranges, as a cluster's driver and workers would divide it."""

    def __init__(self, source: Path, target: Path, backend: Backend, folder: Path) -> None:
        self.source, self.target, self.backend, self.scratch = source, target, backend, folder
        self.sought: list[float] = []
        with FileReader(source) as reader, self._writer(reader) as writer:
            self.identity = writer.identity(SETTINGS)
            self.survey = survey(reader, writer, backend, 4)
        self.job = JobFolder(target)
        self.job.open(self.identity, resume=True, overwrite=False)

    def restore(self, part: Survey) -> None:
        def open_at(seconds: float) -> FileReader:
            self.sought.append(seconds)
            return FileReader(self.source, start=seconds)

        key = key_of(self.identity)
        with FileReader(self.source) as reader, self._writer(reader) as writer:
            restore_range(part, self.target, key, reader, writer, self.backend, 4, open_at=open_at)

    def join(self) -> bytes:
        self.job.close(keep=True)
        with FileReader(self.source) as reader, FileWriter(reader, self.target, resume=True) as writer:
            assert writer.begin(SETTINGS) == len(self.survey.times)
            Pipeline(reader, Broken(), writer, batch_size=4).run()
        return self.target.read_bytes()

    def _writer(self, reader: FileReader) -> FileWriter:
        return FileWriter(reader, self.scratch / self.target.name)


class Broken(IdentityBackend):
    """Must not be asked for anything."""

    def infer(self, batch: FrameBatch) -> FrameBatch:
        raise AssertionError("a frame of a finished segment was restored")


OPEN_GOPS = ("-x264-params", "open-gop=1:keyint=20:bframes=3:b-adapt=0", "-preset", "medium")


@pytest.mark.parametrize(
    ("ending", "words", "filters", "temporal"),
    [
        (".mp4", ("-preset", "medium", "-g", "15"), "", False),
        (".mp4", ("-preset", "medium", "-g", "15"), "", True),
        (".mkv", OPEN_GOPS, "setpts='(N+0.4*mod(N,3))/25/TB'", False),
        (".ts", ("-preset", "medium", "-g", "12"), "", False),
        (".avi", ("-c:v", "mpeg4", "-g", "10"), "", False),
    ],
)
def test_ranges_in_any_order_have_the_bytes_of_an_ordinary_run(
    make_clip: MakeClip, tmp_path: Path, ending: str, words: tuple[str, ...], filters: str, temporal: bool
) -> None:
    def backend() -> Backend:
        return with_temporal(Dimmer(), MODEL, "on") if temporal else Dimmer()

    clip = make_clip(ending, *words, frames=110, filters=filters)
    target = tmp_path / f"out{ending}"
    (tmp_path / "scratch").mkdir()
    job = Ranges(clip, target, backend(), tmp_path / "scratch")
    sections = list(job.survey.sections)
    assert [section.first for section in sections] == [0, 25, 50, 75, 100]
    assert [section.begin for section in sections] == (
        [0, 20, 48, 72, 96] if temporal else [0, 24, 48, 72, 100]
    )
    parts = [sections[i : i + 2] for i in range(0, len(sections), 2)]
    random.Random(0).shuffle(parts)
    for part in parts:
        job.restore(job.survey.part(part))
    assert job.sought  # the later ranges were decoded from a key frame
    assert job.join() == ordinary(clip, tmp_path / f"ordinary{ending}", backend())
    assert list(tmp_path.glob(".*")) == list((tmp_path / "scratch").iterdir()) == []


def test_a_range_without_a_usable_key_frame_is_decoded_from_the_beginning(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader that starts in the middle returns other pictures, as after an open group of pictures."""
    clip = make_clip(".mp4", "-preset", "medium", "-g", "15", frames=60)
    (tmp_path / "scratch").mkdir()
    job = Ranges(clip, tmp_path / "out.mp4", Dimmer(), tmp_path / "scratch")
    part = job.survey.part(job.survey.sections[1:])
    part.sums[-5] ^= 1  # the last segment is not verified
    with pytest.raises(InputError, match="decodes differently"):
        job.restore(part)
    names = [path.name for path in folder_of(job.target).glob("*.segment")]
    assert names == ["00000025.segment"]  # of frames that were verified
    part.sums[-5] ^= 1
    real = ranges.checksum
    wrong = iter([True])
    monkeypatch.setattr(ranges, "checksum", lambda frame: real(frame) ^ next(wrong, False))
    job.restore(part)
    assert len(job.sought) == 2
    job.restore(job.survey.part(job.survey.sections[:1]))
    assert job.join() == ordinary(clip, tmp_path / "ordinary.mp4", Dimmer())


def test_a_retried_range_makes_only_what_is_missing(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip(".mkv", frames=110)
    (tmp_path / "scratch").mkdir()
    job = Ranges(clip, tmp_path / "out.mkv", Dimmer(), tmp_path / "scratch")
    work = folder_of(job.target)
    job.restore(job.survey)
    (work / "00000050.segment").unlink()
    (work / "00000100.segment").write_bytes(b"damaged")
    before = {path.name: path.stat().st_ino for path in work.iterdir()}
    job.restore(job.survey)
    after = {path.name: path.stat().st_ino for path in work.iterdir()}
    assert {name for name in after if before.get(name) != after[name]} == {
        "00000050.segment",
        "00000100.segment",
    }
    assert job.join() == ordinary(clip, tmp_path / "ordinary.mkv", Dimmer())


def test_a_range_whose_job_has_gone_is_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    job = Ranges(make_clip(".mkv", frames=60), tmp_path / "out.mkv", Dimmer(), tmp_path / "scratch")
    job.job.discard()
    with pytest.raises(OutputError, match="has gone"):
        job.restore(job.survey)
    assert not folder_of(job.target).exists()
