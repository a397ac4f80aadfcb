"""Restores the files of one command line, with one backend for all."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rtdeblur.cli import machine
from rtdeblur.cli.options import DeblurRequest
from rtdeblur.cli.pictures import check_photo_options, is_photo_job, is_sequence_job, open_sequence
from rtdeblur.cli.plan import STANDARD, Job
from rtdeblur.cli.progress import progress
from rtdeblur.cli.report import say
from rtdeblur.cli.results import Result, kept_line
from rtdeblur.cli.signals import Stopped, abandoning, dying, stopping
from rtdeblur.errors import DependencyError, InputError, RtdeblurError

if TYPE_CHECKING:
    from rtdeblur.backends.base import Backend
    from rtdeblur.gpu_path import Obstacle, Way
    from rtdeblur.media.photos.sequence import SequenceReader
    from rtdeblur.media.reader import FileReader
    from rtdeblur.media.writer import FileWriter
    from rtdeblur.model import Model
    from rtdeblur.pipeline import Pipeline, PipelineStats


_WITHOUT_EFFECT = {
    "inputs", "output", "format", "recursive", "overwrite", "engine_dir", "resume", "strict", "max_pixels",
    "quiet", "verbose", "json", "log_file",
    # The writer knows what came of these:
    "codec", "quality", "crf", "preset", "start", "end", "duration", "frames", "rate",
}  # fmt: skip
"""Options that change nothing about the pictures of one file."""

_RUNTIMES = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime",),
    "tensorrt": ("tensorrt", "tensorrt_rtx"),
}
"""Modules that a backend runs on, whichever of them are loaded."""


class FileRestorer:
    """Restores files one after another; the model is loaded and compiled once for all of them.

    Attributes:
        backend: that restores; None until the first file needs it.
        kept: frames that a stopped run leaves for another.
    """

    def __init__(self, request: DeblurRequest) -> None:
        self._request = request
        self._model: Model | None = None
        self._stop = threading.Event()
        self._told = ""
        self.backend: Backend | None = None
        self.kept = 0

    def restore(self, job: Job, title: str = "") -> Result:
        """Restore one file; unless that succeeds, an earlier file of the output's name stays.

        Raises:
            Stopped: a signal ended it.
        """
        if is_photo_job(job):
            return self._restore_photo(job, title)
        from rtdeblur.gpu_path import connect
        from rtdeblur.pipeline import Pipeline

        request = self._request
        with ExitStack() as stack:
            # What can fail at once comes before what takes seconds: the model is compiled last.
            reader, obstacle = _open_reader(request, job)
            stack.enter_context(reader)
            if self._model is None:
                self._model = request.load_model()
            writer = stack.enter_context(self._open_writer(job, reader))
            backend = self._open_backend(self._model)
            way = connect(reader, backend, writer, obstacle)
            self._tell(way.encoder, str(way))
            done = self._begin(writer, job, way)
            with progress(reader.info, quiet=request.quiet, title=title, done=done) as on_progress:
                pipeline = Pipeline(
                    reader, backend, writer, batch_size=request.batch, on_progress=on_progress
                )
                stats = self._run(pipeline, writer.keep)
            warnings = (*writer.warnings, *_unrestored(stats))
            return Result(
                job,
                stats,
                self._model.manifest.name,
                backend.name,
                backend.description,
                warnings,
                reader.damage + writer.damage,
                reader.source.device,
                writer.encoding.codec,
                done,
                is_whole=request.is_whole,
            )

    @contextmanager
    def _open_writer(self, job: Job, reader: FileReader | SequenceReader) -> Iterator[FileWriter]:
        from rtdeblur.media.writer import FileWriter

        request = self._request
        writer = FileWriter(
            reader,
            job.output,
            codec=request.codec,
            crf=request.crf,
            preset=request.preset,
            quality=request.quality,
            overwrite=request.overwrite,
            format_name=request.format,
            resume=request.resume,
        )

        def abandon() -> None:
            writer.abandon()
            self.kept = writer.kept

        self.kept = 0
        try:
            with abandoning(abandon):
                yield writer
        except Stopped:
            writer.close()
            self.kept = writer.kept
            raise
        finally:
            writer.close()
            if writer.kept and not self.kept:
                say("warning", f"{job.output}: {kept_line(writer.kept)}")

    def _restore_photo(self, job: Job, title: str) -> Result:
        from rtdeblur.ffmpeg.damage import Damage
        from rtdeblur.media.photos.reader import PictureReader
        from rtdeblur.media.photos.writer import PictureWriter
        from rtdeblur.pipeline import Pipeline

        request = self._request
        check_photo_options(request, job)
        with ExitStack() as stack:
            if self._model is None:
                self._model = request.load_model()
            try:
                reader = stack.enter_context(PictureReader(job.input, max_pixels=request.max_pixels))
                writer = stack.enter_context(PictureWriter(reader, job.output, overwrite=request.overwrite))
            except DependencyError as error:  # of one format: others of a folder need nothing
                raise InputError(str(error)) from error
            backend = self._open_backend(self._model)
            self._tell(writer.kind.name, "")
            with progress(reader.info, quiet=request.quiet, title=title) as on_progress:
                stats = self._run(Pipeline(reader, backend, writer, on_progress=on_progress))
            return Result(
                job,
                stats,
                self._model.manifest.name,
                backend.name,
                backend.description,
                (*reader.warnings, *writer.warnings, *_unrestored(stats)),
                Damage(),
                "cpu",
                writer.kind.name,
                0,
            )

    def _begin(self, writer: FileWriter, job: Job, way: Way) -> int:
        """Resume what an earlier run finished, if that was asked for; how many frames that are."""
        assert self._model is not None
        assert self.backend is not None
        done = writer.begin(_restoration(self._request, self._model, self.backend, way))
        if done:
            say("info", f"{job.output}: {done} frames are done already")
        return done

    def _run(self, pipeline: Pipeline, keep: Callable[[], None] = lambda: None) -> PipelineStats:
        def stop() -> None:
            self._stop.set()  # first: what builds an engine looks at it
            keep()
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

    def _open_backend(self, model: Model) -> Backend:
        from rtdeblur.strength import with_strength

        if self.backend is None:
            opened = self._request.open_backend(model, mode="throughput", stopped=self._stop.is_set)
            self.backend = with_strength(opened, self._request.strength)
        return self.backend

    def _tell(self, encoder: str, way: str) -> None:
        """Say what runs where; of several files only when it changes.

        Args:
            encoder: FFmpeg's name, or a picture format's.
            way: of the frames, in words; '' if there is no choice.
        """
        assert self._model is not None
        assert self.backend is not None
        name, backend = self._model.manifest.name, self.backend
        details = "; ".join(filter(None, (f"model {name}", backend.description, way)))
        if details == self._told:
            return
        self._told = details
        if not self._model.has_graph:
            where = "changes nothing"
        else:
            where = machine.place(backend)
            chosen = self._request.backend == self._request.device == "auto"
            if backend.device == "CPU" and chosen and machine.why_no_gpu():
                where += f" ({machine.why_no_gpu()})"
        say("info", f"model {name} {where}; encoder {encoder}")
        say("detail", details)


def _open_reader(request: DeblurRequest, job: Job) -> tuple[FileReader | SequenceReader, Obstacle | None]:
    from rtdeblur.gpu_path import Wanted, obstacle_of, open_reader

    if is_sequence_job(job):
        pictures = open_sequence(request, job)
        return pictures, obstacle_of(pictures.source)
    if job.input == STANDARD and os.isatty(0):
        raise click.UsageError("Standard input is a terminal, expected a video; pipe one in.")
    # A pipe may keep us waiting for its first bytes; there is nothing to clean up yet.
    with nullcontext() if job.input.is_file() and job.input != STANDARD else dying():
        start, duration = request.part(job.input)
        return open_reader(
            job.input,
            Wanted(
                request.decoder,
                request.backend,
                request.codec,
                request.crf is not None or request.preset is not None or request.quality == "lossless",
                request.deinterlace is not None,
                request.device,
            ),
            start=start,
            duration=duration,
            max_pixels=request.max_pixels,
            strict=request.strict,
            deinterlace=request.deinterlace,
        )


def _restoration(request: DeblurRequest, model: Model, backend: Backend, way: Way) -> dict[str, str]:
    """All that decides what becomes of the pictures; an option counts unless it is known not to.

    What the backend chose takes the place of options that left the choice to it.
    """
    decided = {name: str(value) for name, value in asdict(request).items() if name not in _WITHOUT_EFFECT}
    modules = [name for name in _RUNTIMES.get(backend.name, ()) if name in sys.modules]
    runtimes = [f"{name} {sys.modules[name].__version__}" for name in modules]
    return {
        **decided,
        **backend.fingerprint,
        "model": model.manifest.sha256,
        "runtime": ", ".join(runtimes),
        "memory": "host" if way.obstacle else "device",
    }


def _unrestored(stats: PipelineStats) -> Iterator[str]:
    if stats.unrestored:
        yield (
            f"{stats.unrestored} of {stats.frames} frames came back from the model without a picture and "
            "were left as they were; try --precision fp32"
        )
