"""`rtdeblur completion SHELL`: completion with the Tab key."""

from __future__ import annotations

import click

from rtdeblur.cli.report import echo

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a shell script for completion with the Tab key.

    \b
    bash:  eval "$(rtdeblur completion bash)"       in ~/.bashrc
    zsh:   eval "$(rtdeblur completion zsh)"        in ~/.zshrc, after compinit
    fish:  rtdeblur completion fish | source        in ~/.config/fish/config.fish
    """  # noqa: D301 - click needs the character \b
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None
    echo(complete(ctx.find_root().command, {}, "rtdeblur", "_RTDEBLUR_COMPLETE").source())
