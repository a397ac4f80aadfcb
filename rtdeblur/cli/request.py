"""Requests: the options of a command, checked, and what they open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from rtdeblur.cli.report import at_times, say
from rtdeblur.model import DEFAULT_MODEL, IDENTITY, Model, Precision, Resolution, Temporal

if TYPE_CHECKING:
    from fractions import Fraction

    from rtdeblur.backends.base import Backend, Mode
    from rtdeblur.blur_gate import Gate
    from rtdeblur.dropout import Policy
    from rtdeblur.media.deinterlace import Deinterlacing
    from rtdeblur.media.encoder_traits import Quality


@dataclass(frozen=True, kw_only=True)
class Request:
    """Options of every command that runs a model; None means automatic."""

    model: str | None
    backend: str
    device: str
    precision: Precision
    dropout: Policy | None
    seed: int
    flavour: str
    engine_dir: Path | None
    quiet: bool
    json: bool

    @classmethod
    def of(cls, **words: Any) -> Self:
        """Make a request from a command's options; `--backend identity` means `--model identity`."""
        if words["backend"] == IDENTITY:
            words |= {"model": IDENTITY, "backend": "auto"}
        return cls(**words)

    def load_model(self) -> Model:
        """Load the requested model, or the default one.

        Raises:
            click.UsageError: a backend was requested for a model without a graph.
            ModelError: the model is unknown or damaged.
        """
        model = Model.load(self.model or DEFAULT_MODEL)
        if not model.has_graph and self.backend != "auto":
            raise click.UsageError(
                f"The model {model.name!r} has no graph for --backend {self.backend}; "
                "leave out one of the two."
            )
        return model

    def open_backend(
        self, model: Model, *, mode: Mode, stopped: Callable[[], bool] = lambda: False
    ) -> Backend:
        """Open the backend for a model; engine builds are reported unless --quiet.

        Args:
            model: model to run.
            mode: throughput for files, latency for live video.
            stopped: polled during a build; True abandons it.
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
            device=self.device,
            mode=mode,
            dropout=self.dropout,
            seed=self.seed,
            engines=engines,
        )


@dataclass(frozen=True, kw_only=True)
class RestoringRequest(Request):
    """Options of the commands that restore files."""

    strength: float
    resolution: Resolution
    temporal: Temporal
    gate: Gate

    def open_restorer(self, model: Model, *, stopped: Callable[[], bool] = lambda: False) -> Backend:
        """Open the backend for a model, as the options say: resolution, gate, temporal stage, strength.

        Args:
            model: model to run.
            stopped: polled during a build; True abandons it.
        """
        from rtdeblur.blur_gate import with_gate
        from rtdeblur.resolution import with_resolution
        from rtdeblur.strength import with_strength
        from rtdeblur.temporal import with_temporal

        opened = self.open_backend(model, mode="throughput", stopped=stopped)
        gated = with_gate(with_resolution(opened, model, self.resolution), model, self.gate)
        return with_strength(with_temporal(gated, model, self.temporal), self.strength)


@dataclass(frozen=True, kw_only=True)
class DeblurRequest(RestoringRequest):
    """Options of the main command."""

    inputs: tuple[Path, ...]
    output: str | None
    format: str | None
    recursive: bool
    deinterlace: Deinterlacing | None
    strict: bool
    max_pixels: int
    batch: int | None
    decoder: str
    codec: str
    quality: Quality | None
    crf: int | None
    preset: str | None
    overwrite: bool
    resume: bool
    start: float | None
    end: float | None
    duration: float | None
    frames: tuple[int, int | None] | None
    rate: Fraction | None
    verbose: bool
    log_file: Path | None

    def __post_init__(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            click.UsageError: they contradict each other.
        """
        if self.frames and not self.start is self.end is self.duration is None:
            raise click.UsageError(
                "--frames already selects the part; leave out --start, --end and --duration."
            )
        if self.end is not None and self.duration is not None:
            raise click.UsageError("--end and --duration both set the end of the part; leave out one.")
        if self.end is not None and self.end <= (self.start or 0):
            raise click.UsageError(
                f"--end is {self.end:g} s, expected more than --start, {self.start or 0:g} s."
            )

    @property
    def is_whole(self) -> bool:
        """False if only a part of each file is requested."""
        return all(bound is None for bound in (self.start, self.end, self.duration, self.frames))

    def part(self, path: Path) -> tuple[float | None, float | None]:
        """Return start and duration of the part to restore, in seconds; None for the file's start or end.

        Raises:
            InputError: the file has no such frames, or they cannot be counted.
        """
        if self.frames:
            from rtdeblur.media.frame_range import part_of_frames

            return part_of_frames(path, *self.frames, max_pixels=self.max_pixels)
        if self.end is not None:
            return self.start, self.end - (self.start or 0)
        return self.start, self.duration
