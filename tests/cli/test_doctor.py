from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rtdeblur.model
from rtdeblur.cli import doctor, main
from rtdeblur.cli.doctor import Finding


def test_every_finding_is_a_marked_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    verdict, blank, *lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"Ready: .+, about [\d.]+ fps at 720p\.", verdict)
    assert blank == ""
    titles = [line for line in lines if not line.startswith("  ")]
    assert titles == [
        "Software",
        "Processor",
        "OpenVINO",
        "GPU",
        "TensorRT",
        "Backends",
        "FFmpeg",
        "Live",
        "Models",
    ]
    assert all(line[2] in "✓✗" for line in lines if line.startswith("  "))
    assert "  ✓ encoder libx264: found" in lines
    assert "  ✓ --precision auto: " in "\n".join(lines)


def test_json_holds_the_same_findings(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    software = {finding["name"]: finding for finding in report["Software"]}
    assert software["av"]["ok"]
    assert software["Python"]["value"] == ".".join(map(str, sys.version_info[:3]))


def broken() -> Iterator[Finding]:
    yield Finding("half", True, "found")
    raise RuntimeError("bad luck")


def test_a_broken_probe_is_a_finding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_PROBES", {"Part": broken})
    assert main(["doctor"]) == 1
    verdict, _, *lines = capsys.readouterr().out.splitlines()
    assert verdict == "Not ready: Part; see below."
    assert lines[:2] == ["Part", "  ✓ half: found"]


@pytest.mark.parametrize(("needed", "exit_code"), [(True, 1), (False, 0)])
def test_only_missing_requirements_fail(
    needed: bool, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe: Callable[[], Iterator[Finding]] = lambda: iter([Finding("it", False, "gone", needed=needed)])  # noqa: E731
    monkeypatch.setattr(doctor, "_PROBES", {"Part": probe})
    monkeypatch.setattr(doctor, "_speed_here", lambda: "as fast as ever")
    assert main(["doctor"]) == exit_code


def test_a_missing_model_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtdeblur.model, "_FOLDER", tmp_path)
    main(["doctor"])
    assert "✗ bundled models: none (" in capsys.readouterr().out


def test_a_damaged_model_is_reported(
    bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtdeblur.model, "_FOLDER", bundle().parent)
    assert main(["doctor"]) == 1
    assert "✗ odd: model" in capsys.readouterr().out


def test_marks_fit_the_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ascii:
        encoding = "ascii"

    monkeypatch.setattr(sys, "stdout", Ascii())
    assert "".join(doctor._marks()).isascii()


@pytest.mark.parametrize(
    ("installed", "ok", "value"),
    [
        (("opencv-python",), True, "installed"),
        (("opencv-python-headless",), False, "hidden by opencv-python-headless"),
        (("opencv-python", "opencv-python-headless"), False, "hidden by opencv-python-headless"),
    ],
)
def test_a_headless_opencv_is_reported_as_without_windows(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], ok: bool, value: str
) -> None:
    monkeypatch.setattr(doctor, "_is_installed", lambda package: package in installed)
    monkeypatch.setattr(doctor, "find_spec", lambda module: True if module == "cv2" else None)
    cameras, windows, virtual = doctor._live()
    assert cameras.ok
    assert (windows.ok, windows.value) == (ok, value)
    assert not virtual.ok
    assert "rtdeblur[virtual-camera]" in virtual.advice
