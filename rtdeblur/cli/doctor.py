"""`rtdeblur doctor`: what was found, and what to install for more."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Literal

import click

from rtdeblur.cli import doctor_gpu, hardware
from rtdeblur.cli.finding import Finding
from rtdeblur.errors import ModelError

_REINSTALL = "pip install --force-reinstall rtdeblur"
_FEATURES = {"AVX2": "avx2", "AVX-512": "avx512f", "AVX-512 bf16": "avx512_bf16", "AMX bf16": "amx_bf16"}
_ENCODERS = ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "h264_nvenc", "hevc_nvenc")
_DECODERS = ("h264", "hevc", "vp9", "av1", "prores", "ffv1")


def _software() -> Iterator[Finding]:
    yield Finding("Python", True, platform.python_version())
    yield from map(_package, ("rtdeblur", "numpy", "av", "openvino"))


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name), needed=True)
    except PackageNotFoundError:
        return Finding(name, False, "not installed", _REINSTALL, needed=True)


def _ffmpeg() -> Iterator[Finding]:
    import av

    yield Finding("FFmpeg", True, f"{av.ffmpeg_version_info} (the one inside av)")
    for name in _ENCODERS:
        yield _codec("encoder", name, "w")
    for name in _DECODERS:
        yield _codec("decoder", name, "r")


def _codec(kind: str, name: str, mode: Literal["r", "w"]) -> Finding:
    from av.codec import Codec

    try:
        Codec(name, mode)
    except ValueError:  # what av raises for an unknown codec derives from it
        return Finding(f"{kind} {name}", False, "not in this build of av", "pip install --upgrade av")
    return Finding(f"{kind} {name}", True, "found")


def _processor() -> Iterator[Finding]:
    yield Finding("name", True, hardware.cpu_name())
    yield Finding("usable cores", True, str(hardware.usable_cores()))
    flags = hardware.cpu_flags()
    if flags is not None and platform.machine().lower() in ("x86_64", "amd64"):
        for name, flag in _FEATURES.items():
            yield Finding(name, flag in flags, "yes" if flag in flags else "not in this processor")
    memory_mib = hardware.memory_mib()
    yield Finding(
        "memory", memory_mib is not None, f"{memory_mib / 1024:.1f} GiB" if memory_mib else "unknown"
    )


def _openvino() -> Iterator[Finding]:
    import openvino

    from rtdeblur.backends.openvino import is_fast_in_bf16

    core = openvino.Core()
    yield Finding("openvino devices", True, ", ".join(core.available_devices), needed=True)
    precision = "bf16" if is_fast_in_bf16(core) else "fp32 (no fast bfloat16 in this processor)"
    yield Finding("--precision auto", True, precision)


def _backends() -> Iterator[Finding]:
    yield Finding("identity", True, "always")
    yield Finding("openvino", *_found("openvino"), _REINSTALL)
    missing = [f.name for probe in (doctor_gpu.gpu, doctor_gpu.tensorrt) for f in probe() if not f.ok]
    lacks = f"lacks: {', '.join(dict.fromkeys(missing))}; see GPU and TensorRT"
    yield Finding("tensorrt", not missing, lacks if missing else "ready")


def _found(module: str) -> tuple[bool, str]:
    found = find_spec(module) is not None
    return found, "installed" if found else "not installed"


def _live() -> Iterator[Finding]:
    install = "pip install 'rtdeblur[live]'"
    yield _module("cameras", "cv2", install)
    # They share one folder: what was installed last overwrites the other, and headless has no windows.
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
    from rtdeblur.model import bundled_models

    names = bundled_models()
    if not names:
        yield Finding("bundled models", False, "none", f"{_REINSTALL}, or name one by --model PATH")
    yield from map(_model, names)


def _model(name: str) -> Finding:
    from rtdeblur.model import Model

    try:
        manifest = Model.load(name).manifest
    except ModelError as error:
        return Finding(name, False, str(error), _REINSTALL, needed=True)
    return Finding(name, True, f"sha256 {manifest.sha256[:12]}… verified", needed=True)


_PROBES: dict[str, Callable[[], Iterator[Finding]]] = {
    "Software": _software,
    "Processor": _processor,
    "OpenVINO": _openvino,
    "GPU": doctor_gpu.gpu,
    "TensorRT": doctor_gpu.tensorrt,
    "Backends": _backends,
    "FFmpeg": _ffmpeg,
    "Live": _live,
    "Models": _models,
}


def examine() -> dict[str, list[Finding]]:
    """Look for everything; a probe that fails is itself a finding."""
    report: dict[str, list[Finding]] = {}
    for title, probe in _PROBES.items():
        findings = report.setdefault(title, [])
        try:
            findings.extend(probe())
        except Exception as error:  # the doctor's own legs must not break
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


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings for programs.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show what was found here, and what to install for more."""
    report = examine()
    if as_json:
        findings = {title: [asdict(finding) for finding in found] for title, found in report.items()}
        click.echo(json.dumps(findings, indent=2))
    else:
        marks = _marks()
        for title, found in report.items():
            click.echo(title)
            for finding in found:
                advice = f" ({finding.advice})" if finding.advice and not finding.ok else ""
                click.echo(f"  {marks[finding.ok]} {finding.name}: {finding.value}{advice}")
    if any(finding.needed and not finding.ok for found in report.values() for finding in found):
        ctx.exit(1)
