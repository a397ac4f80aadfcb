"""What the bare form can be asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rtdeblur.backends.base import Precision
    from rtdeblur.dropout import Policy
    from rtdeblur.media.deinterlace import Deinterlacing


@dataclass(frozen=True)
class Request:
    """What a command was asked for; None leaves a choice to whoever makes it."""

    inputs: tuple[Path, ...]
    output: str
    format: str | None
    recursive: bool
    deinterlace: Deinterlacing | None
    strict: bool
    max_pixels: int
    model: str | None
    backend: str
    precision: Precision
    batch: int
    dropout: Policy | None
    seed: int
    flavour: str
    engine_dir: Path | None
    decoder: str
    codec: str
    crf: int | None
    preset: str | None
    overwrite: bool
    resume: bool
    start: float | None
    duration: float | None
    quiet: bool
    json: bool


def as_path(word: str) -> Path:
    """The path that a word names: `-` is a standard stream, `./-` a file."""
    path = Path(word)
    return path.absolute() if word != "-" and path == Path("-") else path


_CLOCK = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?|\.\d+)")


def seconds(text: str) -> float:
    """Parse `90`, `90.5`, `1:30` or `01:01:30.5` to seconds."""
    match = _CLOCK.fullmatch(text.strip())
    if match is None or (match[2] and float(match[3]) >= 60):
        raise click.BadParameter(
            f"{text!r} is no time; expected seconds or [HH:]MM:SS, as in 90.5 or 1:30.5."
        )
    hours, minutes, rest = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest)


def _length(text: str) -> float:
    length = seconds(text)
    if length <= 0:
        raise click.BadParameter(f"{text!r} is no length; expected more than 0 seconds.")
    return length


def _flag(*names: str, help: str) -> click.Option:
    return click.Option(names, is_flag=True, help=help)


def _choice(name: str, choices: tuple[str, ...], help: str) -> click.Option:
    return click.Option([name], type=click.Choice(choices), default="auto", show_default=True, help=help)


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import rtdeblur

        click.echo(f"rtdeblur {rtdeblur.__version__}")
        ctx.exit()


VERSION = click.Option(
    ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip


BACKEND = _choice("--backend", ("auto", "openvino", "tensorrt", "identity"), "What runs the model.")
PRECISION = _choice("--precision", ("auto", "fp32"), "auto: bfloat16 where the processor is fast in it.")
DROPOUT = click.Option(
    ["--dropout"], type=click.Choice(("paper", "off")),
    help="paper: one mask throughout, as in the paper; the model's own choice by default.",
)  # fmt: skip
SEED = click.Option(
    ["--seed"], type=click.IntRange(0), metavar="N", default=0, show_default=True,
    help="Of the dropout mask: the same seed gives the same video.",
)  # fmt: skip

INPUTS = click.Argument(["inputs"], type=as_path, nargs=-1, required=True, metavar="INPUT...")

SECTIONS: dict[str, list[click.Option]] = {
    "Output": [
        click.Option(
            ["-o", "--output"], required=True, metavar="OUTPUT",
            help="Video to write: a file, - for standard output, or a folder with a slash at its end.",
        ),
        _flag("-y", "--overwrite", help="Replace OUTPUT if it is there."),
        _flag("--resume", help="Go on with work that was cut off, and keep it should this run fail too."),
        click.Option(
            ["--format"], metavar="NAME",
            help="Container, as mkv or mp4, whatever the name of OUTPUT ends in; mkv on standard output.",
        ),
        _flag("-r", "--recursive", help="Search the folders in a folder too, and keep their tree."),
        click.Option(["--start"], type=seconds, metavar="TIME", help="Begin at: seconds or [HH:]MM:SS[.ms]."),
        click.Option(["--duration"], type=_length, metavar="TIME", help="Take no more than this much."),
        _flag("--strict", help="Fail at the first damage in INPUT, and write nothing; else it is counted."),
        click.Option(
            ["--max-pixels"], type=click.IntRange(1), metavar="N", default=8192 * 8192, show_default=True,
            help="Refuse larger pictures, before memory is taken for them.",
        ),
    ],
    "Deblurring": [
        click.Option(
            ["--deinterlace"], type=click.Choice(("frame", "field")),
            help="Make whole pictures of fields first: one a frame, or one a field at twice the rate.",
        ),
        click.Option(
            ["--model"], metavar="NAME|PATH",
            help="A bundled model (see `rtdeblur models`), a bundle's .json or .onnx file, or `identity`, "
            "which changes nothing.",
        ),
        BACKEND,
        PRECISION,
        click.Option(
            ["--batch"], type=click.IntRange(1, 64), metavar="N", default=4, show_default=True,
            help="Frames given to the model at once.",
        ),
        DROPOUT,
        SEED,
        _choice("--decoder", ("auto", "cpu", "cuda"), "auto: cuda where frames can stay on the GPU."),
        _choice("--flavour", ("auto", "rtx", "tensorrt"), "Which TensorRT: RTX or the enterprise one."),
        click.Option(
            ["--engine-dir"], type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
            help="Where TensorRT's engines are kept; the user's cache by default.",
        ),
    ],
    "Encoding": [
        click.Option(
            ["--codec"], metavar="NAME", default="auto", show_default=True,
            help="FFmpeg's name of a video encoder, as libx265; auto prefers the GPU's (NVENC).",
        ),
        click.Option(
            ["--crf"], type=click.IntRange(0, 63), metavar="N",
            help="Quality: less is better and larger; 0 is lossless.",
        ),
        click.Option(["--preset"], metavar="NAME", help="Speed against size, in the encoder's own words."),
    ],
    "Reporting": [
        _flag("-q", "--quiet", help="Print warnings and errors only."),
        _flag("--json", help="Print a summary for programs on stdout (on stderr where the video is there)."),
    ],
}  # fmt: skip
"""The options of the bare form, under the titles that help shows."""

_TITLED = [option for options in SECTIONS.values() for option in options]

PARAMS = [INPUTS, *_TITLED, VERSION]
"""What the bare form takes: the fields of `Request`, and `--version`."""


class Bare(click.Command):
    """The bare form: its help is the root's, its options stand under titles."""

    def get_help(self, ctx: click.Context) -> str:
        """Show the help of the whole program."""
        return ctx.parent.get_help() if ctx.parent else super().get_help(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show each section under its title."""
        general = [p for p in self.get_params(ctx) if isinstance(p, click.Option) and p not in _TITLED]
        for title, options in {**SECTIONS, "General": general}.items():
            records = [option.get_help_record(ctx) for option in options]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record])
