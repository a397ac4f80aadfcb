"""What can be asked for: options that commands share, and those of the bare form."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args
from urllib.parse import unquote, urlsplit

import click

from rtdeblur.backends import BACKENDS
from rtdeblur.cli.report import at_times, echo, say
from rtdeblur.model import DEFAULT_MODEL, IDENTITY, Model, Precision

if TYPE_CHECKING:
    from fractions import Fraction

    from rtdeblur.backends.base import Backend, Mode
    from rtdeblur.dropout import Policy
    from rtdeblur.media.deinterlace import Deinterlacing


@dataclass(frozen=True, kw_only=True)
class Request:
    """Options of every command that runs a model; None leaves the choice to the program."""

    model: str | None
    backend: str
    precision: Precision
    dropout: Policy | None
    seed: int
    flavour: str
    engine_dir: Path | None
    quiet: bool
    json: bool

    @classmethod
    def of(cls, **words: Any) -> Self:
        """Read the options of a command; `--backend identity` is an old name of `--model identity`."""
        if words["backend"] == IDENTITY:
            words |= {"model": IDENTITY, "backend": "auto"}
        return cls(**words)

    def load_model(self) -> Model:
        """The model that was asked for, or the default one.

        Raises:
            UsageError: of click; a backend was asked for a model that has nothing to run.
            ModelError: the model is unknown or damaged.
        """
        model = Model.load(self.model or DEFAULT_MODEL)
        if not model.has_graph and self.backend != "auto":
            raise click.UsageError(
                f"The model {model.manifest.name!r} has no graph for --backend {self.backend}; "
                "leave out one of the two."
            )
        return model

    def open_backend(
        self, model: Model, *, mode: Mode, stopped: Callable[[], bool] = lambda: False
    ) -> Backend:
        """Start what runs a model; engine builds are reported unless --quiet.

        Args:
            model: what to run.
            mode: throughput for files, latency for live pictures.
            stopped: polled during a build; True gives it up.
        """
        from rtdeblur.backends import open_backend
        from rtdeblur.backends.base import EngineOptions

        engines = EngineOptions(self.flavour, self.engine_dir, stopped=stopped)
        if not self.quiet:
            tell = partial(say, "info")
            engines = replace(engines, notice=tell, on_progress=at_times(tell))
        return open_backend(
            self.backend,
            model,
            precision=self.precision,
            mode=mode,
            dropout=self.dropout,
            seed=self.seed,
            engines=engines,
        )


@dataclass(frozen=True, kw_only=True)
class DeblurRequest(Request):
    """Options of the bare form."""

    inputs: tuple[Path, ...]
    output: str
    format: str | None
    recursive: bool
    deinterlace: Deinterlacing | None
    strict: bool
    max_pixels: int
    strength: float
    batch: int
    decoder: str
    codec: str
    crf: int | None
    preset: str | None
    overwrite: bool
    resume: bool
    start: float | None
    duration: float | None
    rate: Fraction | None


def as_path(word: str) -> Path:
    """The path that a word names: `-` is a standard stream, `./-` a file.

    Raises:
        click.UsageError: it is an address.
    """
    address = urlsplit(word) if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", word) else None  # C:/ is a drive
    if address is not None and address.scheme == "file":
        return Path(unquote(address.path))
    if address is not None:
        from rtdeblur.live.address import without_secrets

        shown = without_secrets(word)
        raise click.UsageError(
            f"{shown!r} is an address, expected a file; download it first, or watch it by `rtdeblur live`."
        )
    path = Path(word)
    return path.absolute() if word != "-" and path == Path("-") else path


_CLOCK = re.compile(r"(?:(?:(\d{1,6}):)?([0-5]?\d):)?(\d{1,9}(?:\.\d*)?|\.\d+)")


def seconds(text: str) -> float:
    """Parse `90`, `90.5`, `1:30` or `01:01:30.5` to seconds."""
    match = _CLOCK.fullmatch(text.strip())
    if match is None or (match[2] and float(match[3]) >= 60):
        raise click.BadParameter(
            f"{text!r} is no time; expected seconds or [HH:]MM:SS, as in 90.5 or 1:30.5."
        )
    hours, minutes, rest = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest)


def rate(text: str) -> Fraction:
    """Parse pictures per second: `30`, `23.976` or `30000/1001`."""
    from fractions import Fraction

    try:
        value = Fraction(text.strip()).limit_denominator(1001)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value <= 1000:
        raise click.BadParameter(f"{text!r} is no rate; expected pictures per second, as 30 or 30000/1001.")
    return value


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

        echo(f"rtdeblur {rtdeblur.__version__}")
        ctx.exit()


VERSION = click.Option(
    ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip


class _BackendType(click.Choice[str]):
    """Backends by name; takes the old `identity` too, which `Request.of` reads as a model."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return IDENTITY if value == IDENTITY else super().convert(value, param, ctx)


MODEL = click.Option(
    ["--model"], metavar="NAME|PATH",
    help=f"A bundled model (see `rtdeblur models`), a bundle's .json or .onnx file, or `{IDENTITY}`, "
    "which changes nothing.",
)  # fmt: skip
BACKEND = click.Option(
    ["--backend"], type=_BackendType(BACKENDS), default="auto", show_default=True,
    help="What runs the model.",
)  # fmt: skip
PRECISION = _choice(
    "--precision", get_args(Precision),
    "auto: fp16 on a GPU; on the processor bfloat16 if it is fast in it, else fp32.",
)  # fmt: skip
DROPOUT = click.Option(
    ["--dropout"], type=click.Choice(("paper", "off")),
    help="paper: one mask throughout, as in the paper; the model's own choice by default.",
)  # fmt: skip
_SEED = click.Option(
    ["--seed"], type=click.IntRange(0), metavar="N", default=0, show_default=True,
    help="Of the dropout mask: the same seed gives the same video.",
)  # fmt: skip

_FLAVOUR = _choice("--flavour", ("auto", "rtx", "tensorrt"), "Which TensorRT: RTX or the enterprise one.")
ENGINE_DIR = click.Option(
    ["--engine-dir"], type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
    help="Where TensorRT's engines are kept; the user's cache by default.",
)  # fmt: skip
SHARED = [BACKEND, PRECISION, DROPOUT, _SEED, _FLAVOUR]
"""What every command that runs a model takes, with an option for each of the other fields of `Request`."""
STRENGTH = click.Option(
    ["--strength"], type=click.FloatRange(0, 2), metavar="S", default=1.0, show_default=True,
    help="Scale of the change: 0 (none) to 2 (twice what the model does).",
)  # fmt: skip
QUIET = _flag("-q", "--quiet", help="Print warnings and errors only.")

INPUTS = click.Argument(["inputs"], type=as_path, nargs=-1, required=True, metavar="INPUT...")

_SECTIONS: dict[str, list[click.Option]] = {
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
        click.Option(
            ["--rate"], type=rate, metavar="FPS",
            help="Pictures per second, for numbered pictures that become a video.  [default: 25]",
        ),
        _flag("--strict", help="Fail at the first damage in INPUT, and write nothing; else it is counted."),
        click.Option(
            ["--max-pixels"], type=click.IntRange(1, 2**31 - 1), metavar="N", default=8192 * 8192,
            show_default=True,
            help="Refuse larger pictures, before memory is taken for them.",
        ),
    ],
    "Deblurring": [
        click.Option(
            ["--deinterlace"], type=click.Choice(("frame", "field")),
            help="Make whole pictures of fields first: one a frame, or one a field at twice the rate.",
        ),
        MODEL,
        STRENGTH,
        BACKEND,
        PRECISION,
        click.Option(
            ["--batch"], type=click.IntRange(1, 64), metavar="N", default=4, show_default=True,
            help="Frames given to the model at once.",
        ),
        DROPOUT,
        _SEED,
        _choice("--decoder", ("auto", "cpu", "cuda"), "auto: cuda where frames can stay on the GPU."),
        _FLAVOUR,
        ENGINE_DIR,
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
        QUIET,
        _flag("--json", help="Print a summary for programs on stdout (on stderr where the video is there)."),
    ],
}  # fmt: skip
"""The options of the bare form, under the titles that help shows."""

_TITLED = [option for options in _SECTIONS.values() for option in options]

PARAMS = [INPUTS, *_TITLED, VERSION]
"""What the bare form takes: the fields of `DeblurRequest`, and `--version`."""


class Bare(click.Command):
    """The bare form: its help is the root's, its options stand under titles."""

    def get_help(self, ctx: click.Context) -> str:
        """Show the help of the whole program."""
        return ctx.parent.get_help() if ctx.parent else super().get_help(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show each section under its title."""
        general = [p for p in self.get_params(ctx) if isinstance(p, click.Option) and p not in _TITLED]
        for title, options in {**_SECTIONS, "General": general}.items():
            records = [option.get_help_record(ctx) for option in options]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record])
