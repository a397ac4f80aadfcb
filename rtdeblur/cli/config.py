"""`rtdeblur config`: location and values of the user's settings."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rtdeblur.cli import settings
from rtdeblur.cli.help import COMMANDS
from rtdeblur.cli.options import PARAMS
from rtdeblur.cli.report import echo

_EXAMPLE = """\
quality = "high"
model = "fine"

[live]
web = "8765"
"""


@click.command("config")
@click.option("--json", "as_json", is_flag=True, help="Print path and settings as JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show your settings and the file they are read from."""
    file = settings.path()
    found = _checked(ctx, file) if file and file.exists() else {}
    if as_json:
        echo(
            json.dumps(
                {"path": file and str(file), "exists": bool(file and file.exists()), **found}, indent=2
            )
        )
    elif file is None:
        echo(f"No configuration: the environment variable {settings.VARIABLE} is empty.")
    elif not file.exists():
        _show_example(file)
    else:
        _show(file, found)


def _checked(ctx: click.Context, file: Path) -> dict[str, dict[str, object]]:
    """Return the settings by command, as written in the file; raises like `settings.defaults`."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    commands = {name: found for name in COMMANDS if (found := root.command.get_command(root, name))}
    settings.defaults(file, commands, COMMANDS)
    content = settings.read(file)
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    plain = {key: value for key, value in content.items() if key not in tables}
    return {"deblur": plain, **tables} if content else {}


def _show(file: Path, found: dict[str, dict[str, object]]) -> None:
    echo(str(file))
    if not any(found.values()):
        echo("  (no settings)")
    for name, values in found.items():
        if values:
            echo(f"\nrtdeblur {'VIDEO' if name == 'deblur' else name}")
        for key, value in values.items():
            echo(f"  {key} = {json.dumps(value, ensure_ascii=False)}")


def _show_example(file: Path) -> None:
    echo("No configuration file yet. Settings for every run are read from\n")
    echo(f"  {file}\n")
    echo("as TOML, for example:\n")
    for line in _EXAMPLE.splitlines():
        echo(f"  {line}".rstrip())
    echo("\nThese keys are for the main command; each other command has its own table:\n")
    names = ", ".join(settings.keys(PARAMS))
    echo(click.formatting.wrap_text(names, 78, initial_indent="  ", subsequent_indent="  "))
