"""What `rtdeblur doctor` says of GPUs and TensorRT: each part that is needed, and how to get it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from rtdeblur.cli import hardware
from rtdeblur.cli.finding import Finding
from rtdeblur.errors import DependencyError, EngineError

_LEAST_CAPABILITY = 7.5
"""Turing; neither flavour supports an older GPU (support matrices of TensorRT 11 and TensorRT-RTX 1.7)."""
_LEAST_CUDA = 13.0
"""What the wheels of the extras are built for; drivers know it from 580 on."""
_DRIVER = (
    "install NVIDIA's driver 580 or later from https://www.nvidia.com/drivers"
    if sys.platform == "win32"
    else "install NVIDIA's driver 580 or later (Ubuntu: sudo ubuntu-drivers install) and restart"
)


def gpu() -> Iterator[Finding]:
    """Look for GPUs that TensorRT can use."""
    try:
        gpus = hardware.nvidia_gpus()
    except (OSError, AttributeError) as error:  # no library, or one that does not start
        if not hardware.has_nvidia_card():
            yield Finding("NVIDIA GPU", False, str(error), f"on a machine that has one: {_DRIVER}")
        else:
            yield Finding("NVIDIA GPU", False, f"there is one, and its driver is not: {error}", _DRIVER)
        return
    if not gpus:
        advice = "look at nvidia-smi and CUDA_VISIBLE_DEVICES; a container wants --gpus all"
        yield Finding("NVIDIA GPU", False, "there is a driver, and it finds none", advice)
    for one in gpus:
        what = f"{one.name}, compute capability {one.compute_capability}, {one.memory_mib / 1024:.0f} GiB"
        yield Finding("NVIDIA GPU", True, f"{what}, driver for CUDA {one.driver_cuda}")
        if float(one.compute_capability) < _LEAST_CAPABILITY:
            low = f"compute capability {one.compute_capability} is too low, {_LEAST_CAPABILITY} is the least"
            yield Finding(one.name, False, low, "--backend openvino runs on the processor")
        if float(one.driver_cuda) < _LEAST_CUDA:
            old = f"knows CUDA {one.driver_cuda}, TensorRT's packages need {_LEAST_CUDA}"
            yield Finding("NVIDIA driver", False, old, _DRIVER)


def tensorrt() -> Iterator[Finding]:
    """Look for all that running an engine needs besides a GPU."""
    from rtdeblur.engine.flavours import ENTERPRISE, FLAVOURS, choose

    flavours = list(FLAVOURS.values())
    present = [flavour for flavour in flavours if flavour.installed]
    for flavour in flavours:
        try:
            yield Finding(flavour.title, True, flavour.version)
        except DependencyError:
            install = f"pip install 'rtdeblur[{flavour.extra}]'"
            if present:
                yield Finding(flavour.title, True, f"not installed, and not needed beside {present[0].title}")
            elif flavour.portable and platform.machine().lower() not in ("x86_64", "amd64"):
                yield Finding(flavour.title, False, f"not made for {platform.machine()}")
            else:
                yield Finding(flavour.title, False, "not installed", install)
        except EngineError as error:
            yield Finding(flavour.title, False, str(error))
    card = hardware.first_gpu()
    if present:
        taken = choose("auto", card.compute_capability if card else None)
        if len(present) > 1:
            yield Finding("--flavour auto", True, taken.title)
        if card and taken.portable and card.compute_capability not in taken.targets:
            unlisted = f"does not list compute capability {card.compute_capability}, {card.name}"
            yield Finding(taken.title, False, unlisted, f"pip install 'rtdeblur[{ENTERPRISE.extra}]'")
    yield _cuda_from_python()
    yield _engine_folder()


def _cuda_from_python() -> Finding:
    from rtdeblur.cuda import DRIVERS

    found = [name for name, module in DRIVERS.items() if _is_there(module)]
    install = "pip install 'cuda-bindings>=13.0'"
    return Finding("CUDA from Python", bool(found), ", ".join(found) or "not installed", install)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that should hold it
        return False


def _engine_folder() -> Finding:
    from rtdeblur.engine.cache import FOLDER_VARIABLE, EngineCache

    cache = EngineCache()
    there = next(path for path in (cache.folder, *cache.folder.parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        advice = f"--engine-dir DIR, or set {FOLDER_VARIABLE}"
        return Finding("engine folder", False, f"{cache.folder} cannot be written", advice)
    entries = list(cache.entries())
    if bad := [entry for entry in entries if entry.problem]:
        advice = "rtdeblur engines --prune"
        return Finding("engine folder", False, f"{len(bad)} damaged engines in {cache.folder}", advice)
    return Finding("engine folder", True, f"{cache.folder}, {len(entries)} engines")
