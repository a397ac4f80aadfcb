"""`rtdeblur doctor`: whether this machine is ready, and what to install for more."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Literal

import click

from rtdeblur import system
from rtdeblur.cli.report import echo, line_of, plain
from rtdeblur.errors import BackendError, DependencyError, EngineError, ModelError
from rtdeblur.plurals import counted

_REINSTALL = "pip install --force-reinstall rtdeblur"
_FEATURES = {
    "AVX2": "avx2",
    "AVX-512": "avx512f",
    "AVX-512 bf16": "avx512_bf16",
    "AMX bf16": "amx_bf16",
    "AVX-512 VNNI": "avx512_vnni",
    "AMX int8": "amx_int8",
}
_CPU_PRECISIONS = ("int8", "bf16", "fp32")
_ENCODERS = ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "h264_nvenc", "hevc_nvenc")
_DECODERS = ("h264", "hevc", "vp9", "av1", "prores", "ffv1")
_SECONDS = 0.3
"""Least time to measure inference for."""
_LEAST_CAPABILITY = 7.5
"""Turing; neither flavour supports an older GPU (support matrices of TensorRT 11 and TensorRT-RTX 1.7)."""
_LEAST_CUDA = 13.0
"""CUDA version that the extras' wheels are built for, supported by drivers from 580 on."""
_DRIVER = (
    "install NVIDIA's driver 580 or later from https://www.nvidia.com/drivers"
    if sys.platform == "win32"
    else "install NVIDIA's driver 580 or later (Ubuntu: sudo ubuntu-drivers install) and restart"
)


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        name: what was checked.
        ok: whether it is present and works.
        value: what was found.
        advice: what to do if not ok.
        needed: whether nothing can be deblurred without it.
    """

    name: str
    ok: bool
    value: str
    advice: str = ""
    needed: bool = False


def _software() -> Iterator[Finding]:
    yield Finding("Python", True, platform.python_version())
    yield from map(_package, ("rtdeblur", "numpy", "av", "openvino"))


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name), needed=True)
    except PackageNotFoundError:
        return Finding(name, False, "not installed", _REINSTALL, needed=True)


def _ffmpeg() -> Iterator[Finding]:
    from rtdeblur.ffmpeg.formats import ffmpeg_version
    from rtdeblur.media.encoder_traits import is_nvenc

    yield Finding("FFmpeg", True, f"{ffmpeg_version()} (bundled with av)")
    for name in _ENCODERS:
        found = _codec("encoder", name, "w")
        yield _opened(name, found) if is_nvenc(name) and found.ok and system.first_gpu() else found
    for name in _DECODERS:
        yield _codec("decoder", name, "r")


def _codec(kind: str, name: str, mode: Literal["r", "w"]) -> Finding:
    from rtdeblur.ffmpeg.formats import has_codec

    if not has_codec(name, mode):
        return Finding(f"{kind} {name}", False, "not in this build of av", "pip install --upgrade av")
    return Finding(f"{kind} {name}", True, "found")


def _opened(name: str, found: Finding) -> Finding:
    """Check that an encoder of the GPU opens: some GPUs have none, and some drivers lack its library."""
    from rtdeblur.media.codecs import nvenc_opens

    if nvenc_opens(name):
        return replace(found, value="opens")
    advice = "on another GPU, install the driver's library libnvidia-encode"
    return Finding(found.name, False, "does not open; A100, H100, H200 and B200 have no NVENC", advice)


def _processor() -> Iterator[Finding]:
    yield Finding("name", True, system.cpu_name())
    yield Finding("usable cores", True, str(system.usable_cores()))
    flags = system.cpu_flags()
    if flags is not None and platform.machine().lower() in ("x86_64", "amd64"):
        for name, flag in _FEATURES.items():
            yield Finding(name, flag in flags, "yes" if flag in flags else "not supported by this CPU")
    memory_mib = system.memory_mib()
    yield Finding(
        "memory", memory_mib is not None, f"{memory_mib / 1024:.1f} GiB" if memory_mib else "unknown"
    )


def _openvino() -> Iterator[Finding]:
    from rtdeblur.backends.openvino import auto_precision, core, devices, is_fast_in_bf16
    from rtdeblur.model import DEFAULT_MODEL, Model

    for name, what in devices().items():
        yield Finding(f"--device {name}", True, what, needed=name == "cpu")
    chosen, why = auto_precision(core(), Model.load(DEFAULT_MODEL), bf16=is_fast_in_bf16(core()))
    yield Finding("--precision auto", True, f"{chosen}{why}; or choose one of {', '.join(_CPU_PRECISIONS)}")


def _gpu() -> Iterator[Finding]:
    """Look for GPUs that TensorRT can use."""
    try:
        gpus = system.nvidia_gpus()
    except (OSError, AttributeError) as error:  # library missing or not working
        if not system.has_nvidia_card():
            yield Finding("NVIDIA GPU", False, str(error), f"if this machine has one: {_DRIVER}")
        else:
            yield Finding("NVIDIA GPU", False, f"found, but its driver does not work: {error}", _DRIVER)
        return
    if not gpus:
        advice = "check nvidia-smi and CUDA_VISIBLE_DEVICES; in a container, use --gpus all"
        yield Finding("NVIDIA GPU", False, "the driver finds none", advice)
    for one in gpus:
        what = f"{one.name}, compute capability {one.compute_capability}, {one.memory_mib / 1024:.0f} GiB"
        yield Finding("NVIDIA GPU", True, f"{what}, driver for CUDA {one.driver_cuda}")
        if float(one.compute_capability) < _LEAST_CAPABILITY:
            low = f"compute capability {one.compute_capability} is too low, needs {_LEAST_CAPABILITY} or more"
            yield Finding(one.name, False, low, "use the CPU with --backend openvino")
        if float(one.driver_cuda) < _LEAST_CUDA:
            old = f"supports CUDA {one.driver_cuda}; TensorRT's packages need {_LEAST_CUDA}"
            yield Finding("NVIDIA driver", False, old, _DRIVER)


def _tensorrt() -> Iterator[Finding]:
    """Check everything besides a GPU that an engine needs."""
    from rtdeblur.backends.tensorrt.flavours import ENTERPRISE, FLAVOURS, choose

    flavours = list(FLAVOURS.values())
    present = [flavour for flavour in flavours if flavour.installed]
    for flavour in flavours:
        try:
            yield Finding(flavour.title, True, flavour.version)
        except DependencyError:
            install = f"pip install 'rtdeblur[{flavour.extra}]'"
            if present:
                yield Finding(flavour.title, True, f"optional ({present[0].title} is used)")
            elif flavour.portable and platform.machine().lower() not in ("x86_64", "amd64"):
                yield Finding(flavour.title, False, f"not available for {platform.machine()}")
            else:
                yield Finding(flavour.title, False, "not installed", install)
        except EngineError as error:
            yield Finding(flavour.title, False, str(error))
    card = system.first_gpu()
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
    from rtdeblur.cuda import DRIVERS, installed

    found = [name for name, module in DRIVERS.items() if installed(module)]
    install = "pip install 'cuda-bindings>=13.0'"
    return Finding("CUDA from Python", bool(found), ", ".join(found) or "not installed", install)


def _engine_folder() -> Finding:
    from rtdeblur.backends.tensorrt.cache import FOLDER_VARIABLE, EngineCache

    cache = EngineCache()
    there = next(path for path in (cache.folder, *cache.folder.parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        advice = f"--engine-dir DIR, or set {FOLDER_VARIABLE}"
        return Finding("engine folder", False, f"{cache.folder} cannot be written", advice)
    entries = list(cache.entries())
    if bad := [entry for entry in entries if entry.problem]:
        advice = "rtdeblur engines --prune"
        return Finding(
            "engine folder", False, f"{counted(len(bad), 'damaged engine')} in {cache.folder}", advice
        )
    return Finding("engine folder", True, f"{cache.folder}, {counted(len(entries), 'engine')}")


def _backends() -> Iterator[Finding]:
    yield Finding("openvino", *_found("openvino"), _REINSTALL)
    missing = [f.name for probe in (_gpu, _tensorrt) for f in probe() if not f.ok]
    lacks = f"missing: {', '.join(dict.fromkeys(missing))}; see GPU and TensorRT"
    yield Finding("tensorrt", not missing, lacks if missing else "ready")
    yield _onnxruntime()


def _onnxruntime() -> Finding:
    from rtdeblur.backends.onnxruntime import accelerators

    install = "pip install 'rtdeblur[directml]' on Windows, 'rtdeblur[cuda]' for NVIDIA, else [onnxruntime]"
    if not (find_spec("onnxruntime") and find_spec("onnx")):
        return Finding("onnxruntime", False, "not installed", install)
    try:
        found = accelerators()
    except BackendError as error:
        return Finding("onnxruntime", False, str(error), install)
    return Finding("onnxruntime", True, f"for {', '.join([*found, 'CPU'])}")


def _found(module: str) -> tuple[bool, str]:
    found = find_spec(module) is not None
    return found, "installed" if found else "not installed"


def _live() -> Iterator[Finding]:
    install = "pip install 'rtdeblur[live]'"
    yield _module("cameras", "cv2", install)
    # Both install into the same folder: the last one wins, and headless has no windows.
    packages = [name for name in ("opencv-python", "opencv-python-headless") if _is_installed(name)]
    if "opencv-python-headless" in packages:
        advice = f"pip uninstall -y {' '.join(packages)} && pip install opencv-python"
        yield Finding("windows", False, f"hidden by {packages[-1]}", advice)
    else:
        yield _module("windows", "cv2", install)
    yield _module("virtual camera", "pyvirtualcam", "pip install 'rtdeblur[virtual-camera]'")


def _module(name: str, module: str, install: str) -> Finding:
    return Finding(name, *_found(module), install)


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _models() -> Iterator[Finding]:
    from rtdeblur.model import bundled_models, user_models

    names = bundled_models()
    if not names:
        yield Finding("bundled models", False, "none", f"{_REINSTALL}, or choose one with --model PATH")
    yield from (_model(name, _REINSTALL, needed=True) for name in names)
    yield from (_model(name, f"rtdeblur models remove {name}") for name in user_models())


def _model(name: str, advice: str, *, needed: bool = False) -> Finding:
    from rtdeblur.model import Model

    try:
        manifest = Model.load(name).manifest
    except ModelError as error:
        return Finding(name, False, str(error), advice, needed=needed)
    return Finding(name, True, f"sha256 {manifest.sha256[:12]}… verified", needed=needed)


_PROBES: dict[str, Callable[[], Iterator[Finding]]] = {
    "Software": _software,
    "Processor": _processor,
    "OpenVINO": _openvino,
    "GPU": _gpu,
    "TensorRT": _tensorrt,
    "Backends": _backends,
    "FFmpeg": _ffmpeg,
    "Live": _live,
    "Models": _models,
}


def examine() -> dict[str, list[Finding]]:
    """Run all checks; a check that fails is itself a finding."""
    report: dict[str, list[Finding]] = {}
    for title, probe in _PROBES.items():
        findings = report.setdefault(title, [])
        try:
            findings.extend(probe())
        except Exception as error:  # doctor itself must not fail
            findings.append(
                Finding(title, False, f"{type(error).__name__}: {error}", _REINSTALL, needed=True)
            )
    return report


def _marks() -> tuple[str, str]:
    marks = ("✗", "✓")
    try:
        "".join(marks).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "no ", "yes"
    return marks


def _verdict(broken: list[Finding]) -> str:
    """Return the verdict: whether videos can be restored here, on what device, and how fast."""
    if broken:
        names = ", ".join(dict.fromkeys(finding.name for finding in broken))
        return f"Not ready: {names}; see below."
    try:
        return f"Ready: {_speed_here()}"
    except Exception as error:  # the findings below may explain it
        return f"Not ready: the default model fails: {line_of(error)}"


def _speed_here() -> str:
    """Return the device of the default model and its speed, measured briefly."""
    from rtdeblur import bench
    from rtdeblur.backends import open_backend
    from rtdeblur.backends.base import EngineOptions
    from rtdeblur.model import DEFAULT_MODEL, Model

    # A GPU engine is built for one size, so measure at 720p; on the CPU, a quarter of it is faster.
    with open_backend("auto", Model.load(DEFAULT_MODEL), engines=EngineOptions()) as backend:
        if backend.device != "CPU":
            height, width, scale = 720, 1280, 1
        else:
            height, width, scale = 360, 640, 4
        fps = bench.time_inference(backend, bench.noise(4, height, width), _SECONDS).fps / scale
        device = backend.device
    return f"{device}, about {fps:.{0 if fps >= 2 else 1}f} fps at 720p."


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show whether this machine is ready, how fast it is, and what to install for more."""
    report = examine()
    broken = [finding for found in report.values() for finding in found if finding.needed and not finding.ok]
    if as_json:
        findings = {title: [asdict(finding) for finding in found] for title, found in report.items()}
        echo(json.dumps(findings, indent=2))
    else:
        marks = _marks()
        echo(_verdict(broken) + "\n")
        for title, found in report.items():
            echo(title)
            for finding in found:
                advice = f" ({finding.advice})" if finding.advice and not finding.ok else ""
                echo(plain(f"  {marks[finding.ok]} {finding.name}: {finding.value}{advice}"))
    if broken:
        ctx.exit(1)
