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
    head, advice, row = capsys.readouterr().out.splitlines()
    assert head == "odd: unet, 4.70 M parameters, 0.0 MB, MIT"
    assert advice.strip() == "Use it with --model."
    assert row.strip() == "PSNR, blurred → restored: 22.60 → 24.25 dB (gopro-test)"


@pytest.mark.parametrize(
    ("psnr", "told"),
    [(25.0, "for the best result: 0.75 dB better"), (24.0, "only to compare: 0.25 dB worse")],
)
def test_each_model_says_when_to_use_it(
    psnr: float,
    told: str,
    bundle: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sha256 = hashlib.sha256(b"no graph").hexdigest()
    for name, out, gflop in ((rtdeblur.model.DEFAULT_MODEL, 24.25, 4), ("odd", psnr, 10)):
        onnx = bundle(
            name=name,
            sha256=sha256,
            architecture={"gflop_256": gflop},
            scores={"gopro-test": {"psnr_in": 22.6, "psnr_out": out}},
        )
        if name != "odd":
            for path in (onnx, onnx.with_suffix(".json")):
                path.rename(path.with_stem(name))
    monkeypatch.setattr(rtdeblur.model, "_FOLDER", onnx.parent)
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert f"Use it {told}, at 2.5 times the cost of {rtdeblur.model.DEFAULT_MODEL}." in " ".join(
        text.split()
    )
    assert "The default: use it" in text
    assert max(map(len, text.splitlines())) <= 80


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
