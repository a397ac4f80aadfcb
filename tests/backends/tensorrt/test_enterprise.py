"""The builder's calls of the enterprise flavour, on a fake (`fake_tensorrt`); nothing is built."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from rtdeblur.backends.tensorrt import flavours
from rtdeblur.backends.tensorrt.builder import build
from rtdeblur.backends.tensorrt.flavours import ENTERPRISE, RTX, choose, log_of
from rtdeblur.backends.tensorrt.spec import EngineSpec, Shape, Target
from rtdeblur.errors import DependencyError, EngineError

MakeSpec = Callable[..., EngineSpec]


def fake(version: str, trouble: str = "") -> Any:
    path = Path(__file__).with_name("fake_tensorrt.py")
    spec = importlib.util.spec_from_file_location("fake_tensorrt", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FakeTensorRT(version, trouble)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Install the fake as `tensorrt`."""

    def install(version: str, trouble: str = "") -> Any:
        trt = fake(version, trouble)
        trt.__spec__ = ModuleSpec("tensorrt", None)
        monkeypatch.setitem(sys.modules, "tensorrt", trt)
        log_of.cache_clear()
        return trt

    yield install
    log_of.cache_clear()


def spec_of(make_spec: MakeSpec, version: str) -> EngineSpec:
    target = Target("tensorrt", version, ("8.9",), "NVIDIA GeForce RTX 4090")
    shapes = Shape.of(1, 64, 96), Shape.of(4, 128, 192)
    return make_spec(*shapes, target=target, workspace_mib=256, optimization_level=4)


@pytest.mark.parametrize(("version", "flags"), [("10.13.3.9", 4), ("11.1.0.2", 0)])
def test_networks_are_strongly_typed(
    install: Callable[..., Any], make_spec: MakeSpec, version: str, flags: int
) -> None:
    """Through a flag in version 10, always in 11."""
    install(version)
    shares: list[float] = []
    asked = build(b"graph", spec_of(make_spec, version), lambda share, _: shares.append(share)).decode()
    assert asked.splitlines() == [
        f"network {flags}",
        "builder_optimization_level 4",
        f"workspace {256 << 20}",
        "y (1, 1, 64, 96) (4, 1, 128, 192)",
        "u (1, 1, 32, 48) (4, 1, 64, 96)",
        "v (1, 1, 32, 48) (4, 1, 64, 96)",
        "progress_monitor",
    ]
    assert shares == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("start", "CUDA initialization failure with error: 35"),
        ("parse", r"node 'node_pad' \(Pad\): no plugin for it"),
        ("build", "Could not find any implementation for node"),
    ],
)
def test_failures_are_reported_with_tensorrts_message(
    install: Callable[..., Any], make_spec: MakeSpec, trouble: str, message: str
) -> None:
    install("11.1.0.2", trouble)
    with pytest.raises(EngineError, match=f"TensorRT 11.1.0.2 cannot build m .*: {message}$"):
        build(b"graph", spec_of(make_spec, "11.1.0.2"))


def test_an_engine_for_another_version_is_refused(install: Callable[..., Any], make_spec: MakeSpec) -> None:
    install("11.1.0.2")
    with pytest.raises(EngineError, match=r"for TensorRT 10\.13, but 11\.1\.0\.2 is installed"):
        build(b"graph", spec_of(make_spec, "10.13"))


@pytest.mark.parametrize(
    ("present", "capability", "chosen"),
    [
        ({"tensorrt", "tensorrt_rtx"}, None, RTX),
        ({"tensorrt", "tensorrt_rtx"}, "8.9", RTX),
        ({"tensorrt", "tensorrt_rtx"}, "9.0", ENTERPRISE),
        ({"tensorrt_rtx"}, "9.0", RTX),
        ({"tensorrt"}, "8.6", ENTERPRISE),
    ],
)
def test_auto_chooses_a_flavour_by_gpu(
    monkeypatch: pytest.MonkeyPatch, present: set[str], capability: str | None, chosen: flavours.Flavour
) -> None:
    monkeypatch.setattr(flavours, "find_spec", lambda name: name in present or None)
    assert choose("auto", capability) is chosen
    assert choose(chosen.name) is chosen


def test_a_missing_flavour_names_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flavours, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install 'rtdeblur\[rtx\]'"):
        choose()
    with pytest.raises(DependencyError, match=r"pip install 'rtdeblur\[tensorrt\]'"):
        choose("tensorrt")
    with pytest.raises(
        EngineError, match="no TensorRT flavour is called 'trt'; try one of auto, rtx, tensorrt"
    ):
        choose("trt")


def test_a_flavour_that_does_not_load_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr(flavours, "find_spec", lambda name: True)
    monkeypatch.setattr(flavours.importlib, "import_module", fail)
    with pytest.raises(
        EngineError, match=r"installed but does not load: libnvinfer.so.11.*--force-reinstall"
    ):
        ENTERPRISE.load()
