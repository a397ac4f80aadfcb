"""`rtdeblur preview` and `rtdeblur compare`, from the command line."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from rtdeblur.cli import main, preview
from rtdeblur.cli.preview import in_words, moment_of
from rtdeblur.cli.report import clock

Fails = Callable[..., str]


@pytest.fixture(scope="module")
def source(make_clip: Callable[..., Path]) -> Path:
    return make_clip(".mp4", frames=40, filters="boxblur=4:1")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URLs that the browser was told to open."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: not opened.append(url))
    return opened


def test_a_preview_is_one_page_with_estimates_and_moments(
    source: Path, tmp_path: Path, shown: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["preview", str(source), "-o", str(page), "--moments", "3", "--strength", "0.5"]) == 0
    said = capfd.readouterr()
    html = page.read_text()
    assert html.count("<figure>") == 3
    for name in ("Blur", "Change", "Time", "Size", "Model"):
        assert f"<dt>{name}</dt>" in html
    assert "on this machine" in html
    output = source.with_name(f"{source.stem}.deblurred.mp4")
    command = f"rtdeblur {source} -o {output} --strength 0.5"
    assert command in html
    assert command in said.err
    assert str(page) in said.err
    assert shown == []  # it was given a name
    assert list(tmp_path.iterdir()) == [page]
    assert not output.exists()


def test_the_default_model_s_page_points_to_the_best_one(source: Path, tmp_path: Path) -> None:
    for model, hinted in (("fast", True), ("fine", False)):
        page = tmp_path / f"{model}.html"
        assert main(["preview", str(source), "--model", model, "-o", str(page), "-q"]) == 0
        text = page.read_text()
        assert ("--model fine removes more blur." in text) == (hinted and "little to improve" not in text)


def test_without_an_output_the_page_is_opened(source: Path, shown: list[str]) -> None:
    assert main(["preview", str(source), "--model", "identity", "-q"]) == 0
    (address,) = shown
    page = Path(address.removeprefix("file://"))
    assert page.suffix == ".html"
    assert "the model hardly sharpens" in page.read_text() or "little to gain" in page.read_text()
    page.unlink()
    page.parent.rmdir()


def test_json_has_the_figures(source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["-o", str(tmp_path / "page.html"), "--json", "-q"]
    assert main(["preview", str(source), *words]) == 0
    figures = json.loads(capfd.readouterr().out)
    assert figures["page"] == str(tmp_path / "page.html")
    assert all(0 <= blur <= 1 for blur in figures["blur"])
    assert len(figures["moments"]) == 4
    assert all(moment["change"] > 0 for moment in figures["moments"])
    assert figures["estimate"]["frames"] == 40
    assert figures["estimate"]["size_bytes"] > 0


def test_the_command_on_the_page_works(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "my holiday.mp4"
    shutil.copy(source, video)
    assert main(["preview", str(video), "--model", "identity", "-o", str(tmp_path / "page.html")]) == 0
    command = capfd.readouterr().err.splitlines()[-1].partition("whole file: ")[2]
    program, *words = shlex.split(command)
    assert program == "rtdeblur"
    assert main([*words, "-q"]) == 0
    assert (tmp_path / "my holiday.deblurred.mp4").exists()


def test_the_command_on_the_page_has_every_option_given() -> None:
    given = ["--device", "cpu", "--seed", "7", "--max-pixels", "99999"]
    params = preview.command.make_context("preview", ["in.mp4", *given]).params
    words = shlex.split(preview.command_for(preview.PreviewRequest.of(**params)))
    assert words == ["rtdeblur", "in.mp4", "-o", "in.deblurred.mp4", *given]


def test_compare_shows_two_files(
    source: Path, make_clip: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sharp, page = tmp_path / "sharp.mkv", tmp_path / "page.html"
    shutil.copy(make_clip(".mkv", frames=40), sharp)
    assert main(["compare", str(source), str(sharp), "-o", str(page)]) == 0
    html = page.read_text()
    assert html.count("<figure>") == 4
    assert html.count(">sharp.mkv</span>") == 4
    assert "B is sharper by this estimate" in html
    assert "B is sharper by this estimate" in capfd.readouterr().err


@pytest.mark.parametrize(("layout", "width"), [("side", 100 + 98), ("wipe", 98)])
def test_compare_writes_a_video(
    source: Path, tmp_path: Path, layout: str, width: int, shown: list[str]
) -> None:
    output = tmp_path / "both.mp4"
    assert main(["compare", str(source), str(source), "--video", str(output), "--layout", layout, "-q"]) == 0
    with av.open(str(output)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == (width, 66)
        assert sum(1 for _ in container.decode(video)) == 40
        assert len(container.streams.audio) == 1
    assert shown == []
    assert list(tmp_path.iterdir()) == [output]


def test_compare_prints_one_json_object(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video, page = tmp_path / "both.mp4", tmp_path / "page.html"
    words = ["--video", str(video), "-o", str(page), "--json", "--moments", "1"]
    assert main(["compare", str(source), str(source), *words]) == 0
    report = json.loads(capfd.readouterr().out)
    assert [report["video"], report["frames"], report["page"]] == [str(video), 40, str(page)]
    assert len(report["moments"]) == 1


def test_photos_are_previewed_and_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    photo, sharp = tmp_path / "photo.jpg", tmp_path / "sharp.jpg"
    Image.linear_gradient("L").convert("RGB").save(photo)
    assert main(["preview", str(photo), "-o", str(tmp_path / "preview.html")]) == 0
    assert f"rtdeblur {photo} -o {tmp_path / 'photo.deblurred.jpg'}" in capfd.readouterr().err
    assert main([str(photo), "-o", str(sharp), "-q"]) == 0
    assert main(["compare", str(photo), str(sharp), "-o", str(tmp_path / "compare.html"), "-q"]) == 0
    for name in ("preview", "compare"):
        html = (tmp_path / f"{name}.html").read_text()
        assert html.count("<figure>") == 1
        assert "frames per second" not in html


def test_a_shorter_animation_is_compared_as_far_as_it_goes(source: Path, tmp_path: Path) -> None:
    from PIL import Image

    short, page = tmp_path / "short.webp", tmp_path / "page.html"
    first, *rest = (Image.new("RGB", (98, 66), (i * 40,) * 3) for i in range(3))
    first.save(short, save_all=True, append_images=rest, duration=100)  # the video lasts 1.6 s
    assert main(["compare", str(source), str(short), "-o", str(page), "-q", "--moments", "12"]) == 0
    assert 1 <= page.read_text().count("<figure>") < 12


def test_bad_requests_are_one_clear_line(source: Path, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "no.mp4").write_bytes(b"no video")
    page = tmp_path / "page.html"
    page.write_text("mine")
    for words, says in [
        (("preview", tmp_path / "missing.mp4"), "does not exist"),
        (("preview", tmp_path / "no.mp4"), "no.mp4"),
        (("preview", source, "-o", tmp_path / "page.mp4"), "must be a web page"),
        (("preview", source, "-o", tmp_path / "no" / "page.html"), "cannot write into folder"),
        (("preview", source, "-o", page, "--model", "identity", "-q"), "exists"),
        (("compare", source, tmp_path / "missing.mp4"), "does not exist"),
        (("compare", source, source, "-o", page, "-q"), "exists"),
        (("compare", source, source, "--video", source, "-y", "-q"), "is the input itself"),
    ]:
        assert says in fails(*words)
    assert page.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["no.mp4", "page.html"]
    assert main(["preview", str(source), "-o", str(page), "-y", "-q", "--model", "identity"]) == 0


def test_times_and_blur_are_described_in_words() -> None:
    assert [clock(s) for s in (0, 7.4, 61, 3600, 5025)] == ["0:00", "0:07", "1:01", "1:00:00", "1:23:45"]
    assert [moment_of(s) for s in (0, 7.34, 59.96, 61.5)] == ["0:00.0", "0:07.3", "1:00.0", "1:01.5"]
    assert [in_words(b) for b in (0.2, 0.45, 0.5, 0.8)] == [
        "sharp", "slightly blurred", "blurred", "strongly blurred",
    ]  # fmt: skip
