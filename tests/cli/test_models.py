from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import rtdeblur.model
from rtdeblur import cache
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
    assert "The default, made for speed." in text
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


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own models, which does not exist yet."""
    folder = tmp_path / "own"
    monkeypatch.setenv(rtdeblur.model.FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture
def good(bundle: Callable[..., Path]) -> Path:
    return bundle(sha256=hashlib.sha256(b"no graph").hexdigest(), licence="Apache-2.0")


def test_a_model_is_added_found_and_removed(
    own: Path, good: Path, capfd: pytest.CaptureFixture[str], fails: Callable[..., str]
) -> None:
    assert main(["models", "path"]) == 0
    assert capfd.readouterr().out.strip() == str(own)
    assert main(["models", "add", str(good)]) == 0
    assert "use it with --model odd" in capfd.readouterr().err
    assert sorted(path.name for path in own.iterdir()) == ["odd.json", "odd.onnx"]
    assert rtdeblur.model.Model.load("odd").onnx == b"no graph"
    assert main(["models"]) == 0
    assert "odd: unet, ? parameters, 0.0 MB, Apache-2.0" in capfd.readouterr().out
    assert "you have a model 'odd' already" in fails("models", "add", good)
    assert main(["models", "add", "-y", str(good)]) == 0
    assert main(["models", "remove", "odd"]) == 0
    assert list(own.iterdir()) == []
    capfd.readouterr()
    assert "you have no model 'odd'; your own models: none" in fails("models", "remove", "odd")
    assert "no model is called 'odd'" in fails("bench", "--model", "odd")


def test_a_checkpoint_is_refused_with_the_command_that_exports_it(
    tmp_path: Path, fails: Callable[..., str]
) -> None:
    checkpoint = tmp_path / "last.safetensors"
    checkpoint.touch()
    line = fails("models", "add", str(checkpoint))
    assert "is not a model, expected a .onnx file; `python -m train export`" in line


def test_a_model_replaced_by_itself_stays(own: Path, good: Path) -> None:
    assert main(["models", "add", str(good)]) == 0
    assert main(["models", "add", "-y", str(own / "odd.onnx")]) == 0
    assert rtdeblur.model.Model.load("odd").onnx == b"no graph"


def test_all_precisions_are_added_under_a_new_name(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = rtdeblur.model.Model.load("fast").path
    assert main(["models", "add", str(source.with_suffix(".json")), "--name", "mine"]) == 0
    assert sorted(path.name for path in own.iterdir()) == [
        "mine-fp16.json", "mine-fp16.onnx", "mine-int8.json", "mine-int8.onnx", "mine.json", "mine.onnx",
    ]  # fmt: skip
    model = rtdeblur.model.Model.load("mine")
    assert (model.manifest.name, model.variant("fp16").manifest.name) == ("mine", "mine-fp16")
    assert model.variant("int8").manifest.name == "mine-int8"
    assert rtdeblur.model.user_models() == ["mine"]
    assert main(["models", "--json"]) == 0
    assert [one["name"] for one in json.loads(capfd.readouterr().out)][-1] == "mine"
    assert main(["models", "remove", "mine"]) == 0
    assert list(own.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["fast", "identity", "a/b", "..", "", "-x", "x-fp16", "x-int8", "x.onnx", "ü", "x" * 81]
)
def test_names_that_make_no_model_are_refused(
    name: str, own: Path, good: Path, fails: Callable[..., str]
) -> None:
    message = fails("models", "add", good, f"--name={name}")
    assert "cannot name a model" in message or "taken by a bundled model" in message
    assert not own.exists()


def test_a_damaged_model_is_not_added_and_hides_no_other(
    own: Path, good: Path, bundle: Callable[..., Path], capfd: pytest.CaptureFixture[str],
    fails: Callable[..., str],
) -> None:  # fmt: skip
    assert main(["models", "add", str(good)]) == 0
    assert main(["models", "add", str(good), "--name", "other"]) == 0
    capfd.readouterr()
    assert "sha256" in fails("models", "add", bundle(), "--name", "third")
    (own / "odd.onnx").write_bytes(b"cut")
    assert main(["models"]) == 0
    out = capfd.readouterr().out
    assert "odd: model" in out
    assert "is damaged" in out
    assert "other: unet" in out
    assert "bundled with rtdeblur" in fails("models", "remove", "fast")


def test_a_bundled_model_is_not_shadowed(own: Path, good: Path) -> None:
    own.mkdir()
    for path in (good, good.with_suffix(".json")):
        path.rename(own / f"fast{path.suffix}")
    assert rtdeblur.model.user_models() == []
    assert rtdeblur.model.Model.load("fast").path.parent != own


def test_a_measured_speed_is_listed(capfd: pytest.CaptureFixture[str]) -> None:
    sizes = ["--size", "64x48", "--size", "96x64"]
    assert main(["bench", *sizes, "--frames", "0", "--seconds", "0", "--backend", "openvino"]) == 0
    capfd.readouterr()
    assert main(["models"]) == 0
    assert re.search(
        r"^  speed here: [\d.e+]+ fps at 96×64 on openvino CPU \(\d{4}-\d\d-\d\d\)$",
        capfd.readouterr().out,
        re.MULTILINE,
    )
    (cache.folder() / "speeds.json").write_bytes(b'{"a": {"fps": "x"}}')
    assert main(["models"]) == 0
    assert "speed here" not in capfd.readouterr().out
