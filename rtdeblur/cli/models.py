"""`rtdeblur models`: the bundled models and what they measure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rtdeblur.cli.report import echo, table

if TYPE_CHECKING:
    from rtdeblur.model import Model

_HEADERS = ("name", "architecture", "parameters", "PSNR in → out", "licence", "size")


def _row(model: Model) -> tuple[str, ...]:
    manifest = model.manifest
    architecture = manifest.architecture
    parameters = architecture.get("parameters")
    measured = {data: row for data, row in manifest.scores.items() if {"psnr_in", "psnr_out"} <= row.keys()}
    return (
        manifest.name,
        str(architecture.get("generator", "?")),
        f"{parameters / 1e6:.2f} M" if isinstance(parameters, int) else "?",
        "; ".join(_gain(data, row) for data, row in measured.items()) or "not measured",
        manifest.licence,
        f"{len(model.onnx) / 1e6:.1f} MB",
    )


def _gain(data: str, measures: dict[str, float]) -> str:
    return f"{measures['psnr_in']:.2f} → {measures['psnr_out']:.2f} dB ({data})"


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print the manifests for programs.")
def command(as_json: bool) -> None:
    """List the bundled models and what they measure."""
    from rtdeblur.model import Model, bundled_models

    models = [Model.load(name) for name in bundled_models()]
    if as_json:
        manifests = [asdict(model.manifest) | {"bytes": len(model.onnx)} for model in models]
        echo(json.dumps(manifests, indent=2))
    elif models:
        echo(table([_HEADERS, *map(_row, models)]))
    else:
        echo("no model is bundled; --model takes the path of one")
