"""The doctor's findings on GPUs and TensorRT, on machines that lack one part or another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rtdeblur import cuda, system
from rtdeblur.backends.tensorrt import flavours
from rtdeblur.backends.tensorrt.flavours import Flavour
from rtdeblur.cli import doctor, main
from rtdeblur.cli.doctor import Finding
from rtdeblur.system import Gpu


class Driver:
    """A CUDA driver with one GPU (cuda.h: 75 and 76 ask for the compute capability)."""

    def __init__(self, code: int = 0, capability: tuple[int, int] = (9, 0), cuda: int = 13_010) -> None:
        self.cuInit = lambda flags: code
        self.attributes = {75: capability[0], 76: capability[1]}
        self.cuda = cuda

    def cuDriverGetVersion(self, out: Any) -> int:  # noqa: N802
        out._obj.value = self.cuda
        return 0

    def cuDeviceGetCount(self, out: Any) -> int:  # noqa: N802
        out._obj.value = 1
        return 0

    def cuDeviceGet(self, out: Any, index: int) -> int:  # noqa: N802
        out._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: int) -> int:  # noqa: N802
        name.value = b"NVIDIA H100"
        return 0

    def cuDeviceGetAttribute(self, out: Any, which: int, device: int) -> int:  # noqa: N802
        out._obj.value = self.attributes[which]
        return 0

    def cuDeviceTotalMem_v2(self, out: Any, device: int) -> int:  # noqa: N802
        out._obj.value = 80 << 30
        return 0


def no_library(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(**traits: Any) -> None:
        monkeypatch.setattr(system.ctypes, "CDLL", lambda name: Driver(**traits))

    return install


def wrong(findings: Iterator[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.ok]


def test_a_gpu_is_described(driver: Any) -> None:
    driver()
    (finding,) = doctor._gpu()
    assert finding.ok
    assert finding.value == "NVIDIA H100, compute capability 9.0, 80 GiB, driver for CUDA 13.1"


@pytest.mark.parametrize(("opens", "value"), [(True, "opens"), (False, "does not open; A100")])
def test_an_encoder_of_the_gpu_is_opened(
    driver: Any, monkeypatch: pytest.MonkeyPatch, opens: bool, value: str
) -> None:
    driver()
    tried: list[str] = []

    def nvenc_opens(name: str) -> bool:
        tried.append(name)
        return opens

    monkeypatch.setattr("rtdeblur.media.codecs.nvenc_opens", nvenc_opens)
    found = {finding.name: finding for finding in doctor._ffmpeg()}
    assert tried == ["h264_nvenc", "hevc_nvenc"]
    for name in tried:
        assert found[f"encoder {name}"].ok == opens
        assert found[f"encoder {name}"].value.startswith(value)
        assert not found[f"encoder {name}"].needed
    assert found["encoder libx264"].value == "found"


def test_an_encoder_of_the_gpu_is_not_opened_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.ctypes, "CDLL", no_library)
    monkeypatch.setattr("rtdeblur.media.codecs.nvenc_opens", None)
    found = {finding.name: finding for finding in doctor._ffmpeg()}
    assert found["encoder h264_nvenc"].value == "found"


@pytest.mark.parametrize(
    ("card", "value", "advice"),
    [
        (False, "cannot open", "if this machine has one"),
        (True, "its driver does not work", "install NVIDIA's"),
    ],
)
def test_a_missing_driver_is_reported(
    monkeypatch: pytest.MonkeyPatch, card: bool, value: str, advice: str
) -> None:
    monkeypatch.setattr(system.ctypes, "CDLL", no_library)
    monkeypatch.setattr(system, "has_nvidia_card", lambda: card)
    (finding,) = doctor._gpu()
    assert not finding.ok
    assert value in finding.value
    assert advice in finding.advice
    assert "580" in finding.advice


def test_a_driver_that_does_not_start_is_reported(driver: Any) -> None:
    driver(code=803)
    (finding,) = doctor._gpu()
    assert not finding.ok
    assert "code 803" in finding.value


def test_a_driver_without_a_gpu_is_reported(driver: Any) -> None:
    driver(code=100)
    (finding,) = doctor._gpu()
    assert not finding.ok
    assert "finds none" in finding.value
    assert "nvidia-smi" in finding.advice


def test_a_gpu_that_is_too_old_is_reported(driver: Any) -> None:
    driver(capability=(6, 1))
    (finding,) = wrong(doctor._gpu())
    assert "compute capability 6.1 is too low, needs 7.5 or more" in finding.value


def test_a_driver_that_is_too_old_is_reported(driver: Any) -> None:
    driver(cuda=12_080)
    (finding,) = wrong(doctor._gpu())
    assert finding.name == "NVIDIA driver"
    assert finding.value == "supports CUDA 12.8; TensorRT's packages need 13.0"
    assert "580" in finding.advice


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Make modules appear installed or missing, with versions that need no library."""
    monkeypatch.setenv("RTDEBLUR_ENGINE_DIR", str(tmp_path / "engines"))

    def install(*present: str) -> None:
        def find(name: str) -> object:
            if name.partition(".")[0] in ("tensorrt", "tensorrt_rtx", "cuda", "pycuda"):
                if name == "cuda.bindings" and name not in present:
                    raise ModuleNotFoundError("No module named 'cuda'")
                return name if name in present else None
            return find_spec(name)

        def load(self: Flavour) -> Any:
            if self.module not in present:
                raise flavours.DependencyError(self.module, self.extra, self.title)
            capabilities = SimpleNamespace(__members__={"NONE": 0, "SM89": 89})
            return SimpleNamespace(__version__="1.2.3", ComputeCapability=capabilities)

        monkeypatch.setattr(flavours, "find_spec", find)
        monkeypatch.setattr(doctor, "find_spec", find)
        monkeypatch.setattr(cuda, "find_spec", find)
        monkeypatch.setattr(Flavour, "load", load)

    return install


def test_missing_packages_come_with_an_install_command(packages: Any) -> None:
    packages()
    advices = {finding.name: finding.advice for finding in wrong(doctor._tensorrt())}
    assert advices["TensorRT"] == "pip install 'rtdeblur[tensorrt]'"
    assert advices["CUDA from Python"] == "pip install 'cuda-bindings>=13.0'"
    assert "TensorRT-RTX" in advices


@pytest.mark.parametrize("module", ["tensorrt_rtx", "tensorrt"])
def test_one_flavour_is_enough(packages: Any, module: str) -> None:
    packages(module, "cuda.bindings")
    assert not wrong(doctor._tensorrt())


@pytest.mark.parametrize(("capability", "taken"), [("8.9", "TensorRT-RTX"), ("9.0", "TensorRT")])
def test_of_two_flavours_the_one_in_use_is_named(
    packages: Any, monkeypatch: pytest.MonkeyPatch, capability: str, taken: str
) -> None:
    packages("tensorrt_rtx", "tensorrt", "pycuda")
    monkeypatch.setattr(system, "nvidia_gpus", lambda: [Gpu("card", capability, 8192, "13.0")])
    findings = {finding.name: finding for finding in doctor._tensorrt()}
    assert findings["--flavour auto"].value == taken
    assert findings["CUDA from Python"].value == "pycuda"


def test_a_gpu_unknown_to_rtx_needs_the_enterprise_flavour(
    packages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages("tensorrt_rtx", "cuda.bindings")
    monkeypatch.setattr(system, "nvidia_gpus", lambda: [Gpu("NVIDIA H100", "9.0", 8192, "13.0")])
    (finding,) = wrong(doctor._tensorrt())
    assert finding.value == "does not list compute capability 9.0, NVIDIA H100"
    assert finding.advice == "pip install 'rtdeblur[tensorrt]'"


def test_missing_cuda_bindings_are_reported(packages: Any) -> None:
    packages("tensorrt_rtx")
    assert [finding.name for finding in wrong(doctor._tensorrt())] == ["CUDA from Python"]


@pytest.mark.parametrize("kind", ["file", "read-only"])
def test_an_unwritable_engine_folder_is_reported(
    packages: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    packages("tensorrt_rtx", "cuda.bindings")
    if kind == "file":
        (tmp_path / "engines").touch()
    else:  # permissions do not bind root
        monkeypatch.setattr(os, "access", lambda *_: False)
    (finding,) = wrong(doctor._tensorrt())
    assert finding.value == f"{tmp_path / 'engines'} cannot be written"
    assert "--engine-dir" in finding.advice


def test_a_damaged_engine_is_reported(packages: Any, tmp_path: Path) -> None:
    packages("tensorrt_rtx", "cuda.bindings")
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "x.engine").touch()
    (finding,) = wrong(doctor._tensorrt())
    assert "1 damaged engine in" in finding.value
    assert finding.advice == "rtdeblur engines --prune"


@pytest.mark.parametrize("ready", [True, False])
def test_the_line_of_the_backend_says_whether_it_is_ready(
    packages: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ready: bool
) -> None:
    packages("tensorrt_rtx", *["cuda.bindings"] * ready)
    monkeypatch.setattr(system, "nvidia_gpus", lambda: [Gpu("card", "8.9", 8192, "13.0")])
    monkeypatch.setattr(doctor, "_PROBES", {"Backends": doctor._backends})
    monkeypatch.setattr(doctor, "_speed_here", lambda: "as fast as ever")
    main(["doctor"])
    said = capsys.readouterr().out
    verdict = "✓ tensorrt: ready" if ready else "✗ tensorrt: missing: CUDA from Python; see GPU and TensorRT"
    assert verdict in said
