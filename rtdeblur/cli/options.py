"""Options: those shared by several commands, and those of the main command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import unquote, urlsplit

import click

from rtdeblur.backends import BACKENDS
from rtdeblur.cli.report import echo
from rtdeblur.errors import UsageError
from rtdeblur.model import IDENTITY, Precision, Resolution, Temporal, bundled_models, user_models

if TYPE_CHECKING:
    from fractions import Fraction

    from click.shell_completion import CompletionItem

QUALITIES = ("small", "balanced", "high", "lossless")


def as_path(word: str) -> Path:
    """Parse a path: `-` is a standard stream, `./-` a file.

    Raises:
        click.UsageError: it is an address, or empty.
    """
    address = urlsplit(word) if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", word) else None  # C:/ is a drive
    if address is not None and address.scheme == "file":
        return Path(unquote(address.path))
    if address is not None:
        from rtdeblur.live.address import without_secrets

        shown = without_secrets(word)
        raise click.UsageError(
            f"{shown!r} is an address, expected a file; download it first, or watch it with `rtdeblur live`."
        )
    if not word:
        raise click.UsageError("The name of a file is empty; check the variable or the quotes it comes from.")
    path = Path(word)
    return path.absolute() if word != "-" and path == Path("-") else path


class Number(click.FloatRange):
    """A number in a range."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert an argument; fail for NaN, which click finds in every range."""
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{number} is not in the range {self._describe_range()}.", param, ctx)
        return number


class WholeNumber(click.IntRange):
    """A whole number in a range."""

    name = "whole number"


class _File(click.ParamType[Any]):
    """Path parameter with shell completion."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return value if isinstance(value, Path) else as_path(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


FILE = _File()


class _ModelName(_File):
    """Name of a model, bundled or the user's own, or a path, with shell completion."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        known = (*bundled_models(), *user_models(), IDENTITY)
        names = [name for name in known if name.startswith(incomplete)]
        return [*map(CompletionItem, names)] or super().shell_complete(ctx, param, incomplete)


_CLOCK = re.compile(r"(?:(?:(\d{1,6}):)?([0-5]?\d):)?(\d{1,9}(?:\.\d*)?|\.\d+)")
_RANGE = re.compile(r"(\d*):(\d*)")


def seconds(text: str) -> float:
    """Parse `90`, `90.5`, `1:30` or `01:01:30.5` to seconds."""
    match = _CLOCK.fullmatch(text.strip())
    if match is None or (match[2] and float(match[3]) >= 60):
        raise click.BadParameter(
            f"{text!r} is not a time; expected seconds or [HH:]MM:SS, for example 90.5 or 1:30.5."
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
        raise click.BadParameter(
            f"{text!r} is not a rate; expected pictures per second, such as 30 or 30000/1001."
        )
    return value


def _length(text: str) -> float:
    length = seconds(text)
    if length <= 0:
        raise click.BadParameter(f"{text!r} is not a duration; expected more than 0 seconds.")
    return length


def frame_range(text: str) -> tuple[int, int | None]:
    """Parse `100:200`, `100:` or `:200` to the first frame and the one after the last (None for the end)."""
    match = _RANGE.fullmatch(text.strip())
    first = int(match[1] or 0) if match else 0
    stop = int(match[2]) if match and match[2] else None
    if match is None or text.strip() == ":" or (stop is not None and stop <= first):
        raise click.BadParameter(
            f"{text!r} is not a range of frames; expected FIRST:END, e.g. 100:200 for frames 100 to 199."
        )
    return first, stop


def _flag(*names: str, help: str) -> click.Option:
    return click.Option(names, is_flag=True, help=help)


def _choice(name: str, choices: tuple[str, ...], help: str) -> click.Option:
    return click.Option([name], type=click.Choice(choices), default="auto", show_default=True, help=help)


def show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        import rtdeblur

        echo(f"rtdeblur {rtdeblur.__version__}")
        ctx.exit()


VERSION = click.Option(
    ["-V", "--version"], is_flag=True, is_eager=True, expose_value=False, callback=show_version,
    help="Show the version and exit.",
)  # fmt: skip


class _BackendType(click.Choice[str]):
    """Backend names, plus the old `identity`, which `Request.of` turns into a model."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return IDENTITY if value == IDENTITY else super().convert(value, param, ctx)


MODEL = click.Option(
    ["--model"], type=_ModelName(), metavar="NAME|PATH",
    help=f"A model of `rtdeblur models`, a .onnx file, or {IDENTITY}, which changes nothing.",
)  # fmt: skip


def backend_option(help: str, *more: str) -> click.Option:
    """The option --backend, with more choices than the backends."""
    kinds = _BackendType((*BACKENDS, *more))
    return click.Option(["--backend"], type=kinds, default="auto", show_default=True, help=help)


BACKEND = backend_option("Runtime of the model; auto prefers an NVIDIA GPU, then others.")


class _DeviceType(click.ParamType[Any]):
    """A device; shells complete its kinds."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from rtdeblur.backends.devices import Device

        try:
            return str(Device.parse(value))
        except UsageError as error:
            raise click.BadParameter(f"{error}.") from None

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(kind) for kind in DEVICES if kind.startswith(incomplete)]


DEVICES = ("auto", "cpu", "gpu", "npu")
DEVICE = click.Option(
    ["--device"], type=_DeviceType(), metavar="auto|cpu|gpu|gpu.1|npu", default="auto", show_default=True,
    help="What the model runs on; see `rtdeblur doctor`.",
)  # fmt: skip
PRECISION = _choice(
    "--precision", get_args(Precision),
    "auto: fp16 on a GPU; on the CPU the fastest of int8, bf16 and fp32, see `rtdeblur doctor`. "
    "fp32 is exact.",
)  # fmt: skip
DROPOUT = click.Option(
    ["--dropout"], type=click.Choice(("paper", "off")),
    help="paper: one mask for the whole video, as in the paper.  [default: the model's own]",
)  # fmt: skip
_SEED = click.Option(
    ["--seed"], type=WholeNumber(0), metavar="N", default=0, show_default=True,
    help="Seed of the dropout mask; same seed, same output.",
)  # fmt: skip

_FLAVOUR = _choice("--flavour", ("auto", "rtx", "tensorrt"), "TensorRT flavour: RTX or enterprise.")
ENGINE_DIR = click.Option(
    ["--engine-dir"], type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
    help="Folder of TensorRT engines.  [default: the user's cache]",
)  # fmt: skip
SHARED = [BACKEND, DEVICE, PRECISION, DROPOUT, _SEED, _FLAVOUR]
"""Options common to all commands that run a model: the other fields of `rtdeblur.cli.request.Request`."""
STRENGTH = click.Option(
    ["--strength"], type=Number(0, 2), metavar="S", default=1.0, show_default=True,
    help="Scale of the change: 0 (none) to 2 (double).",
)  # fmt: skip


class _GateType(click.ParamType[Any]):
    """auto, off, or a threshold from 0 to 1."""

    name = "gate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in ("auto", "off"):
            return value
        return Number(0, 1).convert(value, param, ctx)

    def shell_complete(self, *_: object) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in ("auto", "off")]


def gate_option(default: str) -> click.Option:
    """The option --gate."""
    return click.Option(
        ["--gate"], type=_GateType(), metavar="auto|off|0..1", default=default, show_default=True,
        help="Copy tiles that need no restoration; a number sets the threshold (0 restores all).",
    )  # fmt: skip


GATE = gate_option("auto")
RESOLUTION = _choice(
    "--resolution", get_args(Resolution),
    "Resolution to restore at; the output keeps its own. Long blur needs a lower one.",
)  # fmt: skip
TEMPORAL = _choice(
    "--temporal", get_args(Temporal),
    "Improve each frame of a video with the frames before and after it. auto: on the CPU.",
)  # fmt: skip
MAX_PIXELS = click.Option(
    ["--max-pixels"], type=WholeNumber(1, 2**31 - 1), metavar="N", show_default=True,
    default=8192 * 8192,  # as `rtdeblur.ffmpeg.container.MAX_PIXELS`, which would load PyAV for --help
    help="Refuse pictures with more pixels, before allocating memory for them.",
)  # fmt: skip
QUIET = _flag("-q", "--quiet", help="Print warnings and errors only.")


def _note_named(ctx: click.Context, _: click.Parameter, paths: tuple[Path, ...]) -> None:
    ctx.meta["rtdeblur.named"] = paths


def _all_inputs(ctx: click.Context, param: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the inputs, those of -i first."""
    named: tuple[Path, ...] = ctx.meta.get("rtdeblur.named", ())
    if not (named or paths or ctx.resilient_parsing):
        raise click.MissingParameter(ctx=ctx, param=param)
    if named and paths and ctx.params.get("output") is None:
        output = shlex.quote(str(paths[-1]))
        raise click.UsageError(f"{output} is neither input nor output; did you mean -o {output}?")
    return (*named, *paths)


INPUTS = click.Argument(
    ["inputs"], type=FILE, nargs=-1, required=False, metavar="INPUT...", callback=_all_inputs
)
_OUTPUT = click.Option(
    ["-o", "--output"], metavar="OUTPUT", is_eager=True,  # checked before INPUT is processed
    help="File, folder (ending in /) or - for standard output.",
)  # fmt: skip
_OVERWRITE = _flag("-y", "--overwrite", help="Replace OUTPUT if it exists.")
_RESUME = _flag("--resume", help="Resume an interrupted run; keep progress if this one stops too.")
_START = click.Option(
    ["--start", "-ss"],
    type=seconds,
    metavar="TIME",
    help="Start of the part to restore: seconds or [HH:]MM:SS.",
)
_END = click.Option(["--end", "-to"], type=_length, metavar="TIME", help="End of the part to restore.")
_QUALITY = click.Option(
    ["--quality"], type=click.Choice(QUALITIES, case_sensitive=False),
    help="Trade-off between size and fidelity.  [default: balanced]",
)  # fmt: skip

SECTIONS: dict[str, list[click.Option]] = {
    "Input": [
        click.Option(
            ["-i", "--input"], type=FILE, multiple=True, metavar="INPUT", expose_value=False, is_eager=True,
            callback=_note_named, help="Same as INPUT, as in FFmpeg.",
        ),
        _flag("-r", "--recursive", help="Include subfolders and keep their structure."),
        _START,
        _END,
        click.Option(
            ["--duration", "-t"], type=_length, metavar="TIME", help="Process at most this long."
        ),
        click.Option(
            ["--frames"], type=frame_range, metavar="FIRST:END",
            help="Restore only these frames, counted from 0, END excluded: 100:200, 100: or :200.",
        ),
        click.Option(
            ["--rate"], type=rate, metavar="FPS",
            help="Frame rate of a video made from numbered pictures.  [default: 25]",
        ),
        click.Option(
            ["--deinterlace"], type=click.Choice(("frame", "field")),
            help="Deinterlace first: one picture per frame, or one per field (doubles the rate).",
        ),
        _flag("--strict", help="Stop at the first damaged packet (default: skip and count damage)."),
        MAX_PIXELS,
    ],
    "Output": [
        _OUTPUT,
        _OVERWRITE,
        _RESUME,
        click.Option(
            ["--format"], metavar="NAME",
            help="Container format (mkv, mp4 …), overriding OUTPUT's extension.",
        ),
    ],
    "Deblurring": [
        MODEL,
        STRENGTH,
        RESOLUTION,
        TEMPORAL,
        GATE,
        DROPOUT,
        _SEED,
    ],
    "Encoding": [
        _QUALITY,
        click.Option(
            ["--codec"], metavar="NAME", default="auto", show_default=True,
            help="Codec (h264, hevc, av1, vp9, prores, ffv1) or FFmpeg encoder; auto prefers the GPU.",
        ),
        click.Option(
            ["--crf"], type=WholeNumber(0, 63), metavar="N",
            help="The encoder's quality number, overriding --quality; lower means better and larger.",
        ),
        click.Option(["--preset"], metavar="NAME", help="Encoder preset, e.g. fast or slow for libx264."),
    ],
    "Machine": [
        BACKEND,
        DEVICE,
        PRECISION,
        click.Option(
            ["--batch"], type=WholeNumber(1, 64), metavar="N",
            help="Frames per inference call; smaller batches use less memory.  "
            "[default: 4; on the CPU one per core, 4 to 16]",
        ),
        _choice("--decoder", ("auto", "cpu", "cuda"), "auto: cuda if frames can stay on the GPU."),
        _FLAVOUR,
        ENGINE_DIR,
    ],
    "Messages": [
        _flag("-v", "--verbose", help="Print details: runtime, decoder, encoder and why."),
        QUIET,
        _flag("--json", help="Print a summary as JSON on stdout (on stderr with -o -)."),
        click.Option(
            ["--log-file"], type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
            help="Append all messages and details to FILE, with timestamps.",
        ),
    ],
}  # fmt: skip
"""Options of the main command, by their headings in --help-all."""

EVERYDAY = [_OUTPUT, _OVERWRITE, _RESUME, _START, _END, _QUALITY, MODEL, STRENGTH, QUIET]
"""Options shown by --help."""

_TITLED = [option for options in SECTIONS.values() for option in options]

PARAMS = [*_TITLED, INPUTS, VERSION]
"""Parameters of the main command: the fields of `request.DeblurRequest`, `-i`, and `--version`."""
