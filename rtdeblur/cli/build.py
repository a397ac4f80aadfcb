"""`rtdeblur build`: build TensorRT engines ahead of time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from rtdeblur import system
from rtdeblur.cli.options import WholeNumber
from rtdeblur.cli.report import at_times, echo, plain, say
from rtdeblur.errors import EngineError
from rtdeblur.model import DEFAULT_MODEL, EnginePrecision, Model

if TYPE_CHECKING:
    from rtdeblur.backends.tensorrt.cache import CachedEngine
    from rtdeblur.backends.tensorrt.profiles import BuildProfile
    from rtdeblur.backends.tensorrt.spec import EngineSpec, ShapeProfile, Target


def checked_size(text: str) -> str:
    """Refuse a size that is neither a name nor WIDTHxHEIGHT."""
    from rtdeblur.backends.tensorrt.profiles import parse_size

    try:
        parse_size(text)
    except EngineError as error:
        raise click.BadParameter(f"{error}.") from None
    return text


ENGINE_DIR = click.Option(
    ["--engine-dir", "-o", "--output"], type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
    help="Folder of TensorRT engines.  [default: $RTDEBLUR_ENGINE_DIR, or the user's cache]",
)  # fmt: skip

_PARAMS: list[click.Parameter] = [
    click.Option(["--model"], metavar="NAME|PATH", help="A bundled model or a .onnx file."),
    click.Option(["--profile"], metavar="NAME|PATH", help="Build profile (ada, hopper …) or a TOML file."),
    click.Option(
        ["--precision"], type=click.Choice(get_args(EnginePrecision)),
        help="Precision of the engine; auto is fp16 if the model has it.  [default: auto]",
    ),
    click.Option(
        ["--flavour"], type=click.Choice(["auto", "rtx", "tensorrt"]),
        help="rtx builds without a GPU, tensorrt for this machine's GPU.  [default: auto]",
    ),
    click.Option(
        ["--size", "sizes"], type=checked_size, multiple=True, metavar="WxH|NAME",
        help="For example 1280x720, 720p or 720p-portrait; repeat for more.  [default: 720p]",
    ),
    click.Option(
        ["--batch", "batches"], type=WholeNumber(1, 64), multiple=True, metavar="N",
        help="Frames per inference call; repeat for more.  [default: 1 (live) and 4 (files)]",
    ),
    click.Option(["--chroma"], type=click.Choice(["420", "422", "444", "gray"]), help="[default: 420]"),
    click.Option(
        ["--depth"], metavar="BITS", type=WholeNumber(8, 16), default=8, show_default=True,
        help="Bits per sample.",
    ),
    click.Option(
        ["--dynamic"], is_flag=True,
        help="Build one engine for all sizes between the smallest and largest, tuned for the first.",
    ),
    click.Option(
        ["--compute-capability", "compute_capabilities"], multiple=True, metavar="X.Y",
        help="Target of an RTX engine, such as 8.9; repeat for more.  "
        "[default: this GPU; without one, 8.0, 8.6, 8.9, 12.0 and possibly newer]",
    ),
    click.Option(
        ["--optimization-level"], type=WholeNumber(0, 5), metavar="N",
        help="0 is the fastest build, 5 the fastest engine.  [default: TensorRT's, 3]",
    ),
    click.Option(
        ["--workspace", "workspace_mib"], type=WholeNumber(1), metavar="MIB",
        help="Maximum scratch memory per layer.  [default: TensorRT's, all]",
    ),
    ENGINE_DIR,
    click.Option(["--force"], is_flag=True, help="Rebuild engines that exist."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print the engines built as JSON."),
    click.Option(["-q", "--quiet"], is_flag=True, help="Print warnings and errors only."),
]  # fmt: skip


def _options(profile: str | None, words: dict[str, Any]) -> BuildProfile:
    """Return the profile's options, or the defaults, overridden by the given options."""
    from rtdeblur.backends.tensorrt.profiles import BuildProfile, load_profile

    base = load_profile(profile) if profile else BuildProfile("default", "any")
    return replace(base, **{key: value for key, value in words.items() if value not in (None, ())})


def _target(options: BuildProfile) -> Target:
    from rtdeblur.backends.tensorrt.flavours import choose
    from rtdeblur.backends.tensorrt.spec import Target

    gpu = system.first_gpu()
    flavour = choose(options.flavour, gpu.compute_capability if gpu else None)
    wanted = options.compute_capabilities
    if flavour.portable:
        if wanted:
            return Target(flavour.name, flavour.version, tuple(sorted(wanted, key=float)))
        return Target.of(flavour, compute_capability=gpu.compute_capability if gpu else None)
    if gpu is None:
        raise EngineError(
            f"{flavour.title} builds for this machine's GPU, but found none; "
            "try --flavour rtx, which builds on any machine, and `rtdeblur doctor`"
        )
    if wanted and gpu.compute_capability not in wanted:
        raise EngineError(
            f"{flavour.title} builds only for this machine's GPU, {gpu.name} (compute capability "
            f"{gpu.compute_capability}), not for {', '.join(wanted)}"
        )
    return Target.of(flavour, gpu.name, gpu.compute_capability)


def _profiles(options: BuildProfile, dynamic: bool) -> list[ShapeProfile]:
    from rtdeblur.backends.tensorrt.profiles import parse_size
    from rtdeblur.backends.tensorrt.spec import Shape, ShapeProfile

    shapes = [
        Shape.of(batch, *parse_size(size), options.chroma)
        for size in options.sizes
        for batch in options.batches
    ]
    if dynamic:
        if len({*shapes}) == 1:
            raise click.UsageError("--dynamic needs at least two sizes or batches, the ends of its range.")
        return [ShapeProfile.spanning(shapes)]
    return [ShapeProfile.static(shape) for shape in dict.fromkeys(shapes)]


@contextmanager
def _progress(name: str, shown: bool) -> Iterator[Callable[[float, str], None] | None]:
    """Yield a progress callback: a bar on a terminal, lines elsewhere; None if quiet."""
    if not (shown and sys.stderr.isatty()):
        yield at_times(partial(say, "info")) if shown else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=1.0)

        def update(share: float, phase: str) -> None:
            bar.update(task, completed=share, description=plain(f"{name}: {phase}"))

        yield update


def _build(model: Model, spec: EngineSpec, folder: Path | None, force: bool, quiet: bool) -> CachedEngine:
    from rtdeblur.backends.tensorrt.builder import build
    from rtdeblur.backends.tensorrt.cache import EngineCache

    cache = EngineCache(folder, notice=lambda line: say("warning", line))
    if force:
        cache.discard(spec)
    with _progress(str(spec.profile), shown=not quiet) as on_progress:
        engine = cache.get_or_build(spec, lambda: build(model.onnx, spec, on_progress))
    if engine.path is None:
        raise EngineError(f"the engine {spec.stem} was built but could not be stored in {cache.folder}")
    return engine


def _line(engine: CachedEngine) -> str:
    size = f"{len(engine.data) / 1e6:.1f} MB"
    return f"{engine.path}: {size}, " + (
        f"built in {engine.build_seconds:.1f} s" if engine.fresh else "was there"
    )


def _command(
    model: str | None,
    profile: str | None,
    depth: int,
    dynamic: bool,
    engine_dir: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **words: Any,
) -> None:
    """Build TensorRT engines ahead of time.

    A run builds the engines it needs; this command builds them in advance, or on another machine. The RTX
    flavour needs no GPU to build.
    """
    from rtdeblur.backends.tensorrt.spec import EngineSpec

    options = _options(profile, words)
    profiles = _profiles(options, dynamic)
    loaded = Model.load(model or DEFAULT_MODEL).variant(options.precision)
    target = _target(options)
    built = []
    for shapes in profiles:
        spec = EngineSpec.of(
            loaded, shapes, target, planes="uint8" if depth == 8 else "uint16",
            optimization_level=options.optimization_level, workspace_mib=options.workspace_mib,
        )  # fmt: skip
        engine = _build(loaded, spec, engine_dir, force, quiet)
        built.append(engine)
        if not (quiet or as_json):
            say("info", _line(engine))
    if as_json:
        echo(json.dumps([_summary(engine) for engine in built], indent=2))


def _summary(engine: CachedEngine) -> dict[str, Any]:
    return {
        "path": str(engine.path),
        "bytes": len(engine.data),
        "build_seconds": round(engine.build_seconds, 3),
        "fresh": engine.fresh,
        "key": engine.spec.key,
        "spec": engine.spec.as_json(),
    }


command = click.Command("build", params=_PARAMS, callback=_command, help=_command.__doc__)
