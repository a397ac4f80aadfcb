"""Fixtures and markers of all tests. Clips are made by the `ffmpeg` program; none is committed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from leaks import nothing_is_left_behind  # noqa: F401

from rtdeblur.frames import FrameBatch, Interlude
from rtdeblur.media.reader import FileReader
from rtdeblur.media.writer import FileWriter

MakeClip = Callable[..., Path]
Rewrite = Callable[..., FileWriter]


PROGRAMS = ("ffmpeg", "ffprobe")
"""Programs that make and examine most clips."""


def pytest_configure() -> None:
    """Obey Ctrl-C even if this run was started with SIGINT ignored, as shells start jobs in the background.

    The programs under test inherit it, and some tests interrupt them.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # The developer's own models are none of the tests' business.
    os.environ["RTDEBLUR_MODEL_DIR"] = str(Path(__file__).with_name("no-such-folder"))


@pytest.hookimpl(tryfirst=True)  # before the selection by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that make clips as `needs_ffmpeg`."""
    for item in items:
        if "ffmpeg" in getattr(item, "fixturenames", ()):
            item.add_marker("needs_ffmpeg")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs a missing GPU or program; RTDEBLUR_REQUIRE_… = 1 lets it run, and fail."""
    if item.get_closest_marker("needs_posix") and os.name == "nt":
        pytest.skip("needs POSIX: signals, named pipes, file modes, resource limits")
    if item.get_closest_marker("needs_ffmpeg") and os.environ.get("RTDEBLUR_REQUIRE_FFMPEG") != "1":
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if missing:
            pytest.skip(f"needs {' and '.join(missing)} on the path")
    if item.get_closest_marker("needs_cuda") and os.environ.get("RTDEBLUR_REQUIRE_CUDA") != "1":
        from rtdeblur.cuda import open_driver
        from rtdeblur.errors import RtdeblurError

        try:
            open_driver().close()
        except RtdeblurError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., bytes]:
    """Run ffmpeg quietly; return its stdout."""

    def run(*words: object) -> bytes:
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout

    return run


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., bytes]) -> MakeClip:
    """Make a moving test picture, and a tone unless `sound` is False.

    `words` are output options of ffmpeg; `filters` are applied to the picture.
    Equal calls return the same file.
    """
    folder = tmp_path_factory.mktemp("clips")
    made: dict[tuple[object, ...], Path] = {}

    def make(
        ending: str,
        *words: object,
        size: str = "98x66",
        frames: int = 12,
        filters: str = "",
        sound: bool = True,
    ) -> Path:
        key = (ending, *words, size, frames, filters, sound)
        if key not in made:
            path = folder / f"{len(made)}{ending}"
            picture = f"testsrc2=s={size}:r=25:d={frames / 25}{',' * bool(filters)}{filters}"
            tone = ["-f", "lavfi", "-i", f"sine=d={frames / 25}:r=48000"] if sound else []
            codec = [] if "-c:v" in words else ["-c:v", "libx264", "-preset", "ultrafast"]
            ffmpeg("-f", "lavfi", "-i", picture, *tone, *codec, *words, path)
            made[key] = path
        return made[key]

    return make


@pytest.fixture
def rewrite(tmp_path: Path) -> Rewrite:
    """Send a file through reader and writer without changing its pictures; return the closed writer."""

    def run(source: Path, output: str | Path, *, start: float | None = None, **options: object) -> FileWriter:
        reader = FileReader(source, start=start)
        writer = FileWriter(reader, tmp_path / output, **options)
        try:
            for frame in reader:
                writer.write(frame if isinstance(frame, Interlude) else FrameBatch.stack([frame]))
            writer.commit()
        finally:
            writer.close()
            reader.close()
        return writer

    return run
