"""`rtdeblur INPUT -o OUTPUT`: the main job."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from rtdeblur.cli.options import PARAMS, Bare, Request
from rtdeblur.cli.report import progress, say, speed
from rtdeblur.cli.signals import Stopped, dying, handling
from rtdeblur.errors import RtdeblurError

if TYPE_CHECKING:
    from rtdeblur.backends import Backend
    from rtdeblur.media.demux import Damage
    from rtdeblur.media.reader import FileReader
    from rtdeblur.media.writer import FileWriter
    from rtdeblur.model import Model
    from rtdeblur.pipeline import Pipeline, PipelineStats


@dataclass(frozen=True)
class Result:
    """What came of a job."""

    request: Request
    stats: PipelineStats
    model: str
    backend: str
    device: str
    warnings: tuple[str, ...]
    damage: Damage

    def as_line(self) -> str:
        """Say it to a person."""
        frames, wall_seconds = self.stats.frames, self.stats.wall_seconds
        pace = speed(frames, self.stats.media_seconds, wall_seconds)
        return f"{self.request.output}: {frames} frames in {wall_seconds:.1f} s, {pace}"

    def as_json(self) -> str:
        """Say it to a program."""
        stats = self.stats
        wall = stats.wall_seconds or 1e-9
        summary = {
            "input": str(self.request.input),
            "output": str(self.request.output),
            "model": self.model,
            "backend": self.backend,
            "device": self.device,
            "frames": stats.frames,
            "seconds": round(stats.wall_seconds, 3),
            "media_seconds": round(stats.media_seconds, 3),
            "fps": round(stats.fps, 2),
            "realtime_ratio": round(stats.media_seconds / wall, 3),
            "stage_seconds": {
                "decode": round(stats.decode_seconds, 3),
                "infer": round(stats.infer_seconds, 3),
                "encode": round(stats.encode_seconds, 3),
            },
            "warnings": self.warnings,
            "damage": asdict(self.damage),
        }
        return json.dumps(summary, indent=2)


def deblur(request: Request) -> Result:
    """Do the job; unless it succeeds, what stood under the output's name stays."""
    from rtdeblur.pipeline import Pipeline

    with ExitStack() as stack:
        # What can fail at once comes before what takes seconds: the model is compiled last.
        reader = stack.enter_context(closing(_open_reader(request)))
        model = _load_model(request)
        writer = stack.enter_context(closing(_open_writer(request, reader)))
        backend = stack.enter_context(closing(_open_backend(request, model)))
        name = model.manifest.name if model else "identity"
        if not request.quiet:
            say("info", f"model {name}; {backend.description}")
        with progress(reader.info, shown=not request.quiet) as on_progress:
            pipeline = Pipeline(reader, backend, writer, batch_size=request.batch, on_progress=on_progress)
            stats = _run(pipeline)
        return Result(
            request, stats, name, backend.name, backend.description, tuple(writer.warnings), reader.damage
        )


def _open_reader(request: Request) -> FileReader:
    from rtdeblur.media.reader import FileReader

    # A pipe may keep us waiting for its first bytes; there is nothing to clean up yet.
    with nullcontext() if request.input.is_file() else dying():
        return FileReader(request.input, start=request.start, duration=request.duration)


def _open_writer(request: Request, reader: FileReader) -> FileWriter:
    from rtdeblur.media.writer import FileWriter

    return FileWriter(
        reader,
        request.output,
        codec=request.codec,
        crf=request.crf,
        preset=request.preset,
        overwrite=request.overwrite,
    )


def _load_model(request: Request) -> Model | None:
    if request.model == "identity" or request.backend == "identity":
        return None
    from rtdeblur.model import DEFAULT_MODEL, Model

    return Model.load(request.model or DEFAULT_MODEL)


def _open_backend(request: Request, model: Model | None) -> Backend:
    from rtdeblur.backends import open_backend

    if model:
        return open_backend(request.backend, model, precision=request.precision, mode="throughput")
    if request.backend not in ("auto", "identity"):
        raise click.UsageError(
            f"The model 'identity' has no graph for --backend {request.backend}; leave out one of the two."
        )
    return open_backend("identity", None, precision=request.precision, mode="throughput")


def _run(pipeline: Pipeline) -> PipelineStats:
    received: list[int] = []

    def stop(signum: int) -> None:
        if received:  # asked a second time: wait for nothing
            raise Stopped(signum)
        received.append(signum)
        pipeline.stop()

    with handling(stop):
        try:
            return pipeline.run()
        except RtdeblurError:
            if received:
                raise Stopped(received[0]) from None
            raise


def _command(**words: Any) -> None:
    request = Request(**words)
    result = deblur(request)
    for warning in result.warnings:
        say("warning", warning)
    if result.damage.count:
        say("warning", f"{result.damage.count} damaged packets in {request.input}: {result.damage.message}")
    if request.json:
        click.echo(result.as_json())
    if not request.quiet:
        say("info", result.as_line())


command = Bare("deblur", params=PARAMS, callback=_command)
