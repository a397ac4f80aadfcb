"""`rtdeblur build` and `rtdeblur engines`; engines are really built if TensorRT-RTX is installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rtdeblur import system
from rtdeblur.backends.tensorrt.cache import Entry
from rtdeblur.backends.tensorrt.spec import EngineSpec, Shape, ShapeProfile, Target
from rtdeblur.cli import engines, main
from rtdeblur.system import Gpu

SMALL = ["--size", "96x64", "--batch", "1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("tensorrt_rtx", reason="pip install 'rtdeblur[rtx]'")
    return tmp_path / "engines"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "nvidia_gpus", lambda: [])


def built(capfd: pytest.CaptureFixture[str], *words: object) -> Any:
    assert main(["build", *map(str, words), "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def test_engines_are_built_listed_verified_and_pruned(
    folder: Path, capfd: pytest.CaptureFixture[str], fails: Callable[..., str]
) -> None:
    first = built(capfd, *SMALL, "--batch", 1, "--batch", 2, "-o", folder)
    assert [entry["spec"]["profile"]["opt"]["batch"] for entry in first] == [1, 2]
    assert all(entry["fresh"] and Path(entry["path"]).stat().st_size == entry["bytes"] for entry in first)
    again = built(capfd, *SMALL, "--engine-dir", folder)
    assert [entry["fresh"] for entry in again] == [False]
    assert [entry["fresh"] for entry in built(capfd, *SMALL, "-o", folder, "--force")] == [True]

    assert main(["engines", "-o", str(folder)]) == 0
    listed = capfd.readouterr().out
    assert listed.count("good") == 2
    assert "1x64x96-420" in listed
    assert f"2 in {folder}" in listed

    damaged = Path(again[0]["path"])
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert main(["engines", "-o", str(folder), "--verify"]) == 1
    assert "is damaged" in capfd.readouterr().out
    assert main(["engines", "-o", str(folder), "--prune", "--json"]) == 0
    assert [entry["problem"] for entry in json.loads(capfd.readouterr().out)["engines"]] == [""]
    assert not damaged.exists()
    fails("engines", "-o", folder, "--most", 1, exit_code=2)


def test_an_engine_of_another_version_is_stale(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = Path(built(capfd, *SMALL, "-o", folder)[0]["path"])
    version = path.name.split("_rtx-")[1].split("_")[0]
    from rtdeblur.backends.tensorrt.cache import EngineCache
    from rtdeblur.backends.tensorrt.spec import EngineSpec

    sidecar = path.with_suffix(".json").read_text().replace(version, "1.0.0")
    EngineCache(folder).get_or_build(EngineSpec.from_json(json.loads(sidecar)["spec"]), lambda: b"old")
    assert main(["engines", "-o", str(folder)]) == 0
    assert f"stale: the installed TensorRT-RTX is {version}" in capfd.readouterr().out
    assert main(["engines", "-o", str(folder), "--prune"]) == 0
    assert [entry.name for entry in folder.glob("*.engine")] == [path.name]


def test_a_dynamic_engine_for_ten_bits_is_built(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [
        "--size",
        "128x96",
        "--size",
        "96x64",
        "--batch",
        1,
        "--dynamic",
        "--depth",
        10,
        "--precision",
        "fp32",
    ]
    (entry,) = built(capfd, *words, "-o", folder)
    profile = entry["spec"]["profile"]
    assert [profile[name]["width"] for name in ("min", "opt", "max")] == [96, 128, 128]
    assert (entry["spec"]["planes"], entry["spec"]["precision"]) == ("uint16", "fp32")


def test_options_take_precedence_over_the_profile(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(
        'gpus = "mine"\nsizes = ["64x64"]\ncompute_capabilities = ["7.5"]\nworkspace_mib = 64\n'
    )
    (entry,) = built(capfd, "--profile", profile, *SMALL, "-o", folder)
    assert entry["spec"]["profile"]["opt"]["width"] == 96
    assert entry["spec"]["target"]["compute_capabilities"] == ["7.5"]
    assert entry["spec"]["workspace_mib"] == 64


def test_the_gpu_of_this_machine_is_the_default_target(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "nvidia_gpus", lambda: [Gpu("card", "8.6", 8192, "13.0")])
    (entry,) = built(capfd, *SMALL, "-o", folder)
    assert entry["spec"]["target"]["compute_capabilities"] == ["8.6"]


@pytest.mark.parametrize(
    ("words", "message", "exit_code"),
    [
        (["--size", "big"], "size is 'big'; try WIDTHxHEIGHT", 2),
        (["--model", "identity"], "model 'identity' has no graph to run", 1),
        (["--size", "8x8"], "8×8 is too small for 'fast-fp16', which needs at least 16×16", 1),
        (["--dynamic", "--batch", "1"], "--dynamic needs at least two sizes or batches", 2),
        (["--compute-capability", "6.1"], "cannot build for compute capability 6.1; it supports 7.5", 1),
        (["--profile", "volta"], "no build profile is called 'volta'", 1),
        (["--model", "none"], "no model is called 'none'", 1),
        (["--batch", "0"], "0 is not in the range 1<=x<=64", 2),
    ],
)
def test_bad_requests_are_one_line(
    folder: Path, fails: Callable[..., str], words: list[str], message: str, exit_code: int
) -> None:
    assert message in fails("build", *words, "-o", folder, exit_code=exit_code)
    assert not list(folder.glob("*.engine"))


def test_the_type_of_planes_is_listed(tmp_path: Path) -> None:
    shape = ShapeProfile.static(Shape.of(1, 64, 96))
    spec = EngineSpec("fast", "0" * 64, "fp16", 4, shape, Target("rtx", "1.7"))
    shown = [
        engines._row(Entry(tmp_path, replace(spec, planes=planes), 0, 0.0, None, ""), "")[2]
        for planes in ("uint8", "uint16", "nv12")
    ]
    assert shown == ["1x64x96-420", "1x64x96-420-u16", "1x64x96-420-nv12"]


def test_an_unwritable_folder_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install 'rtdeblur[rtx]'")
    (tmp_path / "file").touch()
    assert main(["build", *SMALL, "-o", str(tmp_path / "file" / "engines")]) == 1
    said = capfd.readouterr().err
    assert "engines cannot be stored" in said
    assert "was built but could not be stored" in said


def test_an_empty_cache_is_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["engines", "-o", str(tmp_path / "none")]) == 0
    assert capfd.readouterr().out == f"no engines in {tmp_path / 'none'}\n"
