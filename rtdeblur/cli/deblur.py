"""`rtdeblur INPUT... -o OUTPUT`: the main job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from rtdeblur.cli.options import PARAMS, Bare, DeblurRequest
from rtdeblur.cli.pictures import expanded, sequence_of
from rtdeblur.cli.plan import STANDARD, Plan, plan
from rtdeblur.cli.report import echo, say, show_traceback
from rtdeblur.cli.restoring import FileRestorer
from rtdeblur.cli.results import Failure, Outcome, Skipped, as_json, as_line
from rtdeblur.errors import BackendError, DependencyError, FinishedError, ModelError, NoVideoError

if TYPE_CHECKING:
    from pathlib import Path


def _outcomes(restorer: FileRestorer, planned: Plan) -> Iterator[Outcome]:
    """Restore every file; one that fails does not stop the others."""
    if not planned.many:
        try:
            yield restorer.restore(planned.jobs[0])
        except FinishedError as error:
            yield Skipped(planned.jobs[0], error)
        return
    for number, job in enumerate(planned.jobs, 1):
        try:
            job.output.parent.mkdir(parents=True, exist_ok=True)
            yield restorer.restore(job, title=f"[{number}/{len(planned.jobs)}] {job.input.name}: ")
        except (click.ClickException, ModelError, DependencyError):
            raise  # what no file can help
        except Exception as error:
            if isinstance(error, BackendError) and restorer.backend is None:
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
    request = DeblurRequest.of(**words)
    inputs = expanded(request.inputs)
    sequence = sequence_of(request.inputs, inputs, request.output)
    planned = (
        Plan((sequence,)) if sequence else plan(inputs, request.output, request.format, request.recursive)
    )
    if planned.skipped and not request.quiet:
        say("info", _skipped(planned.skipped))
    outcomes: list[Outcome] = []
    with closing(FileRestorer(request)) as restorer:
        try:
            for outcome in _outcomes(restorer, planned):
                outcomes.append(outcome)
                _tell(outcome, request.quiet)
        finally:
            if outcomes and request.json:
                echo(as_json(planned, outcomes), err=planned.jobs[0].output == STANDARD)
            if outcomes and planned.many and not request.quiet:
                say("info", as_line(planned, outcomes))
    if any(type(outcome) is Failure for outcome in outcomes):
        click.get_current_context().exit(1)


command = Bare("deblur", params=PARAMS, callback=_command)
