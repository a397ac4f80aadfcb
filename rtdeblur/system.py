"""Facts about this machine: CPU, cores, memory, GPUs; without the libraries that use them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR in cuda.h

_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_PROC = Path("/proc")
_NVIDIA, _DISPLAY = "0x10de", "0x03"  # PCI: the vendor, and the first byte of a display controller's class


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU, as described by its driver."""

    name: str
    compute_capability: str
    memory_mib: int
    driver_cuda: str


def nvidia_gpus() -> list[Gpu]:
    """List the CUDA driver's devices, through ctypes.

    Raises:
        OSError: there is no driver, or it fails to start.
    """
    cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")

    def number(function: str, *args: object) -> int:
        # Wide enough for all of these calls; the upper half stays zero for 32-bit results.
        value = ctypes.c_size_t(0)
        code = getattr(cuda, function)(ctypes.byref(value), *args)
        if code:
            raise OSError(f"the CUDA driver's {function} failed with code {code}")
        return value.value

    code = cuda.cuInit(0)
    if code == _NO_DEVICE:
        return []
    if code:
        raise OSError(f"the CUDA driver cannot start: cuInit failed with code {code}")
    version = number("cuDriverGetVersion")
    gpus = []
    for index in range(number("cuDeviceGetCount")):
        device = number("cuDeviceGet", index)
        name = ctypes.create_string_buffer(256)
        cuda.cuDeviceGetName(name, len(name), device)
        major, minor = (number("cuDeviceGetAttribute", which, device) for which in (_MAJOR, _MINOR))
        memory_mib = number("cuDeviceTotalMem_v2", device) >> 20
        driver_cuda = f"{version // 1000}.{version % 1000 // 10}"
        gpus.append(Gpu(name.value.decode(errors="replace"), f"{major}.{minor}", memory_mib, driver_cuda))
    return gpus


def first_gpu() -> Gpu | None:
    """Return CUDA's default GPU; None if there is none for any reason."""
    try:
        return next(iter(nvidia_gpus()), None)
    except (OSError, AttributeError):  # no driver, or one without these functions
        return None


def has_nvidia_card() -> bool:
    """Whether the PCI bus lists an NVIDIA GPU, with or without a driver; False if the system hides it."""
    for device in Path("/sys/bus/pci/devices").glob("*"):
        with suppress(OSError):
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
            if vendor == _NVIDIA and kind.startswith(_DISPLAY):
                return True
    return False


def why_no_gpu() -> str:
    """Return why CUDA has no GPU here; '' if it probably has one."""
    gpus = None
    with suppress(OSError, AttributeError):  # driver missing or not working
        gpus = nvidia_gpus()
    if gpus is None and has_nvidia_card():
        return "the NVIDIA GPU has no driver"
    return "" if gpus else "no NVIDIA GPU"


def nvidia_driver() -> str | None:
    """Return the version of NVIDIA's driver, such as 580.95.05; None if its management library is missing."""
    text = ctypes.create_string_buffer(96)
    with suppress(OSError, AttributeError):
        nvml = _nvml()
        if not nvml.nvmlSystemGetDriverVersion(text, len(text)):
            return text.value.decode(errors="replace") or None
    return None


class _NvmlMemory(ctypes.Structure):
    """nvmlMemory_t of nvml.h, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpu_memory_used_mib(index: int = 0) -> int | None:
    """Return the memory in use on a GPU by all programs; None if the driver does not report it."""
    memory, device = _NvmlMemory(), ctypes.c_void_p()
    with suppress(OSError, AttributeError):
        nvml = _nvml()
        failed = nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
        if not failed and not nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)):
            return int(memory.used >> 20)
    return None


def _nvml() -> ctypes.CDLL:
    nvml = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    if code := nvml.nvmlInit_v2():
        raise OSError(f"NVIDIA's management library cannot start: code {code}")
    return nvml


def _linux_cpuinfo() -> dict[str, str]:
    try:
        lines = (_PROC / "cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return {}
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu_name() -> str:
    """Return the CPU's name, as far as the system knows it."""
    return _linux_cpuinfo().get("model name") or platform.processor() or platform.machine() or "unknown"


def cpu_vendor() -> str | None:
    """Return the CPU's vendor, such as GenuineIntel; None if unknown."""
    return _linux_cpuinfo().get("vendor_id")


def cpu_flags() -> frozenset[str] | None:
    """Return the kernel's names of CPU features; None if it lists none."""
    cpuinfo = _linux_cpuinfo()
    flags = cpuinfo.get("flags") or cpuinfo.get("Features")
    return frozenset(flags.split()) if flags else None


def cpu_key() -> str:
    """Return the CPU's name and features as one text: virtual machines hide features under the same name."""
    features = hashlib.sha256(" ".join(sorted(cpu_flags() or ())).encode()).hexdigest()[:12]
    return f"{cpu_name()}, features {features}"


def usable_cores() -> int:
    """Count the logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def address_space_left_mib() -> int | None:
    """Return the address space left below this process's limit; None if unlimited or unknown."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    with suppress(OSError, ValueError, IndexError):
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return max(0, limit - pages * resource.getpagesize()) >> 20
    return None


def memory_mib() -> int | None:
    """Return the machine's memory; None if unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    except (AttributeError, ValueError, OSError):
        return _windows_memory_mib()


def _windows_memory_mib() -> int | None:
    if sys.platform != "win32":
        return None
    kibibytes = ctypes.c_ulonglong(0)
    if not ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kibibytes)):
        return None
    return kibibytes.value >> 10


def reset_peak_memory() -> bool:
    """Reset the process's peak memory, if the system can."""
    try:
        (_PROC / "self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory_mib() -> float | None:
    """Return the process's peak memory since its start or `reset_peak_memory`; None if unknown."""
    try:
        lines = (_PROC / "self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return None
