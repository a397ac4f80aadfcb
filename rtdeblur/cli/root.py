"""The root command: `rtdeblur INPUT -o OUTPUT`, or a verb."""

from __future__ import annotations

import importlib

import click

from rtdeblur.cli.options import VERSION
from rtdeblur.cli.report import echo

_VERBS = ("preview", "compare", "live", "verify", "models", "doctor", "build", "engines", "bench")
_BARE = "deblur"
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Root(click.Group):
    """A group whose first word is a verb or else belongs to the bare form.

    Each verb is `command` in the module of its name, imported when asked for.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the verbs; the bare form has no name of its own."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in (*_VERBS, _BARE):
            return None
        command = importlib.import_module(f"rtdeblur.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the bare form's name before words that name no verb."""
        if not args:
            echo(ctx.get_help(), err=True)
            ctx.exit(2)
        if args[0] not in (*_VERBS, "-h", "--help", "--version"):
            args = [_BARE, *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show both forms."""
        formatter.write_usage("rtdeblur", "INPUT... -o OUTPUT [OPTIONS]")
        formatter.write_usage("rtdeblur", "COMMAND [OPTIONS]", prefix="       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the bare form's options, then the verbs."""
        bare = self.get_command(ctx, _BARE)
        assert bare is not None
        bare.format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=Root, params=[VERSION], context_settings=_SETTINGS)
def root() -> None:
    """Remove motion blur from a video; sound, subtitles and timing stay as they are.

    INPUT is a file, a folder of videos, or - for standard input. Several are written to a folder, each
    under its own name. A file that is named like a command needs its folder: ./models
    """
