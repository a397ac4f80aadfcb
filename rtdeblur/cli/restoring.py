"""Restoration of a command's files, with one backend for all."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import click

from rtdeblur.cli import machine
from rtdeblur.cli.pictures import (
    check_photo_options,
    check_picture_output,
    is_photo_job,
    is_sequence_job,
    open_sequence,
)
from rtdeblur.cli.plan import STANDARD, Job, check_ending
from rtdeblur.cli.progress import progress
from rtdeblur.cli.report import say
from rtdeblur.cli.request import DeblurRequest
from rtdeblur.cli.results import Result, kept_line
from rtdeblur.cli.run import run_until_stopped
from rtdeblur.cli.signals import Stopped, abandoning, dying
from rtdeblur.errors import DependencyError, FinishedError, InputError
from rtdeblur.plurals import counted

if TYPE_CHECKING:
    from rtdeblur.backends.base import Backend
    from rtdeblur.ffmpeg.damage import Damage
    from rtdeblur.gpu_path import Obstacle, Way
    from rtdeblur.media.photos.sequence import SequenceReader
    from rtdeblur.media.reader import FileReader
    from rtdeblur.media.writer import FileWriter
    from rtdeblur.model import Model
    from rtdeblur.pipeline import Pipeline, PipelineStats
    from rtdeblur.ranges import Survey

_WITHOUT_EFFECT = {
    "inputs", "output", "format", "recursive", "overwrite", "engine_dir", "resume", "strict", "max_pixels",
    "quiet", "verbose", "json", "log_file",
    # The writer's description covers these:
    "codec", "quality", "crf", "preset", "start", "end", "duration", "frames", "rate",
}  # fmt: skip
"""Options that do not affect the restored pictures of a file."""

_RUNTIMES = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime",),
    "tensorrt": ("tensorrt", "tensorrt_rtx"),
}
"""Modules behind each backend; those that are loaded identify the runtime."""


class FileRestorer:
    """Restores files one after another; the model is loaded and compiled once for all of them.

    Args:
        request: options.
        notice: message to print once nothing prevents the first file from being restored.

    Attributes:
        backend: the backend; None until the first file needs it.
        kept: finished frames that a stopped run keeps for --resume.
    """

    def __init__(self, request: DeblurRequest, notice: str = "") -> None:
        self._request, self._notice = request, notice
        self._model: Model | None = None
        self._stop = threading.Event()
        self._told: set[str] = set()
        self.backend: Backend | None = None
        self.kept = 0

    def restore(self, job: Job, title: str = "") -> Result:
        """Restore one file; an existing output is replaced only on success.

        Raises:
            Stopped: a signal ended it.
        """
        if is_photo_job(job):
            return self._restore_photo(job, title)
        check_picture_output(job)
        from rtdeblur.gpu_path import connect
        from rtdeblur.pipeline import Pipeline

        request = self._request
        with ExitStack() as stack:
            # Quick failures first: compiling the model takes seconds.
            reader, obstacle = _open_reader(request, job)
            stack.enter_context(reader)
            model = self._load_model()
            writer = stack.enter_context(self._open_writer(job, reader))
            backend = self._open_backend(model)
            way = connect(reader, backend, writer, obstacle)
            self._tell(way.encoder, str(way))
            done = self._begin(writer, job, way)
            with progress(reader.info, quiet=request.quiet, title=title, done=done) as on_progress:
                pipeline = Pipeline(
                    reader, backend, writer, batch_size=_batch(request, backend), on_progress=on_progress
                )
                stats = self._run(pipeline, writer.keep)
            damage = reader.damage + writer.damage
            restored = self._result(job, stats, writer.encoding.codec, writer.warnings, damage)
            return replace(restored, decoder=reader.source.device, resumed=done, is_whole=request.is_whole)

    def _writer(
        self, output: Path, reader: FileReader | SequenceReader, *, resume: bool | None
    ) -> FileWriter:
        from rtdeblur.media.writer import FileWriter

        request = self._request
        return FileWriter(
            reader,
            output,
            codec=request.codec,
            crf=request.crf,
            preset=request.preset,
            quality=request.quality,
            overwrite=request.overwrite,
            format_name=request.format,
            resume=resume,
        )

    @contextmanager
    def _open_writer(self, job: Job, reader: FileReader | SequenceReader) -> Iterator[FileWriter]:
        if self._request.format is None:
            check_ending(job.output)
        writer = self._writer(job.output, reader, resume=self._request.resume)

        def abandon() -> None:
            writer.abandon()
            self.kept = writer.kept

        self.kept = 0
        with abandoning(abandon):  # to the very end: closing takes time
            try:
                yield writer
            except Stopped:
                writer.close()
                self.kept = writer.kept
                raise
            finally:
                writer.close()
                if writer.kept and not self.kept:
                    say("warning", f"{job.output_name}: {kept_line(writer.kept)}")

    def survey(self, job: Job) -> tuple[dict[str, str], Survey] | None:
        """Decode a video once; return its job's identity and its frames, or None if it cannot be divided."""
        from rtdeblur.ranges import survey

        with self._opened(job) as (reader, writer, backend, way):
            if way.obstacle is None:  # frames in GPU memory have no checksum
                return None
            identity = writer.identity(_restoration(self._request, self._load_model(), backend, way))
            return identity, survey(reader, writer, backend, _batch(self._request, backend))

    def restore_range(self, job: Job, part: Survey, key: str) -> PipelineStats | None:
        """Restore the unfinished segments of a surveyed range; return None if all are finished."""
        from rtdeblur.ranges import restore_range

        request = self._request

        def open_at(seconds: float) -> FileReader:
            return cast("FileReader", _open_reader(request, job, seconds)[0])

        with self._opened(job) as (reader, writer, backend, _):
            return restore_range(
                part,
                job.output,
                key,
                reader,
                writer,
                backend,
                _batch(request, backend),
                open_at=open_at,
                run=self._run,
            )

    @contextmanager
    def _opened(self, job: Job) -> Iterator[tuple[FileReader, FileWriter, Backend, Way]]:
        """Open everything that a range of a video needs, with a writer whose file is thrown away."""
        from rtdeblur.gpu_path import connect
        from rtdeblur.media.reader import FileReader

        with ExitStack() as stack:
            reader, obstacle = _open_reader(self._request, job)
            stack.enter_context(reader)
            assert isinstance(reader, FileReader)
            backend = self._open_backend(self._load_model())
            # Removed while the writer has it open, so that a killed process leaves nothing.
            with TemporaryDirectory(prefix="rtdeblur-", ignore_cleanup_errors=True) as scratch:
                writer = self._writer(Path(scratch) / job.output.name, reader, resume=None)
            stack.enter_context(writer)
            yield reader, writer, backend, connect(reader, backend, writer, obstacle)

    def fingerprint(self) -> dict[str, str]:
        """Describe everything about this machine that affects the bytes of an output."""
        import rtdeblur
        from rtdeblur import system
        from rtdeblur.ffmpeg.container import library_version

        model = self._load_model()
        return {
            "rtdeblur": rtdeblur.__version__,
            "av": library_version(),
            "processor": system.cpu_name(),
            "processor cores": str(system.usable_cores()),
            **_runtime(model, self._open_backend(model)),
        }

    def _restore_photo(self, job: Job, title: str) -> Result:
        from rtdeblur.ffmpeg.damage import Damage
        from rtdeblur.media.photos.reader import PictureReader
        from rtdeblur.media.photos.writer import PictureWriter
        from rtdeblur.media.resume.job_folder import may_skip
        from rtdeblur.pipeline import Pipeline

        request = self._request
        check_photo_options(request, job)
        if may_skip(job.output, job.input, resume=request.resume, overwrite=request.overwrite):
            raise FinishedError.of(job.output)
        with ExitStack() as stack:
            model = self._load_model()
            try:
                reader = stack.enter_context(PictureReader(job.input, max_pixels=request.max_pixels))
                writer = stack.enter_context(PictureWriter(reader, job.output, overwrite=request.overwrite))
            except DependencyError as error:  # needed for this format, not for the folder's other files
                raise InputError(str(error)) from error
            backend = self._open_backend(model)
            self._tell(writer.kind.name, "")
            with progress(reader.info, quiet=request.quiet, title=title) as on_progress:
                stats = self._run(Pipeline(reader, backend, writer, on_progress=on_progress))
            warnings = (*reader.warnings, *writer.warnings)
            return self._result(job, stats, writer.kind.name, warnings, Damage())

    def _result(
        self, job: Job, stats: PipelineStats, encoder: str, warnings: Iterable[str], damage: Damage
    ) -> Result:
        assert self.backend is not None
        return Result(
            job,
            stats,
            self._load_model().name,
            self.backend.name,
            self.backend.description,
            encoder,
            (*warnings, *_unrestored(stats)),
            damage,
        )

    def _begin(self, writer: FileWriter, job: Job, way: Way) -> int:
        """Resume an earlier run, if requested; return the number of frames it finished."""
        assert self._model is not None
        assert self.backend is not None
        done = writer.begin(_restoration(self._request, self._model, self.backend, way))
        if done:
            say("info", f"{job.output_name}: {counted(done, 'frame')} already done")
        return done

    def _run(self, pipeline: Pipeline, keep: Callable[[], None] = lambda: None) -> PipelineStats:
        def stop() -> None:
            self._stop.set()  # first, because engine builds poll it
            keep()
            pipeline.stop()

        return run_until_stopped(pipeline, stop)

    def close(self) -> None:
        """Release the model."""
        if self.backend is not None:
            self.backend.close()

    def _load_model(self) -> Model:
        if self._model is None:
            self._model = self._request.load_model()
        return self._model

    def _open_backend(self, model: Model) -> Backend:
        if self.backend is None:
            self.backend = self._request.open_restorer(model, stopped=self._stop.is_set)
        return self.backend

    def _tell(self, encoder: str, way: str) -> None:
        """Report what runs where; each combination once.

        Args:
            encoder: FFmpeg's name of the encoder, or the picture format.
            way: description of the frames' path; '' if there is only one.
        """
        assert self._model is not None
        assert self.backend is not None
        name, backend = self._model.name, self.backend
        details = "; ".join(filter(None, (f"model {name}", backend.description, way)))
        if details in self._told:
            return
        self._told.add(details)
        if not self._model.has_graph:
            where = "changes nothing"
        else:
            where = machine.place(backend)
            chosen = self._request.backend == self._request.device == "auto"
            if backend.device == "CPU" and chosen and machine.why_no_gpu():
                where += f" ({machine.why_no_gpu()})"
        if self._notice:
            say("info", self._notice)
            self._notice = ""
        say("info", f"model {name} {where}; encoder {encoder}")
        say("detail", details)


def _open_reader(
    request: DeblurRequest, job: Job, begin: float | None = None
) -> tuple[FileReader | SequenceReader, Obstacle | None]:
    """Open an input, or its rest from a time in seconds after its start."""
    from rtdeblur.gpu_path import Wanted, obstacle_of, open_reader

    if is_sequence_job(job, request):
        pictures = open_sequence(request, job)
        return pictures, obstacle_of(pictures.source)
    if job.input == STANDARD and os.isatty(0):
        raise click.UsageError("Standard input is a terminal, expected a video; pipe one in.")
    # A pipe may block before its first bytes; there is nothing to clean up yet, so signals may kill the
    # process.
    with nullcontext() if job.input.is_file() and job.input != STANDARD else dying():
        start, duration = request.part(job.input) if begin is None else (begin, None)
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
    """Return everything that affects the restored pictures; options count unless listed in `_WITHOUT_EFFECT`.

    The backend's actual choices replace options that left the choice to it.
    """
    decided = {name: str(value) for name, value in asdict(request).items() if name not in _WITHOUT_EFFECT}
    memory = "host" if way.obstacle else "device"
    return {**decided, **_runtime(model, backend), "batch": str(_batch(request, backend)), "memory": memory}


def _runtime(model: Model, backend: Backend) -> dict[str, str]:
    """Describe what restores the pictures."""
    modules = [name for name in _RUNTIMES.get(backend.name, ()) if name in sys.modules]
    runtimes = [f"{name} {sys.modules[name].__version__}" for name in modules]
    return {**backend.fingerprint, "model": model.manifest.sha256, "runtime": ", ".join(runtimes)}


def _batch(request: DeblurRequest, backend: Backend) -> int:
    return request.batch or backend.batch


def _unrestored(stats: PipelineStats) -> Iterator[str]:
    if stats.unrestored:
        yield (
            f"{stats.unrestored} of {counted(stats.frames, 'frame')} came back broken from the model and "
            "could not be restored; try --precision fp32"
        )
