"""`rtdeblur models`: the bundled models, when to use which, and their scores."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from rtdeblur.cli.report import echo
from rtdeblur.model import DEFAULT_MODEL

if TYPE_CHECKING:
    from rtdeblur.model import Model

_WIDTH = 80


def _lines(model: Model, default: Model | None) -> list[str]:
    """Describe a model in a few lines: its size, when to use it, its scores."""
    manifest = model.manifest
    parameters = manifest.architecture.get("parameters")
    facts = (
        str(manifest.architecture.get("generator", "?")),
        f"{parameters / 1e6:.2f} M parameters" if isinstance(parameters, int) else "? parameters",
        f"{len(model.onnx) / 1e6:.1f} MB",
        manifest.licence,
    )
    measured = _measured(model)
    gains = "; ".join(f"{i:.2f} → {o:.2f} dB ({data})" for data, (i, o) in measured.items())
    name = manifest.name.removesuffix("-fp16")  # name under which --model finds both precisions
    return [
        f"{name}: {', '.join(facts)}",
        *_wrapped(_advice(model, default)),
        *_wrapped(f"PSNR, blurred → restored: {gains}" if gains else "not measured"),
    ]


def _wrapped(text: str) -> list[str]:
    wrapped = click.formatting.wrap_text(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return wrapped.splitlines()


def _advice(model: Model, default: Model | None) -> str:
    """Say when to use a model, from its cost and scores relative to the default model."""
    name = model.manifest.name
    if name == DEFAULT_MODEL:
        return "The default: use it unless you compare models."
    if default is None:
        return "Use it with --model."
    ours, theirs = _measured(model), _measured(default)
    shared = next((data for data in theirs if data in ours), None)
    ratio = _work(model) / _work(default) if _work(default) else 0
    times = f", at {ratio:.2g} times the cost of {DEFAULT_MODEL}" if ratio else ""
    if shared is None:
        return f"Not measured on the same data as {DEFAULT_MODEL}{times}: compare both on your own videos."
    gain = ours[shared][1] - theirs[shared][1]
    if gain > 0:
        return f"Use it for the best result: {gain:.2f} dB better{times}."
    return f"Use it only to compare: {-gain:.2f} dB worse{times}."


def _work(model: Model) -> float:
    """Return the arithmetic per picture, in a unit common to all models; 0 if unknown."""
    gflop = model.manifest.architecture.get("gflop_256")
    return float(gflop) if isinstance(gflop, int | float) else 0.0


def _measured(model: Model) -> dict[str, tuple[float, float]]:
    """Return PSNR of blurred and restored pictures in dB, by name of the data."""
    scores: dict[str, Any] = model.manifest.scores
    return {
        data: (row["psnr_in"], row["psnr_out"])
        for data, row in scores.items()
        if isinstance(row, dict) and {"psnr_in", "psnr_out"} <= row.keys()
    }


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON.")
def command(as_json: bool) -> None:
    """List the bundled models: when to use which, and their scores."""
    from rtdeblur.model import Model, bundled_models

    models = [Model.load(name) for name in bundled_models()]
    if as_json:
        manifests = [asdict(model.manifest) | {"bytes": len(model.onnx)} for model in models]
        echo(json.dumps(manifests, indent=2))
    elif models:
        default = next((model for model in models if model.manifest.name == DEFAULT_MODEL), None)
        echo("\n\n".join("\n".join(_lines(model, default)) for model in models))
    else:
        echo("No bundled models; give a path with --model.")
