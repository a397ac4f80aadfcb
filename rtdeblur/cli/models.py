"""`rtdeblur models`: the bundled models and the user's own, when to use which, and their scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtdeblur.cli.report import echo, say
from rtdeblur.cli.speeds import measured as measured_speeds
from rtdeblur.errors import ModelError, OutputError
from rtdeblur.model import DEFAULT_MODEL, base_name

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
    speed = measured_speeds().get(manifest.sha256)
    return [
        f"{model.name}: {', '.join(facts)}",
        *_wrapped(_advice(model, default)),
        *_wrapped(f"PSNR, blurred → restored: {gains}" if gains else "not measured"),
        *([f"  speed here: {speed}"] if speed else []),
    ]


def _wrapped(text: str) -> list[str]:
    wrapped = click.formatting.wrap_text(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return wrapped.splitlines()


def _advice(model: Model, default: Model | None) -> str:
    """Say when to use a model, from its cost and scores relative to the default model."""
    if model.name == DEFAULT_MODEL:
        return "The default, made for speed."
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


@click.group("models", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the bundled models and your own, add one, or remove one.

    --model finds all of them by name. `python -m train import` turns a public checkpoint into a model.
    """
    if ctx.invoked_subcommand is None:
        _list(as_json)


def _list(as_json: bool) -> None:
    from rtdeblur.model import Model, bundled_models, user_models

    models = [Model.load(name) for name in bundled_models()]
    own = list(_loaded(user_models()))
    usable = [*models, *(model for _, model in own if isinstance(model, Model))]
    if as_json:
        manifests = [asdict(model.manifest) | {"bytes": len(model.onnx)} for model in usable]
        echo(json.dumps(manifests, indent=2))
        return
    default = next((model for model in models if model.name == DEFAULT_MODEL), None)
    blocks = [_lines(model, default) for model in models]
    for name, model in own:
        blocks.append(
            _lines(model, default) if isinstance(model, Model) else [f"{name}: {model.problem or model}"]
        )
    echo("\n\n".join("\n".join(lines) for lines in blocks) or "No bundled models; give a path with --model.")


def _loaded(names: list[str]) -> Iterator[tuple[str, Model | ModelError]]:
    """Yield the user's own models, or their errors: one damaged file does not hide the others."""
    from rtdeblur.model import Model

    for name in names:
        try:
            yield name, Model.load(name)
        except ModelError as error:
            yield name, error


@command.command(short_help="Copy a model into your folder.")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL.onnx")
@click.option("--name", metavar="NAME", help="Name for --model.  [default: the file's]")
@click.option("-y", "--overwrite", is_flag=True, help="Replace your own model of that name.")
def add(model: Path, name: str | None, overwrite: bool) -> None:
    """Copy a model's .onnx and .json, and its other precisions next to them, into your folder."""
    from rtdeblur.model import Model, files_of, new_name, user_folder

    loaded = Model.load(str(model))
    base = base_name(model.stem)
    name = new_name(base if name is None else name)
    folder = user_folder()
    taken = files_of(folder, name)
    if taken and not overwrite:
        raise ModelError(f"you have a model {name!r} already, in {folder}; choose another --name, or add -y")
    sources = files_of(loaded.path.parent, base)
    for onnx in (path for path in sources if path.suffix == ".onnx"):
        Model.load(str(onnx))  # nothing is copied unless all of it is whole
    try:
        contents = {path: path.read_bytes() for path in sources}  # first: they may be the files replaced
        folder.mkdir(parents=True, exist_ok=True)
        for path in taken:
            path.unlink()
        for path, data in contents.items():
            precision = path.stem.removeprefix(base)
            if path.suffix == ".json":
                manifest = json.loads(data) | {"name": f"{name}{precision}"}
                data = json.dumps(manifest, indent=2).encode() + b"\n"
            (folder / f"{name}{precision}{path.suffix}").write_bytes(data)
    except OSError as error:
        raise OutputError(f"cannot write to {str(folder)!r}: {error.strerror or error}") from error
    say("info", f"added {name}; use it with --model {name}")


@command.command()
@click.argument("name")
def remove(name: str) -> None:
    """Delete one of your own models."""
    from rtdeblur.model import bundled_models, files_of, user_folder, user_models

    if name in bundled_models():
        raise ModelError(f"{name!r} is bundled with rtdeblur and cannot be removed")
    if name not in user_models():
        known = ", ".join(user_models()) or "none"
        raise ModelError(f"you have no model {name!r}; your own models: {known}")
    try:
        for path in files_of(user_folder(), name):
            path.unlink()
    except OSError as error:
        raise OutputError(f"cannot remove {name!r}: {error.strerror or error}") from error
    say("info", f"removed {name}")


@command.command("path")
def show_path() -> None:
    """Print the folder of your own models."""
    from rtdeblur.model import user_folder

    echo(str(user_folder()))
