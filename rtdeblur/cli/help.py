"""Help of the program: one screen of everyday options, and a complete list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from rtdeblur.cli.options import EVERYDAY, MODEL, SECTIONS
from rtdeblur.cli.report import echo

COMMANDS = (
    "preview", "compare", "batch", "live", "verify", "models", "doctor", "bench", "build", "engines",
    "config", "completion",
)  # fmt: skip
"""Names of the commands, in the order shown by help."""

_WIDTH = 80
_ABOUT = "Remove motion blur from videos; sound, subtitles and timing stay as they are."
_EXAMPLES = (
    ("rtdeblur video.mp4", "write video.deblurred.mp4 next to it"),
    ("rtdeblur clips/ -o restored/", "every video in a folder"),
    ("rtdeblur live", "the first camera, live in a window"),
)
_INPUTS = """
INPUT is a file, a folder of videos, or - for standard input. Without -o, video.mp4 becomes
video.deblurred.mp4, and clips/ becomes clips.deblurred/. To restore a file named like a command, write
./models. Default settings can be kept in a file: see `rtdeblur config`.
"""


def write_usage(formatter: click.HelpFormatter) -> None:
    """Write both usage lines."""
    formatter.write_usage("rtdeblur", "INPUT... [-o OUTPUT] [OPTIONS]")
    formatter.write_usage("rtdeblur", "COMMAND [OPTIONS]", prefix="       ")


def everyday(root: click.Context) -> str:
    """Write the short help: 24 lines of 80 columns."""
    formatter = click.HelpFormatter(width=_WIDTH)
    write_usage(formatter)
    formatter.write(f"\n{_ABOUT}\n\n")
    formatter.indent()
    formatter.write_dl(_EXAMPLES, col_spacing=4)
    formatter.dedent()
    with formatter.section("Options"):
        records = [_short(option) for option in EVERYDAY]
        formatter.write_dl(records)
    formatter.write("\n")
    formatter.write_text(f"Commands: {', '.join(COMMANDS)}")
    formatter.write("All options: rtdeblur --help-all. Help on a command: rtdeblur COMMAND --help.\n")
    return formatter.getvalue().rstrip("\n")


def _short(option: click.Option) -> tuple[str, str]:
    names = [name for name in option.opts if name.startswith("--") or len(name) == 2]
    value = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    if option is MODEL:
        return f"{', '.join(names)}{value}", "A bundled model or a .onnx file: see `rtdeblur models`."
    if isinstance(option.type, click.Choice):
        value = " NAME"
        choices = ", ".join(option.type.choices)
        return f"{', '.join(names)}{value}", f"{choices}: size against fidelity."
    return f"{', '.join(names)}{value}", (option.help or "").partition(";")[0].partition(". ")[0].rstrip(
        "."
    ) + "."


def complete(root: click.Context, commands: Sequence[tuple[str, str]]) -> str:
    """Write help on every option.

    Args:
        root: context of the program.
        commands: names and summaries of the commands.
    """
    formatter = root.make_formatter()
    write_usage(formatter)
    formatter.write_paragraph()
    for text in (_ABOUT, _INPUTS):
        formatter.write_text(" ".join(text.split()))
        formatter.write_paragraph()
    for title, options in SECTIONS.items():
        with formatter.section(title):
            formatter.write_dl([record for option in options if (record := option.get_help_record(root))])
    general = [option for option in root.command.get_params(root) if isinstance(option, click.Option)]
    with formatter.section("General"):
        formatter.write_dl([record for option in general if (record := option.get_help_record(root))])
    with formatter.section("Commands"):
        formatter.write_dl(commands)
    return formatter.getvalue().rstrip("\n")


def _show_all(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        root = ctx.find_root()
        assert isinstance(root.command, click.Group)
        commands = [(name, root.command.get_command(root, name)) for name in COMMANDS]
        echo(complete(root, [(name, found.get_short_help_str(100)) for name, found in commands if found]))
        ctx.exit()


HELP_ALL = click.Option(
    ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all,
    help="Show all options and exit.",
)  # fmt: skip


class Bare(click.Command):
    """The main command, whose help is the program's."""

    def get_help(self, ctx: click.Context) -> str:
        """Return the help of the whole program."""
        return everyday(ctx.find_root())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Suggest our options for those of FFmpeg."""
        known = {name for param in self.get_params(ctx) for name in param.opts}
        for word in args[: args.index("--")] if "--" in args else args:
            if word in known or len(word) < 2 or word[0] != "-" or word[1] == "-":
                continue
            if Path(word).exists():
                raise click.UsageError(f"{word!r} looks like an option; did you mean ./{word}?", ctx)
            meant = _FFMPEG.get(word, f"-{word}")
            if meant.split()[0] in known:
                raise click.UsageError(f"No such option: {word}; did you mean {meant}?", ctx)
            if word in _KEPT:
                raise click.UsageError(
                    f"No such option: {word}; sound, size and everything else stay as they are; "
                    "use ffmpeg to change them.",
                    ctx,
                )
        return super().parse_args(ctx, args)


_FFMPEG = {
    "-c:v": "--codec", "-vcodec": "--codec", "-codec:v": "--codec", "-f": "--format", "-?": "--help",
    "-b": "--quality or --crf", "-b:v": "--quality or --crf", "-q:v": "--quality or --crf",
    "-framerate": "--rate", "-vframes": "--frames", "-frames:v": "--frames",
}  # fmt: skip
"""Options of FFmpeg and their names here."""

_KEPT = {
    "-c", "-c:a", "-acodec", "-codec:a", "-c:s", "-b:a", "-an", "-vn", "-sn", "-map", "-vf", "-filter:v",
    "-af", "-s", "-pix_fmt",
}  # fmt: skip
"""Options of FFmpeg that change what is kept here."""
