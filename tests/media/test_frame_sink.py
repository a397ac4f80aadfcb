"""One contract suite, run over every sink of frames (`rtdeblur.media.FrameSink`), the double included."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import pytest
from fake_media import FakeSink, FakeSource
from pictures_of import animation
from PIL import Image

from rtdeblur.errors import OutputError
from rtdeblur.frames import FrameBatch, Interlude
from rtdeblur.media import FrameSink, FrameSource, resume
from rtdeblur.media.photos.reader import PictureReader
from rtdeblur.media.photos.writer import PictureWriter
from rtdeblur.media.reader import FileReader
from rtdeblur.media.writer import FileWriter

MakeClip = Callable[..., Path]
FRAMES = 40


@dataclass
class Case:
    """A sink and the source of its frames.

    Attributes:
        visible: counts the frames of the output; None if there is no output yet.
        finished: frames that an earlier run finished.
    """

    sink: FrameSink
    source: FrameSource
    visible: Callable[[], int | None]
    finished: int = 0

    def items(self) -> Iterator[FrameBatch | Interlude]:
        for item in self.source:
            yield item if isinstance(item, Interlude) else FrameBatch.stack([item])

    def write(self, count: int = FRAMES) -> None:
        """Write the first frames."""
        for _, item in zip(range(count), self.items(), strict=False):
            self.sink.write(item)


OLD = b"what stood there before"


def frames_in(path: Path) -> int | None:
    if not path.exists() or path.read_bytes() == OLD:
        return None
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    # A container that cannot hide the priming of a sound codec moves all streams alike.
    assert [t - times[0] for t in times] == pytest.approx([i / 25 for i in range(len(times))], abs=0.002)
    return len(times)


def pictures_in(path: Path) -> int | None:
    if not path.exists():
        return None
    with Image.open(path) as image:
        return image.n_frames


def file_case(clip: Path, target: Path, finished: int = 0, **options: object) -> Case:
    reader = FileReader(clip)
    writer = FileWriter(reader, target, **options)
    writer.begin({})
    return Case(writer, reader, lambda: frames_in(target), finished)


CASES = [
    "mp4",
    "matroska",
    "segments",
    "segments, resumed",
    "over another file",
    pytest.param("pipe", marks=pytest.mark.needs_posix),
    "animation",
    "fake",
]


@pytest.fixture(params=CASES)
def case(
    request: pytest.FixtureRequest, make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    monkeypatch.setattr(resume, "_FRAMES", 10)
    monkeypatch.setattr(resume, "_FEWEST_FRAMES", 10)
    clip = make_clip(".mp4", frames=FRAMES)
    if request.param == "fake":
        sink = FakeSink(finished=range(7))
        made = Case(sink, FakeSource(FRAMES), lambda: len(sink.carriers) if sink.committed else None, 7)
    elif request.param == "animation":
        reader, target = PictureReader(animation(tmp_path / "in.webp", FRAMES)), tmp_path / "out.webp"
        made = Case(PictureWriter(reader, target), reader, lambda: pictures_in(target))
    elif request.param == "pipe":
        yield from _into_a_pipe(clip, tmp_path)
        return
    elif request.param == "segments":
        made = file_case(clip, tmp_path / "out.mkv", resume=False)
    elif request.param == "segments, resumed":
        earlier = file_case(clip, tmp_path / "out.mkv", resume=True)
        earlier.write(25)
        earlier.sink.close()
        earlier.source.close()
        made = file_case(clip, tmp_path / "out.mkv", resume=True, finished=20)
    elif request.param == "over another file":
        (tmp_path / "out.mp4").write_bytes(OLD)
        made = file_case(clip, tmp_path / "out.mp4", overwrite=True)
    else:
        made = file_case(clip, tmp_path / ("out.mkv" if request.param == "matroska" else "out.mp4"))
    yield made
    made.sink.close()
    made.source.close()


def _into_a_pipe(clip: Path, folder: Path) -> Iterator[Case]:
    """A program behind ours keeps what comes; there the end is what commits."""
    pipe, copy = folder / "pipe", folder / "copy.mkv"
    os.mkfifo(pipe)
    received = threading.Thread(target=lambda: copy.write_bytes(pipe.read_bytes()))
    received.start()
    reader = FileReader(clip)
    writer = FileWriter(reader, pipe)
    writer.begin({})
    committed = False
    commit = writer.commit

    def whole() -> int | None:
        if not committed:
            return None
        received.join(10)
        return frames_in(copy)

    def note() -> None:
        nonlocal committed
        commit()
        committed = True

    writer.commit = note  # type: ignore[method-assign]
    yield Case(writer, reader, whole)
    writer.close()
    reader.close()
    received.join()


def test_commit_makes_every_frame_visible_at_its_time(case: Case) -> None:
    case.write()
    assert case.visible() is None
    case.sink.commit()
    assert case.visible() == FRAMES
    case.sink.close()
    assert case.visible() == FRAMES


def test_close_discards_what_was_not_committed(case: Case) -> None:
    case.write(25)
    case.sink.close()
    case.sink.close()
    assert case.visible() is None


def test_writing_after_close_is_an_error(case: Case) -> None:
    items = case.items()
    case.sink.write(next(items))
    case.sink.close()
    with pytest.raises(OutputError, match="already been closed"):
        case.sink.write(next(items))
    with pytest.raises(OutputError, match="already been closed"):
        case.sink.commit()
    assert case.visible() is None


def test_needs_is_constant_and_thread_safe(case: Case) -> None:
    expected = [index >= case.finished for index in range(FRAMES)]
    with ThreadPoolExecutor(2) as threads:
        before = threads.submit(lambda: [case.sink.needs(index) for index in range(FRAMES)])
        case.write()
        after = threads.submit(lambda: [case.sink.needs(index) for index in range(FRAMES)])
        assert before.result() == after.result() == expected


def test_close_in_another_thread_ends_the_writing(case: Case) -> None:
    begun = threading.Event()
    problems: list[BaseException] = []

    def write() -> None:
        try:
            for item in case.items():
                case.sink.write(item)
                begun.set()
                closed.wait(10)
        except OutputError as error:
            problems.append(error)

    closed = threading.Event()
    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(10)
    case.sink.close()
    closed.set()
    thread.join(10)
    assert not thread.is_alive()
    assert [str(problem).rpartition(" ")[2] for problem in problems] == ["closed"]
    assert case.visible() is None
