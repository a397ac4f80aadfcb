"""`rtdeblur verify INPUT OUTPUT`: check that an output kept everything it should."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtdeblur.cli.options import as_path
from rtdeblur.cli.report import echo, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtdeblur.media.verify.compare import Check

_COLOURS = {"same": "green", "different": "red", "not held": "yellow"}


@click.command("verify")
@click.argument("before", metavar="INPUT", type=as_path)
@click.argument("after", metavar="OUTPUT", type=as_path)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print differences only.")
@click.pass_context
def command(ctx: click.Context, before: Path, after: Path, as_json: bool, quiet: bool) -> None:
    """Compare a restored video with its source: frames, timestamps, sound, streams, tags, colour.

    The exit code is 0 if everything is the same, or missing only because OUTPUT's container cannot store it,
    and 1 otherwise.
    """
    if Path("-") in (before, after):
        raise click.UsageError(
            "Both files are read more than once, which a pipe does not allow; name two files."
        )
    from rtdeblur.media.verify import verify

    checks = verify(before, after)
    different = any(check.status == "different" for check in checks)
    if as_json:
        summary = {"input": str(before), "output": str(after), "same": not different}
        echo(json.dumps({**summary, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        _show([check for check in checks if not (quiet and check.status == "same")])
        if not quiet:
            counts = Counter[str](check.status for check in checks)
            echo(", ".join(f"{counts[status]} {status}" for status in _COLOURS if counts[status]))
    if different:
        ctx.exit(1)


def _show(checks: Sequence[Check]) -> None:
    """Format as a table on a terminal, else as greppable lines."""
    if not sys.stdout.isatty():
        for check in checks:
            change = (
                check.before if check.status == "same" else f"{check.before or '-'} → {check.after or '-'}"
            )
            echo(plain(f"{check.status:9}  {check.name}: {change or '-'}"))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "input", "output")
    for check in checks:
        parts = (check.name, check.before, check.after)
        texts = (Text(plain(part.encode(errors="replace").decode())) for part in parts)
        table.add_row(Text(check.status, style=_COLOURS[check.status]), *texts)
    Console().print(table)
