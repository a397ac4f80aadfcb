from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import rtdeblur.model
from rtdeblur.cli import main


@pytest.fixture
def one_model(bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = bundle(
        sha256=hashlib.sha256(b"no graph").hexdigest(),
        architecture={"generator": "unet", "parameters": 4_700_000},
        scores={"gopro-test": {"psnr_in": 22.6, "psnr_out": 24.25}},
    )
    monkeypatch.setattr(rtdeblur.model, "_FOLDER", path.parent)


@pytest.mark.usefixtures("one_model")
def test_the_table_lists_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["name", "architecture", "parameters"]
    assert " ".join(row.split()) == "odd unet 4.70 M 22.60 → 24.25 dB (gopro-test) MIT 0.0 MB"


@pytest.mark.usefixtures("one_model")
def test_json_holds_the_manifests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    (manifest,) = json.loads(capsys.readouterr().out)
    assert manifest["name"] == "odd"
    assert manifest["scores"]["gopro-test"]["psnr_out"] == 24.25
    assert manifest["bytes"] == 8


def test_missing_scores_are_question_marks(
    bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundle(sha256=hashlib.sha256(b"no graph").hexdigest(), architecture={}, scores={"odd": {}})
    monkeypatch.setattr(rtdeblur.model, "_FOLDER", path.parent)
    assert main(["models"]) == 0
    assert "?" in capsys.readouterr().out


def test_a_damaged_model_is_an_error(
    bundle: Callable[..., Path], fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtdeblur.model, "_FOLDER", bundle().parent)
    assert "sha256" in fails("models")


@pytest.mark.usefixtures("one_model")
def test_a_console_without_arrows_gets_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    assert main(["models"]) == 0
    assert b"22.60 ? 24.25 dB" in written.getvalue()
