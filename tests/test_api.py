"""The public API."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import av
import pytest

import rtdeblur
from rtdeblur import (
    IDENTITY,
    FileReader,
    FileWriter,
    Model,
    Pipeline,
    RtdeblurError,
    errors,
    open_backend,
    verify,
)

MakeClip = Callable[..., Path]


def test_every_error_is_public() -> None:
    kinds = {
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, RtdeblurError)
    }
    assert kinds == {name for name in rtdeblur.__all__ if name.endswith("Error")}


def test_a_file_is_restored_and_verified_with_public_names(make_clip: MakeClip, tmp_path: Path) -> None:
    clip, output = make_clip(".mkv", frames=9), tmp_path / "out.mkv"
    with (
        FileReader(clip) as reader,
        FileWriter(reader, output, codec="ffv1") as writer,
        open_backend("auto", Model.load(IDENTITY)) as backend,
    ):
        assert Pipeline(reader, backend, writer, batch_size=4).run().frames == 9
    assert {check.status for check in verify(clip, output)} == {"same"}


def test_leaving_a_with_block_releases_and_discards(make_clip: MakeClip, tmp_path: Path) -> None:
    clip, output = make_clip(".mkv", frames=9), tmp_path / "out.mkv"
    with (
        pytest.raises(KeyError),
        FileReader(clip) as reader,
        FileWriter(reader, output) as writer,
        open_backend("auto", Model.load(IDENTITY)) as backend,
        Pipeline(reader, backend, writer),
    ):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with av.open(str(clip)) as container:  # it is not held open by the reader, on any system
        assert container.streams.video
    clip.unlink()


def test_the_example_in_the_package_docstring_works(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rtdeblur.__doc__ is not None
    lines = [line for line in rtdeblur.__doc__.splitlines() if line.startswith("    ") or not line]
    clip = make_clip(".mp4", size="64x48", frames=5)
    monkeypatch.chdir(tmp_path)
    clip.rename("in.mp4")
    exec(inspect.cleandoc("\n".join(lines)), {})
    with av.open("out.mp4") as container:
        assert len(list(container.decode(video=0))) == 5
