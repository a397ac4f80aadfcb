"""`rtdeblur INPUT... -o OUTPUT`: the main job."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from rtdeblur.cli.jobs import STANDARD, Job, Plan, plan
from rtdeblur.cli.options import PARAMS, Bare, Request
from rtdeblur.cli.outcome import Failure, Outcome, Result, Skipped, as_json, as_line
from rtdeblur.cli.report import at_times, progress, say, show_traceback
from rtdeblur.cli.signals import Stopped, dying, stopping
from rtdeblur.errors import (
    BackendError,
    DependencyError,
    FinishedError,
    ModelError,
    NoVideoError,
    RtdeblurError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from rtdeblur.backends import Backend, EngineOptions
    from rtdeblur.media.reader import FileReader
    from rtdeblur.media.writer import FileWriter
    from rtdeblur.model import Model
    from rtdeblur.pipeline import Pipeline, PipelineStats


_WITHOUT_EFFECT = {
    "inputs", "output", "format", "recursive", "overwrite", "engine_dir", "resume", "strict", "max_pixels",
    "quiet", "json",
    "codec", "crf", "preset", "start", "duration",  # the writer knows what came of these
}  # fmt: skip
"""Options that change nothing about the pictures of one file."""

_RUNTIMES = ("openvino", "tensorrt", "tensorrt_rtx")


class Session:
    """Restores files one after another; the model is loaded and compiled once for all of them."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._model: Model | None = None
        self._stop = threading.Event()
        self._told = ""
        self.backend: Backend | None = None

    def restore(self, job: Job, title: str = "") -> Result:
        """Restore one file; unless that succeeds, what stood under the output's name stays."""
        from rtdeblur.pipeline import Pipeline
        from rtdeblur.zerocopy import connect

        request = self._request
        with ExitStack() as stack:
            # What can fail at once comes before what takes seconds: the model is compiled last.
            reader = stack.enter_context(closing(_open_reader(request, job)))
            if self._model is None:
                self._model = _load_model(request)
            writer = stack.enter_context(_open_writer(request, job, reader))
            backend = self._open_backend()
            self._tell_way(connect(reader, backend, writer))
            done = self._begin(writer, job)
            with progress(reader.info, shown=not request.quiet, title=title) as on_progress:
                pipeline = Pipeline(
                    reader, backend, writer, batch_size=request.batch, on_progress=on_progress
                )
                stats = self._run(pipeline)
            warnings = (*writer.warnings, *_unrestored(stats))
            return Result(
                job,
                stats,
                self._model_name,
                backend.name,
                backend.description,
                warnings,
                reader.damage,
                reader.device,
                writer.encoding.codec,
                done,
            )

    def _begin(self, writer: FileWriter, job: Job) -> int:
        """Go on with what an earlier run finished, where that was asked for; give how many frames it did."""
        assert self.backend is not None
        done = writer.begin(_restoration(self._request, self._model, self.backend))
        if done and not self._request.quiet:
            say("info", f"{job.output}: {done} frames are done already")
        return done

    def _run(self, pipeline: Pipeline) -> PipelineStats:
        def stop() -> None:
            self._stop.set()  # first: what builds an engine looks at it
            pipeline.stop()

        with stopping(stop) as received:
            try:
                return pipeline.run()
            except RtdeblurError:
                if received:
                    raise Stopped(received[0]) from None
                raise

    def close(self) -> None:
        """Release the model."""
        if self.backend is not None:
            self.backend.close()

    @property
    def _model_name(self) -> str:
        return self._model.manifest.name if self._model else "identity"

    def _open_backend(self) -> Backend:
        if self.backend is None:
            self.backend = _open_backend(self._request, self._model, self._stop.is_set)
        return self.backend

    def _tell_way(self, way: str) -> None:
        """Say what runs, and how frames go; of several files only where it changes."""
        assert self.backend is not None
        line = f"model {self._model_name}; {self.backend.description}; {way}"
        if line != self._told and not self._request.quiet:
            say("info", line)
        self._told = line


def _open_reader(request: Request, job: Job) -> FileReader:
    from rtdeblur.zerocopy import Wanted, open_reader

    if job.input == STANDARD and os.isatty(0):
        raise click.UsageError("Standard input is a terminal, expected a video; pipe one in.")
    # A pipe may keep us waiting for its first bytes; there is nothing to clean up yet.
    with nullcontext() if job.input.is_file() and job.input != STANDARD else dying():
        return open_reader(
            job.input,
            Wanted(
                request.decoder,
                request.backend,
                request.codec,
                request.crf is not None or request.preset is not None,
                request.deinterlace is not None,
            ),
            start=request.start,
            duration=request.duration,
            max_pixels=request.max_pixels,
            strict=request.strict,
            deinterlace=request.deinterlace,
        )


@contextmanager
def _open_writer(request: Request, job: Job, reader: FileReader) -> Iterator[FileWriter]:
    from rtdeblur.media.writer import FileWriter

    writer = FileWriter(
        reader,
        job.output,
        codec=request.codec,
        crf=request.crf,
        preset=request.preset,
        overwrite=request.overwrite,
        format_name=request.format,
        resume=request.resume,
    )
    try:
        yield writer
    finally:
        writer.close()
        if writer.kept:
            say("info", f"{job.output}: {writer.kept} frames are done and kept; --resume continues")


def _restoration(request: Request, model: Model | None, backend: Backend) -> dict[str, str]:
    """All that decides what becomes of the pictures; an option counts unless it is known not to."""
    decided = {name: str(value) for name, value in asdict(request).items() if name not in _WITHOUT_EFFECT}
    runtimes = [f"{name} {sys.modules[name].__version__}" for name in _RUNTIMES if name in sys.modules]
    return decided | {
        "model": model.manifest.sha256 if model else "identity",
        "backend": backend.description,
        "runtime": ", ".join(runtimes),
    }


def _load_model(request: Request) -> Model | None:
    if request.model == "identity" or request.backend == "identity":
        return None
    from rtdeblur.model import DEFAULT_MODEL, Model

    return Model.load(request.model or DEFAULT_MODEL)


def _open_backend(request: Request, model: Model | None, stopped: Callable[[], bool]) -> Backend:
    from rtdeblur.backends import open_backend

    if model:
        return open_backend(
            request.backend,
            model,
            precision=request.precision,
            mode="throughput",
            dropout=request.dropout,
            seed=request.seed,
            engines=_engine_options(request, stopped),
        )
    if request.backend not in ("auto", "identity"):
        raise click.UsageError(
            f"The model 'identity' has no graph for --backend {request.backend}; leave out one of the two."
        )
    return open_backend("identity", None, precision=request.precision, mode="throughput")


def _engine_options(request: Request, stopped: Callable[[], bool]) -> EngineOptions:
    from rtdeblur.backends import EngineOptions

    options = EngineOptions(request.flavour, request.engine_dir, stopped=stopped)
    if request.quiet:
        return options
    return replace(options, notice=partial(say, "info"), on_progress=at_times(partial(say, "info")))


def _unrestored(stats: PipelineStats) -> Iterator[str]:
    if stats.unrestored:
        yield (
            f"{stats.unrestored} of {stats.frames} frames came back from the model without a picture and "
            "were left as they were; try --precision fp32"
        )


def _outcomes(session: Session, planned: Plan) -> Iterator[Outcome]:
    """Restore every file; one that fails does not stop the others."""
    if not planned.many:
        try:
            yield session.restore(planned.jobs[0])
        except FinishedError as error:
            yield Skipped(planned.jobs[0], error)
        return
    for number, job in enumerate(planned.jobs, 1):
        try:
            job.output.parent.mkdir(parents=True, exist_ok=True)
            yield session.restore(job, title=f"[{number}/{len(planned.jobs)}] {job.input.name}: ")
        except (click.ClickException, ModelError, DependencyError):
            raise  # what no file can help
        except Exception as error:
            if isinstance(error, BackendError) and session.backend is None:
                raise
            show_traceback(error)
            skip = isinstance(error, FinishedError) or (job.found and isinstance(error, NoVideoError))
            yield Skipped(job, error) if skip else Failure(job, error)


def _tell(outcome: Outcome, quiet: bool) -> None:
    if isinstance(outcome, Failure):
        skipped = isinstance(outcome, Skipped)
        if not (skipped and quiet):
            say("info" if skipped else "error", outcome.as_line() + ("; skipped" if skipped else ""))
        return
    for warning in outcome.warnings:
        say("warning", warning)
    if outcome.damage.count:
        say("warning", f"{outcome.job.input} is damaged: {outcome.damage}")
    if not quiet:
        say("info", outcome.as_line())


def _skipped(paths: tuple[Path, ...]) -> str:
    names = ", ".join(str(path) for path in paths[:5])
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    hint = "; --recursive searches folders" if any(path.is_dir() for path in paths) else ""
    return f"no videos, skipped: {names}{more}{hint}"


def _command(**words: Any) -> None:
    request = Request(**words)
    planned = plan(request.inputs, request.output, request.format, request.recursive)
    if planned.skipped and not request.quiet:
        say("info", _skipped(planned.skipped))
    outcomes: list[Outcome] = []
    with closing(Session(request)) as session:
        try:
            for outcome in _outcomes(session, planned):
                outcomes.append(outcome)
                _tell(outcome, request.quiet)
        finally:
            if outcomes and request.json:
                click.echo(as_json(planned, outcomes), err=planned.jobs[0].output == STANDARD)
            if outcomes and planned.many and not request.quiet:
                say("info", as_line(planned, outcomes))
    if any(type(outcome) is Failure for outcome in outcomes):
        click.get_current_context().exit(1)


command = Bare("deblur", params=PARAMS, callback=_command)
