"""Root command: `rtdeblur INPUT...`, or a command by name."""

from __future__ import annotations

import importlib
from glob import escape, glob
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from rtdeblur.cli import settings
from rtdeblur.cli.help import COMMANDS, HELP_ALL, everyday, write_usage
from rtdeblur.cli.options import PARAMS, VERSION
from rtdeblur.cli.report import echo

_BARE = "deblur"
_WORDS = {"help": "--help", "version": "--version"}
"""Words that new users try instead of options."""
_ON_ROOT = ("-h", "--help", "--help-all", "-V", "--version")


class Root(click.Group):
    """Command group; arguments that do not start with a command go to the main command.

    Each command is `command` in the module of its name, imported on demand.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names, without the unnamed main command."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in (*COMMANDS, _BARE):
            return None
        command = importlib.import_module(f"rtdeblur.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the main command's name if the first argument is not a command."""
        if not args:
            if ctx.resilient_parsing:
                return super().parse_args(ctx, args)
            echo(self.get_help(ctx), err=True)
            ctx.exit(2)
        args = _spelled_out(args)
        if args[0] not in (*COMMANDS, *_ON_ROOT):
            args = [_BARE, *args]
        if not (ctx.resilient_parsing or args[0] in (*_ON_ROOT, "config", "completion")):
            ctx.default_map = self._settings(ctx, args[0])
        return super().parse_args(ctx, args)

    def _settings(self, ctx: click.Context, name: str) -> dict[str, Any]:
        """Return the user's settings for a command."""
        file = settings.path()
        if file is None:
            return {}
        command = self.get_command(ctx, name) if name != _BARE else None
        return settings.defaults(file, {name: command} if command else {}, COMMANDS)

    def get_help(self, ctx: click.Context) -> str:
        """Write the short help and the names of the commands."""
        return everyday(ctx)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both usage lines."""
        write_usage(formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the first argument: a command, an option of the main command, or a file."""
        if incomplete.startswith("-"):
            options = [param for param in (*PARAMS, HELP_ALL) if isinstance(param, click.Option)]
            return [
                CompletionItem(name, help=option.help)
                for option in options
                for name in option.opts
                if name.startswith(incomplete)
            ]
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        if not incomplete:
            return [*map(CompletionItem, names)]
        # If left to the shell, file completion would replace ours.
        if not names:
            return [CompletionItem(incomplete, type="file")]
        files = [path for path in glob(f"{escape(incomplete)}*") if path not in names]  # noqa: PTH207
        return [*map(CompletionItem, [*names, *sorted(files)])]


def _spelled_out(args: list[str]) -> list[str]:
    """Replace words that new users try with options."""
    first, *rest = args
    if first == _BARE and rest and not Path(first).exists():
        return rest
    if first == "help" and rest and rest[0] in COMMANDS:
        return [rest[0], "--help"]
    if first == "help" and len(rest) == 1 and not Path(first).exists():
        raise click.UsageError(f"{rest[0]!r} is not a command; expected one of {', '.join(COMMANDS)}.")
    return [_WORDS[first]] if first in _WORDS and not rest else args


root = Root(
    "rtdeblur",
    params=[VERSION, HELP_ALL],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
