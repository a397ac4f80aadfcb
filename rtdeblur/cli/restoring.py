"""Restores the files of one command line, with one backend for all."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

import click

from rtdeblur.cli.options import Request
from rtdeblur.cli.plan import STANDARD, Job
from rtdeblur.cli.report import at_times, progress, say
from rtdeblur.cli.results import Result
from rtdeblur.cli.signals import Stopped, dying, stopping
from rtdeblur.errors import RtdeblurError

if TYPE_CHECKING:
    from rtdeblur.backends.base import Backend, EngineOptions
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
        from rtdeblur.gpu_path import connect
        from rtdeblur.pipeline import Pipeline

        request = self._request
        with ExitStack() as stack:
            # What can fail at once comes before what takes seconds: the model is compiled last.
            reader = stack.enter_context(closing(_open_reader(request, job)))
            if self._model is None:
                self._model = _load_model(request)
            writer = stack.enter_context(_open_writer(request, job, reader))
            backend = self._open_backend()
            self._tell_way(connect(reader, backend, writer))
            done = self._begin(writer, job, "on the GPU" if reader.keeps else "in the host's memory")
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
                reader.damage + writer.damage,
                reader.source.device,
                writer.encoding.codec,
                done,
            )

    def _begin(self, writer: FileWriter, job: Job, where: str) -> int:
        """Go on with what an earlier run finished, where that was asked for; give how many frames it did."""
        assert self.backend is not None
        done = writer.begin(_restoration(self._request, self._model, self.backend) | {"frames": where})
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
    from rtdeblur.gpu_path import Wanted, open_reader

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
    from rtdeblur.backends.base import EngineOptions

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
