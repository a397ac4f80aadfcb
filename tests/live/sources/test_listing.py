"""The cameras that the kernel lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtdeblur.cli import main
from rtdeblur.live.sources import listing
from rtdeblur.live.sources.listing import CameraName, cameras


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake of the kernel's folder, still empty."""
    monkeypatch.setattr(listing, "_SYSFS", tmp_path)
    monkeypatch.setattr("sys.platform", "linux")
    return tmp_path


def connect(kernel: Path, number: int, name: str, index: int = 0) -> None:
    folder = kernel / f"video{number}"
    folder.mkdir()
    (folder / "name").write_text(f"{name}\n", encoding="utf-8")
    (folder / "index").write_text(f"{index}\n", encoding="utf-8")


def test_cameras_are_listed_by_number_without_their_metadata(kernel: Path) -> None:
    connect(kernel, 10, "Loopback")
    connect(kernel, 0, "HD Webcam: é")
    connect(kernel, 1, "HD Webcam: é", index=1)
    assert cameras() == [
        CameraName(0, "HD Webcam: é", "/dev/video0"),
        CameraName(10, "Loopback", "/dev/video10"),
    ]


def test_a_name_cannot_drive_the_terminal(kernel: Path) -> None:
    connect(kernel, 0, "Cam\x1b[31m\x07")
    (camera,) = cameras()
    assert camera.name.isprintable()


def test_the_command_lists_them(kernel: Path, capfd: pytest.CaptureFixture[str]) -> None:
    connect(kernel, 0, "Webcam")
    assert main(["live", "--list-cameras"]) == 0
    assert capfd.readouterr().out.splitlines()[1].split() == ["0", "Webcam", "/dev/video0"]
    assert main(["live", "--list-cameras", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == [{"number": 0, "name": "Webcam", "device": "/dev/video0"}]


def test_no_cameras_is_reported(kernel: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "--list-cameras"]) == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert "no camera found" in said.err
