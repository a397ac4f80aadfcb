"""`rtdeblur engines`: cache of TensorRT engines."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtdeblur.cli.build import ENGINE_DIR
from rtdeblur.cli.options import Number
from rtdeblur.cli.report import echo, say, table
from rtdeblur.plurals import counted

if TYPE_CHECKING:
    from rtdeblur.backends.tensorrt.cache import Entry
    from rtdeblur.backends.tensorrt.spec import EngineSpec

_HEADERS = ("model", "precision", "shapes", "flavour", "for", "size", "used", "state")


def _row(entry: Entry, stale: str) -> tuple[str, ...]:
    used_days = max(0.0, time.time() - entry.used_at) / 86400
    used = "today" if used_days < 1 else f"{counted(round(used_days), 'day')} ago"
    size, state = f"{entry.size / 1e6:.1f} MB", entry.problem or stale or "good"
    if entry.spec is None:
        return (entry.path.name, "?", "?", "?", "?", size, used, state)
    spec, target = entry.spec, entry.spec.target
    return (
        f"{spec.model} {spec.model_sha256[:8]}", spec.precision, spec.shapes,
        f"{target.flavour} {target.version}", target.device, size, used, state,
    )  # fmt: skip


def _stale(spec: EngineSpec) -> str:
    """Return why an engine can no longer be used here; empty if it can, or may again."""
    from rtdeblur.backends.tensorrt.flavours import FLAVOURS
    from rtdeblur.backends.tensorrt.spec import Target

    flavour = FLAVOURS.get(spec.target.flavour)
    if flavour is None or not flavour.installed:
        return ""  # it may be installed again
    if flavour.version != spec.target.version:
        return f"stale: the installed {flavour.title} is {flavour.version}"
    here = Target(flavour.name, flavour.version).platform
    return f"stale: built for {spec.target.platform}, this is {here}" if spec.target.platform != here else ""


def _summary(entry: Entry) -> dict[str, Any]:
    return {
        "path": str(entry.path),
        "bytes": entry.size,
        "used_at": round(entry.used_at),
        "build_seconds": entry.build_seconds,
        "problem": entry.problem,
        "stale": _stale(entry.spec) if entry.spec else "",
        "spec": entry.spec.as_json() if entry.spec else None,
    }


def _show(entries: list[Entry], folder: Path, as_json: bool) -> None:
    if as_json:
        echo(json.dumps({"folder": str(folder), "engines": [_summary(e) for e in entries]}, indent=2))
    elif entries:
        rows = [_row(entry, _stale(entry.spec) if entry.spec else "") for entry in entries]
        echo(table([_HEADERS, *rows]))
        echo(f"{len(entries)} in {folder}, {sum(e.size for e in entries) / 1e6:.1f} MB")
    else:
        echo(f"no engines in {folder}")


def _command(
    engine_dir: Path | None,
    verify: bool,
    prune: bool,
    unused_days: float | None,
    most_mib: float | None,
    as_json: bool,
) -> int:
    """List, verify or prune the TensorRT engines built so far.

    --prune removes damaged engines and those for another version of TensorRT or another system. With
    --verify the exit code is 1 if an engine is damaged.
    """
    from rtdeblur.backends.tensorrt.cache import EngineCache

    cache = EngineCache(engine_dir)
    if (unused_days is not None or most_mib is not None) and not prune:
        raise click.UsageError("--unused and --most need --prune.")
    if prune:
        removed = cache.prune(
            stale=lambda spec: bool(_stale(spec)), unused_days=unused_days, most_mib=most_mib
        )
        freed = sum(entry.size for entry in removed) / 1e6
        say("info", f"removed {counted(len(removed), 'engine')}, {freed:.1f} MB, from {cache.folder}")
    entries = list(cache.entries(verify=verify))
    _show(entries, cache.folder, as_json)
    return 1 if verify and any(entry.problem for entry in entries) else 0


command = click.Command(
    "engines",
    params=[
        ENGINE_DIR,
        click.Option(["--verify"], is_flag=True, help="Check every engine against its checksum."),
        click.Option(["--prune"], is_flag=True, help="Remove damaged and stale engines."),
        click.Option(
            ["--unused", "unused_days"], type=Number(0), metavar="DAYS",
            help="With --prune: also remove engines unused for this long.",
        ),
        click.Option(
            ["--most", "most_mib"], type=Number(0), metavar="MIB",
            help="With --prune: also remove the least recently used beyond this total size.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the list as JSON."),
    ],
    callback=_command,
    help=_command.__doc__,
)  # fmt: skip
