"""Facts that the system reports about its CPU, memory and GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtdeblur import system


def test_the_machine_is_described() -> None:
    assert system.cpu_name() != "unknown"
    assert system.usable_cores() >= 1
    assert (system.memory_mib() or 1 << 20) > 100


def test_the_cpu_is_described_by_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_PROC", tmp_path)
    assert (system.cpu_vendor(), system.cpu_flags(), system.peak_memory_mib()) == (None, None, None)
    lines = (
        "processor\t: 0",
        "vendor_id\t: AuthenticAMD",
        "model name\t: EPYC 9R14",
        "flags\t\t: fpu avx512bw",
    )
    (tmp_path / "cpuinfo").write_text("\n".join(lines))
    assert (system.cpu_vendor(), system.cpu_name()) == ("AuthenticAMD", "EPYC 9R14")
    assert system.cpu_flags() == {"fpu", "avx512bw"}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads /proc")
def test_peak_memory_can_be_reset() -> None:
    block = bytearray(64 << 20)
    before = system.peak_memory_mib()
    del block
    assert before is not None
    if system.reset_peak_memory():  # not every container allows it
        after = system.peak_memory_mib()
        assert after is not None
        assert after < before


def test_gpus_are_found_on_the_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "Path", lambda _: tmp_path)
    assert not system.has_nvidia_card()
    for name, vendor, kind in (("0", "0x10de", "0x040300"), ("1", "0x8086", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    assert not system.has_nvidia_card()  # a card's sound, and another maker's picture
    (tmp_path / "0" / "class").write_text("0x030200\n")
    assert system.has_nvidia_card()


class Nvml:
    """A fake of NVIDIA's management library, with a card that uses 3 GiB."""

    def __init__(self, name: str) -> None:
        assert "nvidia-ml" in name or name == "nvml.dll"

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlSystemGetDriverVersion(self, text: object, length: int) -> int:  # noqa: N802
        text.value = b"580.95.05"  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, out: object) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetMemoryInfo(self, device: object, out: object) -> int:  # noqa: N802
        out._obj.used = 3 << 30  # type: ignore[attr-defined]
        return 0


def test_the_driver_reports_gpu_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.ctypes, "CDLL", Nvml)
    assert system.nvidia_driver() == "580.95.05"
    assert system.gpu_memory_used_mib() == 3072


def test_nothing_is_reported_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(system.ctypes, "CDLL", missing)
    assert (system.nvidia_driver(), system.gpu_memory_used_mib()) == (None, None)
