"""Restoration from Python: arrays, streams of frames, and files.

    sharp = rtdeblur.restore(photo)
    rtdeblur.restore_file("in.mp4", "out.mp4")
    with rtdeblur.Deblurrer(strength=0.8) as deblurrer:
        for frame in deblurrer.stream(frames):
            ...

The logger "rtdeblur" reports what runs (info) and what an output does not keep (warning).
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from rtdeblur.arrays import check, frame_of, picture_of
from rtdeblur.backends import open_backend
from rtdeblur.backends.base import IN_FLIGHT, EngineOptions, Pending, landed
from rtdeblur.blur_gate import Gate, with_gate
from rtdeblur.blur_gate import checked as checked_gate
from rtdeblur.dropout import Policy
from rtdeblur.errors import UsageError
from rtdeblur.frames import Frame, FrameBatch
from rtdeblur.model import DEFAULT_MODEL, Model, Precision, Resolution, Temporal, check_choice
from rtdeblur.pictures import kind_of
from rtdeblur.pipeline import Pipeline, PipelineStats, in_batches
from rtdeblur.python_words import in_python_words
from rtdeblur.resolution import with_resolution
from rtdeblur.strength import FULL, StrengthBackend, checked
from rtdeblur.temporal import with_temporal

if TYPE_CHECKING:  # loads PyAV
    from rtdeblur.media.encoder_traits import Quality

Pictures = TypeVar("Pictures", bound=NDArray[Any])

Progress = Callable[[int, int | None], object]
"""Called with the number of frames done and their total (None if unknown)."""

BATCH = 4
"""Frames per inference call."""

log = logging.getLogger("rtdeblur")
log.addHandler(logging.NullHandler())


class ModelOptions(TypedDict, total=False):
    """Arguments of `Deblurrer`."""

    model: str | Path | Model
    strength: float
    backend: Literal["auto", "openvino", "onnxruntime", "tensorrt"]
    device: str
    precision: Precision
    dropout: Policy | None
    seed: int
    resolution: Resolution
    temporal: Temporal
    gate: Gate
    engine_dir: str | Path | None


def restore(array: Pictures, **options: Unpack[ModelOptions]) -> Pictures:
    """Restore one picture, or a stack of pictures of one size.

    Each call loads a model; a `Deblurrer` loads it once for many calls.

    Args:
        array: RGB, (H, W, 3) or (N, H, W, 3): uint8, uint16, or floating from 0 to 1; gamma-encoded (sRGB or
            similar), not linear light.
        **options: arguments of `Deblurrer`, such as model="fast" or strength=0.5.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        TypeError: another dtype.
        ValueError: another shape, or floating values outside 0 to 1.
        RtdeblurError: a model, backend or option that does not work on this machine.
    """
    with Deblurrer(**options) as deblurrer:
        return deblurrer.restore(array)


def restore_file(
    input: str | Path,
    output: str | Path,
    *,
    progress: Progress | None = None,
    overwrite: bool = False,
    start: float | None = None,
    duration: float | None = None,
    codec: str = "auto",
    quality: Quality | None = None,
    crf: float | None = None,
    preset: str | None = None,
    max_pixels: int | None = None,
    **options: Unpack[ModelOptions],
) -> PipelineStats:
    """Restore a video, a photo or an animation; sound, subtitles, tags and timestamps stay unchanged.

    The output appears under its name when it is complete; an error leaves nothing behind.

    Args:
        input: the file; options for encoding and for a part do not apply to pictures.
        output: file to write; its extension determines the format.
        progress: called after each batch with the frames done and their total (None if unknown); an exception
            from it stops the run and is re-raised.
        overwrite: replace an existing output.
        start: seconds from the start of the file to the first frame wanted.
        duration: seconds to process from there.
        codec: FFmpeg's name of the encoder.
        quality: "small", "balanced", "high" or "lossless": size against fidelity; None for "balanced".
        crf: the encoder's quality number, overriding `quality`; lower is better and larger.
        preset: encoder preset, such as "slow"; None for the encoder's default.
        max_pixels: largest picture accepted; None for 8192 · 8192.
        **options: arguments of `Deblurrer`.

    Returns:
        Frames and times of the run.

    Raises:
        RtdeblurError: an input, output, model or option that does not work.
    """
    with Deblurrer(**options) as deblurrer:
        return deblurrer.restore_file(
            input, output, progress=progress, overwrite=overwrite, start=start, duration=duration,
            codec=codec, quality=quality, crf=crf, preset=preset, max_pixels=max_pixels,
        )  # fmt: skip


class Deblurrer:
    """A loaded model that restores arrays, streams and files, until it is closed.

    Use it in a `with` statement. Threads take turns with `restore` and `restore_file`. A stream ends with an
    error if another call of the same `Deblurrer` begins: use one `Deblurrer` per stream.

    Args:
        model: a bundled model's name, the path of a bundle's .onnx or .json, or a loaded model; "identity"
            changes nothing.
        strength: scale of the change, out = in + strength · (restored − in), from 0 (the input, bit for bit)
            through 1 (the model's result) to 2.
        backend: "tensorrt" runs on an NVIDIA GPU, "openvino" and "onnxruntime" on the CPU and other devices;
            "auto" prefers a GPU.
        device: "auto", "cpu", "gpu", "gpu.1" (the second GPU) or "npu".
        precision: "auto" is fp16 on a GPU, and on a CPU the fastest of "int8" (if the model has it), "bf16"
            and "fp32", which is exact. The first use on a machine measures for about a second.
        dropout: "paper" (one mask throughout) or "off"; None for the model's default.
        seed: seed of the dropout mask.
        resolution: "full", "half" or "quarter" resolution to restore at; pictures keep their own. Blur longer
            than about 40 pixels needs a lower one. "auto" compares full and half for every few pictures of
            1000 lines or more on a CPU; else it is "full".
        temporal: "on" improves each frame of a video file with the frames before and after it, where they are
            at most a quarter of a second apart, and of a stream with a rate; other arrays stay as the model
            restores them.
            "auto" is "on" if the model runs on the CPU.
        gate: "auto" restores only tiles in which that changes something visible and copies the others bit for
            bit, if the model is calibrated for it and runs on the CPU; "off" restores everything; a number
            from 0 (restore everything) to 1 (nothing) is the threshold.
        engine_dir: folder of TensorRT engines; None for the user's cache.

    Raises:
        RtdeblurError: a model, backend or option that does not work on this machine.
    """

    def __init__(
        self,
        model: str | Path | Model = DEFAULT_MODEL,
        *,
        strength: float = FULL,
        backend: Literal["auto", "openvino", "onnxruntime", "tensorrt"] = "auto",
        device: str = "auto",
        precision: Precision = "auto",
        dropout: Policy | None = None,
        seed: int = 0,
        resolution: Resolution = "auto",
        temporal: Temporal = "auto",
        gate: Gate = "auto",
        engine_dir: str | Path | None = None,
    ) -> None:
        with in_python_words():
            checked(strength)
            checked_gate(gate)
            check_choice("resolution", resolution, Resolution)
            check_choice("temporal", temporal, Temporal)
            loaded = model if isinstance(model, Model) else Model.load(str(model))
            engines = EngineOptions(folder=Path(engine_dir) if engine_dir else None, notice=log.info)
            opened = open_backend(
                backend,
                loaded,
                precision=precision,
                device=device,
                dropout=dropout,
                seed=seed,
                engines=engines,
            )
            gated = with_gate(with_resolution(opened, loaded, resolution), loaded, gate)
            fused = with_temporal(gated, loaded, temporal)
        self._backend: StrengthBackend | None = StrengthBackend(fused, strength)
        self._turn = threading.RLock()
        self._running: object = None  # identifies the call that the backend works for
        log.info("model %s; %s", loaded.name, self.description)

    def __enter__(self) -> Deblurrer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def description(self) -> str:
        """One line on what runs and why it was chosen."""
        return self._opened().description

    @property
    def tiles(self) -> int:
        """Number of tiles that the gate has judged; 0 without one."""
        return self._opened().tiles

    @property
    def restored_tiles(self) -> int:
        """Number of tiles that the gate let through."""
        return self._opened().restored_tiles

    @property
    def strength(self) -> float:
        """Scale of the change, 0 to 2; may be set between calls and while a stream runs."""
        return self._opened().strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._opened().strength = value

    def restore(self, array: Pictures) -> Pictures:
        """Restore one picture, or a stack of pictures of one size; see `rtdeblur.restore`."""
        pictures = np.asarray(array)
        check(pictures, "(H, W, 3) or (N, H, W, 3)", (3, 4))
        restored: NDArray[Any] = np.empty(pictures.shape, pictures.dtype)
        stack, into = (a if a.ndim == 4 else a[None] for a in (pictures, restored))
        with self._turn:
            for index, picture in enumerate(self.stream(stack)):
                into[index] = picture
        return cast(Pictures, restored)

    def stream(
        self, frames: Iterable[Pictures], *, batch: int = BATCH, rate: float | None = None
    ) -> Iterator[Pictures]:
        """Restore frames as they come.

        Args:
            frames: RGB pictures, each (H, W, 3) of any size; for dtypes and values see `rtdeblur.restore`.
            batch: frames per inference call. 4 is faster; 1 has less latency for live video.
            rate: frames per second, if they are consecutive frames of a video: each is then improved with its
                neighbours (see `temporal`), and comes two batches later.

        Yields:
            Each frame restored, in order: a new array of its shape and dtype. An error of `frames`, or a
            frame of a wrong dtype or shape, is raised after the frames before it.

        Raises:
            TypeError: another dtype.
            ValueError: another shape, floating values outside 0 to 1, or a rate that is not positive.
            BackendError: a frame is too small for the model, or the backend failed.
            UsageError: another call of this `Deblurrer` began before this stream ended.
        """
        if batch < 1:
            raise ValueError(f"batch is {batch}, expected 1 or more")
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError(f"rate is {rate}, expected a positive number of frames per second")
        running = object()
        failure: list[Exception] = []

        def taken() -> Iterator[Frame]:
            try:
                for index, picture in enumerate(frames):
                    frame = frame_of(picture)
                    yield replace(frame, pts=index, time_base=1 / Fraction(rate)) if rate else frame
            except Exception as error:
                failure.append(error)

        batches = cast(Iterator[FrameBatch], in_batches(taken(), batch))

        @in_python_words()  # not around the loop: errors of `frames` and of the caller are their own
        def submit(given: FrameBatch) -> Pending:
            return in_python_words()(backend.submit(given))

        with self._turn:
            backend = self._begin(running)
        most = IN_FLIGHT if batch > 1 else 1
        started = landed(backend, map(submit, batches), max(most, backend.reach + 1) if rate else most)
        while True:
            with self._turn:
                self._opened()
                if self._running is not running:
                    raise UsageError(
                        "the stream ended early: another call of the same Deblurrer began; "
                        "use one Deblurrer per stream"
                    )
                restored = next(started, None)
            if restored is None:
                break
            for index, picture in enumerate(restored.carriers):
                yield cast(Pictures, picture_of(restored.planes, index, picture))
        if failure:
            raise failure[0]

    def restore_file(
        self,
        input: str | Path,
        output: str | Path,
        *,
        progress: Progress | None = None,
        overwrite: bool = False,
        start: float | None = None,
        duration: float | None = None,
        codec: str = "auto",
        quality: Quality | None = None,
        crf: float | None = None,
        preset: str | None = None,
        max_pixels: int | None = None,
    ) -> PipelineStats:
        """Restore a video file with the loaded model; see `rtdeblur.restore_file`."""
        if kind_of(Path(input)) and kind_of(Path(output)):
            with in_python_words():
                return self._restore_picture(Path(input), Path(output), progress, overwrite, max_pixels)
        from rtdeblur.ffmpeg.container import MAX_PIXELS
        from rtdeblur.gpu_path import Wanted, connect, open_reader
        from rtdeblur.media.writer import FileWriter

        backend = self._opened()
        on_cpu = crf is not None or preset is not None or quality == "lossless"
        wanted = Wanted(backend=backend.name, codec=codec, quality=on_cpu)
        span = {"start": start, "duration": duration, "max_pixels": max_pixels or MAX_PIXELS}
        with in_python_words():
            reader, obstacle = open_reader(Path(input), wanted, **span)
            with (
                reader,
                FileWriter(
                    reader,
                    output,
                    codec=codec,
                    quality=quality,
                    crf=crf,
                    preset=preset,
                    overwrite=overwrite,
                ) as writer,
            ):
                log.info("%s: %s", input, connect(reader, backend, writer, obstacle))

                def on_progress(frames: int, _: float) -> None:
                    if progress is not None:
                        progress(frames, reader.info.frame_count)

                stats = self._run(Pipeline(reader, backend, writer, batch_size=None, on_progress=on_progress))
        damage = reader.damage + writer.damage
        for warning in writer.warnings:
            log.warning("%s: %s", output, warning)
        if damage.count:
            log.warning("%s is damaged: %s", input, damage)
        if stats.unrestored:
            log.warning("%s: %d of %d frames were left unrestored", output, stats.unrestored, stats.frames)
        return stats

    def _restore_picture(
        self, input: Path, output: Path, progress: Progress | None, overwrite: bool, max_pixels: int | None
    ) -> PipelineStats:
        from rtdeblur.ffmpeg.container import MAX_PIXELS
        from rtdeblur.media.photos.reader import PictureReader
        from rtdeblur.media.photos.writer import PictureWriter

        with (
            PictureReader(input, max_pixels=max_pixels or MAX_PIXELS) as reader,
            PictureWriter(reader, output, overwrite=overwrite) as writer,
        ):

            def on_progress(pictures: int, _: float) -> None:
                if progress is not None:
                    progress(pictures, reader.count)

            stats = self._run(Pipeline(reader, self._opened(), writer, on_progress=on_progress))
        for warning in (*reader.warnings, *writer.warnings):
            log.warning("%s", warning)
        return stats

    def close(self) -> None:
        """Release the model; may be called twice."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def _run(self, pipeline: Pipeline) -> PipelineStats:
        with self._turn:
            self._running = pipeline
            return pipeline.run()

    def _begin(self, running: object) -> StrengthBackend:
        """Give the backend to another call, which ends the one before."""
        backend = self._opened()
        self._running = running
        backend.begin()
        return backend

    def _opened(self) -> StrengthBackend:
        if self._backend is None:
            raise ValueError("this Deblurrer is closed; make a new one")
        return self._backend
