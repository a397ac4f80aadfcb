"""Photos, animations and numbered pictures, as a user would name them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from rtdeblur.cli import main

Fails = Callable[..., str]
WORDS = ("--model", "identity", "-q")


def photo(path: Path, level: int = 90) -> Path:
    picture = np.full((48, 64, 3), level, np.uint8)
    picture[10:30, 20:40] = 255 - level
    Image.fromarray(picture).save(path)
    return path


def numbered(folder: Path, count: int = 12) -> Path:
    folder.mkdir()
    for index in range(1, count + 1):
        photo(folder / f"frame{index}.png", 10 * index)
    return folder


def restore(*words: object) -> int:
    return main([*map(str, words), *WORDS])


def levels(path: Path) -> list[int]:
    """Numbers of the pictures that a video shows, in order."""
    with av.open(str(path)) as container:
        return [round(f.to_ndarray(format="rgb24")[:8].mean() / 10) for f in container.decode(video=0)]


def rate_of(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(container.streams.video[0].average_rate or 0)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp", ".bmp", ".avif"])
def test_a_photo_becomes_a_photo(tmp_path: Path, ending: str, capfd: pytest.CaptureFixture[str]) -> None:
    source, output = photo(tmp_path / f"in{ending}"), tmp_path / f"out{ending}"
    assert main([str(source), "-o", str(output), "--json"]) == 0
    said = capfd.readouterr()
    summary = json.loads(said.out)
    assert (summary["frames"], summary["model"]) == (1, "fast")
    assert "model fast" in said.err
    with Image.open(output) as image, Image.open(source) as before:
        assert (image.size, image.format) == (before.size, before.format)


def test_strength_applies_to_photos(tmp_path: Path) -> None:
    source = photo(tmp_path / "in.png")
    for strength, same in (("0", True), ("1", False)):
        output = tmp_path / f"{strength}.png"
        assert main([str(source), "-o", str(output), "-q", "--gate", "off", "--strength", strength]) == 0
        with Image.open(output) as image, Image.open(source) as before:
            assert (np.asarray(image) == np.asarray(before)).all() == same


def test_a_warning_names_what_a_photo_loses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.full((48, 64, 4), 99, np.uint8)).save(tmp_path / "in.png")
    assert restore(tmp_path / "in.png", "-o", tmp_path / "out.jpg") == 0
    assert "the transparency is not kept" in capfd.readouterr().err


def test_a_folder_of_photos_becomes_a_folder_of_photos(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "in", 3)
    photo(folder / "b.jpg")
    assert restore(folder, "-o", f"{tmp_path}/out/") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "b.jpg", "frame1.png", "frame2.png", "frame3.png",
    ]  # fmt: skip


def test_a_folder_of_photos_is_continued(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    photo(folder / "a.jpg")
    assert restore(folder, "-o", f"{out}/") == 0
    photo(folder / "b.jpg")
    assert restore(folder, "-o", f"{out}/") == 1
    assert "skip such files with --resume" in capfd.readouterr().err
    first = (out / "a.jpg").stat().st_mtime_ns
    (out / "b.jpg").unlink()
    assert restore(folder, "-o", f"{out}/", "--resume") == 0
    assert (out / "a.jpg").stat().st_mtime_ns == first
    assert (out / "b.jpg").is_file()
    assert restore(folder, "-o", f"{folder}/", "--resume") == 1
    assert "is the input itself" in capfd.readouterr().err


def test_photos_given_by_name_are_continued(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg")
    out = tmp_path / "out"
    assert restore(first, "-o", f"{out}/") == 0
    assert main([str(first), str(second), "-o", f"{out}/", "--resume", "--model", "identity"]) == 0
    assert f"output {str(out / 'a.jpg')!r} exists, with nothing to resume; skipped" in capfd.readouterr().err
    assert (out / "b.jpg").is_file()


def test_one_bad_photo_does_not_stop_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = numbered(tmp_path / "in", 3)
    (folder / "frame2.png").write_bytes(b"no picture")
    assert restore(folder, "-o", f"{tmp_path}/out/") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "frame2.png" in line
    assert main([str(folder), "-o", f"{tmp_path}/out/", "-y", "--model", "identity"]) == 1
    assert "2 of 3 files restored, 1 failed" in capfd.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["frame1.png", "frame3.png"]


@pytest.mark.parametrize("name", ["", "frame%d.png", "frame%04d.png", "*.png", "frame?*.png"])
def test_numbered_pictures_become_one_video_in_the_order_of_their_numbers(tmp_path: Path, name: str) -> None:
    folder = numbered(tmp_path / "in")
    output = tmp_path / "out.mp4"
    assert restore(folder / name if name else folder, "-o", output, "--rate", "30") == 0
    assert levels(output) == list(range(1, 13))
    assert rate_of(output) == 30


def test_earlier_outputs_are_not_part_of_the_video(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "in", 3)
    assert restore(folder / "frame%d.png") == 0
    assert len(list(folder.iterdir())) == 6
    for number, named in enumerate([folder, folder / "*.png"]):
        assert restore(named, "-o", tmp_path / f"out{number}.mkv") == 0
        assert len(levels(tmp_path / f"out{number}.mkv")) == 3


def test_pictures_listed_by_the_shell_become_one_video(tmp_path: Path) -> None:
    paths = sorted(numbered(tmp_path / "in").iterdir())  # as a shell does: frame1, frame10, frame11 …
    assert restore(*paths, "-o", tmp_path / "out.mkv") == 0
    assert levels(tmp_path / "out.mkv") == list(range(1, 13))
    assert rate_of(tmp_path / "out.mkv") == 25


@pytest.mark.parametrize("name", ["frame%d.png", "*.png"])
def test_a_pattern_becomes_pictures_in_a_folder(tmp_path: Path, name: str) -> None:
    folder = numbered(tmp_path / "in", 4)
    assert restore(folder / name, "-o", f"{tmp_path}/out/") == 0
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_heic_without_its_package_fails_only_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rtdeblur.media.photos.reader.register_heif", lambda: False)
    folder = numbered(tmp_path / "in", 2)
    (folder / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    assert restore(folder, "-o", f"{tmp_path}/out/") == 1
    assert "pip install 'rtdeblur[heic]'" in capfd.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_part_of_numbered_pictures_can_be_restored(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "in")
    words = ("--rate", "10", "--start", "0.3", "--duration", "0.4")
    assert restore(folder, "-o", tmp_path / "out.mp4", *words) == 0
    assert levels(tmp_path / "out.mp4") == [4, 5, 6, 7]


def test_missing_numbers_and_damage_are_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = numbered(tmp_path / "in", 6)
    (folder / "frame3.png").unlink()
    (folder / "frame5.png").write_bytes(b"no picture")
    assert restore(folder, "-o", tmp_path / "out.mp4") == 0
    said = capfd.readouterr().err
    assert "number 3 is missing" in said
    assert "is damaged: " in said
    assert "frame5.png" in said
    assert levels(tmp_path / "out.mp4") == [1, 2, 4, 6]


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png", ".apng"])
@pytest.mark.parametrize("after", ["same", ".mp4"])
def test_an_animation_becomes_an_animation_or_a_video(tmp_path: Path, ending: str, after: str) -> None:
    first, *rest = (Image.new("RGB", (64, 48), (i * 10,) * 3) for i in range(1, 6))
    source = tmp_path / f"in{ending}"
    first.save(source, "PNG" if ending == ".apng" else None, save_all=True, append_images=rest, duration=80)
    output = tmp_path / f"out{ending if after == 'same' else after}"
    assert restore(source, "-o", output) == 0
    if after == "same":
        with Image.open(output) as image:
            assert image.n_frames == 5  # type: ignore[attr-defined]
    else:
        assert levels(output) == [1, 2, 3, 4, 5]
        with av.open(str(output)) as container:
            assert container.streams.video[0].format.name == "yuv420p"  # plays anywhere


@pytest.mark.parametrize("ending", [".gif", ".apng"])
def test_a_video_becomes_an_animation_in_colour(ending: str, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", 10, width=64, height=48, pix_fmt="yuv420p")
        for _ in range(3):
            red = np.zeros((48, 64, 3), np.uint8)
            red[..., 0] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(red)))
        container.mux(stream.encode(None))
    output = tmp_path / f"out{ending}"
    assert main([str(source), "-o", str(output), *WORDS]) == 0
    with av.open(str(output)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture[..., 0].min() > 200
    assert picture[..., 1:].max() < 60


def make_cmyk(path: Path) -> Path:
    Image.new("CMYK", (64, 48)).save(path)
    return path


def test_bad_requests_are_one_clear_line(tmp_path: Path, fails: Fails) -> None:
    source, folder = photo(tmp_path / "in.jpg"), numbered(tmp_path / "many", 3)
    out = tmp_path / "out"
    for words, says in [
        ((source, "-o", f"{out}.mp4"), "is a single picture; write it to a picture"),
        ((source, "-o", f"{out}.jpg", "--crf", "20"), "--crf applies only to videos"),
        ((source, "-o", f"{out}.jpg", "--start", "1"), "--start applies only to videos"),
        ((folder, "-o", f"{out}.png"), "3 pictures cannot become one; write them to a folder"),
        ((folder, "-o", f"{out}.mp4", "--resume"), "cannot be resumed, nor numbered pictures"),
        ((folder, "-o", f"{out}.mp4", "--frames", "3:"), "has 3 frames; there is no frame 3"),
        ((folder, "-o", f"{out}.mp4", "--start", "9"), "no frame in the requested part; it lasts 0.1 s"),
        ((folder / "none%d.png", "-o", f"{out}.mp4"), "no picture matches"),
        ((folder / "*.jpg", "-o", f"{out}.mp4"), "no picture matches"),
        ((make_cmyk(tmp_path / "print.jpg"), "-o", f"{out}.jpg"), "is CMYK (for printing)"),
        ((tmp_path / "missing.jpg", "-o", f"{out}.jpg"), "does not exist"),
        ((source, "-o", source, "-y"), "is the input itself"),
        ((photo(tmp_path / "big.png"), "-o", f"{out}.png", "--max-pixels", "99"), "--max-pixels"),
    ]:
        assert says in fails(*words, *WORDS)
    for rate in ("0", "-1", "fast", "1/0"):
        assert "expected pictures per second" in fails(
            folder, "-o", f"{out}.mp4", "--rate", rate, exit_code=2
        )
    assert not list(tmp_path.glob("out*"))


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rtdeblur.ffmpeg.targets.PartFile.commit", full)
    source = photo(tmp_path / "in.png")
    assert restore(source, "-o", tmp_path / "out.png") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]
