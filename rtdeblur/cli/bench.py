"""`rtdeblur bench`: speed of this machine, stage by stage."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtdeblur import system
from rtdeblur.cli import prediction, speeds
from rtdeblur.cli.build import ENGINE_DIR, checked_size
from rtdeblur.cli.options import BACKEND, MODEL, QUIET, SHARED, Number, WholeNumber, backend_option
from rtdeblur.cli.report import echo, say, table
from rtdeblur.cli.request import Request
from rtdeblur.plurals import counted

if TYPE_CHECKING:
    from rtdeblur.backends.base import Backend
    from rtdeblur.bench import InferenceTimes, Run
    from rtdeblur.model import Model

ALL = "all"
_PREDICTED_BATCH = 4
"""As in a usual run: a single frame would leave the second core idle."""
_HEADERS = (
    "runtime", "size", "batch", "median ms", "p95 ms", "upload ms", "GPU ms", "download ms", "inference fps",
    "decode fps", "encode fps", "whole fps", "limit fps", "of limit", "first s", "memory MiB", "GPU MiB",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Measurements of one size and batch.

    Attributes:
        runtime: backend and device; '-' unless several are compared.
        height: frame height.
        width: frame width.
        batch: frames per inference call.
        inference: rates of the backend only.
        run: rates of all stages over a file; None if skipped.
        memory_mib: peak memory of the process; None if the system does not report it.
        gpu_memory_mib: memory in use on the whole GPU afterwards; None without a GPU.
    """

    runtime: str
    height: int
    width: int
    batch: int
    inference: InferenceTimes
    run: Run | None
    memory_mib: float | None
    gpu_memory_mib: int | None

    def as_row(self) -> tuple[str, ...]:
        """Format as a row of the table."""
        inference, run, device = self.inference, self.run, self.inference.device
        on_device = (device.upload, device.inference, device.download) if device else (None,) * 3
        stages = (run.decode.fps, run.encode.fps, run.whole.fps, run.limit_fps) if run else (None,) * 4
        return (
            self.runtime,
            f"{self.width}x{self.height}",
            str(self.batch),
            f"{inference.median_ms:.2f}",
            f"{inference.p95_ms:.2f}",
            *(_number(ms, 2) for ms in on_device),
            f"{inference.fps:.2f}",
            *(_number(fps, 2) for fps in stages),
            f"{run.efficiency:.0%}" if run else "-",
            f"{inference.first_seconds:.2f}",
            _number(self.memory_mib, 0),
            _number(self.gpu_memory_mib, 0),
        )


def _table(cases: list[Case]) -> str:
    """Drop columns without any measurement."""
    columns = zip(_HEADERS, *(case.as_row() for case in cases), strict=True)
    return table([*zip(*(cells for cells in columns if {*cells[1:]} != {"-"}), strict=True)])


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _machine(backend: Backend, model: str) -> dict[str, Any]:
    """Return facts about the machine that the figures depend on."""
    gpu = system.first_gpu() if backend.name == "tensorrt" else None
    return {
        "model": model,
        "backend": backend.name,
        "device": backend.description,
        "runs_on": backend.device,
        "processor": system.cpu_name(),
        "cores": system.usable_cores(),
        "gpu": asdict(gpu) if gpu else None,
        "driver": system.nvidia_driver() if gpu else None,
    }


def _measure(backend: Backend, size: tuple[int, int], batch: int, request: BenchRequest) -> Case:
    from rtdeblur import bench
    from rtdeblur.ffmpeg.test_clip import write_test_clip

    system.reset_peak_memory()
    inference = bench.time_inference(backend, bench.noise(batch, *size), request.seconds)
    run = None
    if request.frames:
        with tempfile.TemporaryDirectory() as folder:
            video = request.video or Path(folder, "clip.mp4")
            if request.video is None:
                write_test_clip(video, *size, request.frames)
            run = bench.time_pipeline(video, backend, batch, Path(folder), system.usable_cores())
    gpu_memory_mib = system.gpu_memory_used_mib() if backend.name == "tensorrt" else None
    return Case("-", *size, batch, inference, run, system.peak_memory_mib(), gpu_memory_mib)


@dataclass(frozen=True, kw_only=True)
class BenchRequest(Request):
    """Options of the command."""

    video: Path | None
    sizes: tuple[str, ...]
    batches: tuple[int, ...]
    frames: int
    seconds: float
    predict: bool

    def words(self) -> list[str]:
        """Return these options as words, for another process.

        Raises:
            click.UsageError: there are several sizes or batches, or no frames.
        """
        if len(self.sizes) > 1 or len(self.batches) > 1 or not self.frames or self.backend == ALL:
            raise click.UsageError("--predict measures one size, one batch and one backend, with --frames.")
        words = [str(self.video)] if self.video else []
        options = {
            "model": self.model, "backend": self.backend, "device": self.device, "precision": self.precision,
            "dropout": self.dropout, "size": next(iter(self.sizes), None),
            "batch": next(iter(self.batches), _PREDICTED_BATCH), "frames": self.frames,
            "seconds": self.seconds,
        }  # fmt: skip
        return words + [f"--{name}={value}" for name, value in options.items() if value is not None]

    def resolutions(self) -> list[tuple[int, int]]:
        """Sizes (height, width) to measure: the video's own, or those given."""
        from rtdeblur.backends.tensorrt.profiles import parse_size

        if self.video is None:
            return [parse_size(size) for size in self.sizes or ("720p",)]
        if self.sizes:
            raise click.UsageError("VIDEO already has a size; leave out --size or VIDEO.")
        from rtdeblur.media.reader import FileReader

        with FileReader(self.video) as reader:
            return [(reader.info.height, reader.info.width)]


def _command(**words: Any) -> None:
    """Measure how fast this machine restores video.

    First inference only, on frames in memory: median and 95th percentile per batch, and frames per second.
    Then decoding only, encoding only and the whole pipeline, on VIDEO or a generated clip. The stages share
    the cores, so the pipeline is limited by its slowest stage, or by the number of cores divided by the
    core-seconds that all stages spend per frame. Compare figures of the same run only. Every frame is
    restored whole and on its own, as with --gate off --temporal off.

    --predict runs the same on one core and on two, and predicts more cores.
    """
    request = BenchRequest.of(**words)
    if request.predict:
        prediction.command(request.words(), as_json=request.json)
        return
    model = request.load_model()
    everywhere = request.backend == ALL
    machines = list(_each_place(request, model)) if everywhere else [_measure_all(request, model)]
    if request.json:
        reports = [machine | {"cases": [asdict(case) for case in cases]} for machine, cases in machines]
        echo(json.dumps(reports if everywhere else reports[0], indent=2))
        return
    cases = [case for _, found in machines for case in found]
    for way in dict.fromkeys(case.run.way for case in cases if case.run):
        echo(way)
    if cases:
        echo(_table(cases))


def _measure_all(request: BenchRequest, model: Model) -> tuple[dict[str, Any], list[Case]]:
    """Measure every size and batch on one backend; return what the figures depend on, and them."""
    sizes, name = request.resolutions(), model.name
    with request.open_backend(model, mode="throughput") as backend:
        machine = _machine(backend, name)
        if not request.json:
            processor = f"{machine['processor']}, {counted(machine['cores'], 'core')}"
            echo(f"{name} on {backend.description}; {processor}")
            if machine["driver"]:
                echo(f"driver {machine['driver']}")
        batches = request.batches or (1,)
        cases = [_measure(backend, size, batch, request) for size in sizes for batch in batches]
        if model.has_graph:
            best = max(cases, key=lambda case: (case.height * case.width, case.inference.fps))
            place = f"{backend.name} {backend.device}"
            speeds.record(model.manifest.sha256, best.inference.fps, (best.height, best.width), place)
        return machine, cases


def _each_place(request: BenchRequest, model: Model) -> Iterator[tuple[dict[str, Any], list[Case]]]:
    """Measure every backend on every device of this machine; one that does not run here is a line."""
    from rtdeblur.backends import onnxruntime, openvino
    from rtdeblur.errors import BackendError, DependencyError

    places = [("tensorrt", "auto"), *(("openvino", name) for name in openvino.devices())]
    places += [("onnxruntime", "gpu"), ("onnxruntime", "cpu")] if onnxruntime.accelerators() else []
    places += [("onnxruntime", "cpu")] if ("onnxruntime", "cpu") not in places else []
    for backend, device in places:
        try:
            machine, cases = _measure_all(replace(request, backend=backend, device=device), model)
        except (BackendError, DependencyError) as error:
            say("info", f"not {backend} on {device}: {error.problem}")
        else:
            yield machine, [replace(case, runtime=f"{backend} {machine['runs_on']}") for case in cases]


command = click.Command(
    "bench",
    params=[
        click.Argument(
            ["video"], required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
        ),
        MODEL,
        backend_option("Runtime of the model; all measures each one on each device.", ALL),
        *(option for option in SHARED if option is not BACKEND),
        click.Option(
            ["--size", "sizes"], type=checked_size, multiple=True, metavar="WxH|NAME",
            help="For example 1280x720 or 720p; repeat for more rows.  [default: 720p]",
        ),
        click.Option(
            ["--batch", "batches"], type=WholeNumber(1, 64), multiple=True, metavar="N",
            help="Frames per inference call; repeat for more rows.  [default: 1]",
        ),
        click.Option(
            ["--frames"], metavar="N", type=WholeNumber(0), default=60, show_default=True,
            help="Length of the generated clip; 0 measures inference only.",
        ),
        click.Option(
            ["--seconds"], metavar="S", type=Number(0), default=3.0, show_default=True,
            help="Minimum time to measure inference for.",
        ),
        click.Option(
            ["--predict"], is_flag=True,
            help="Measure on one core and on two, and predict the speed of 4, 8 and 16.  [default batch: 4]",
        ),
        ENGINE_DIR,
        QUIET,
        click.Option(["--json"], is_flag=True, help="Print the figures as JSON."),
    ],
    callback=_command,
    help=_command.__doc__,
)  # fmt: skip
