"""`rtdeblur INPUT...`: the main command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from rtdeblur.cli.guesses import check_words
from rtdeblur.cli.help import COMMANDS, Bare
from rtdeblur.cli.options import PARAMS
from rtdeblur.cli.pictures import expanded, sequence_of
from rtdeblur.cli.plan import STANDARD, Job, Plan, plan
from rtdeblur.cli.report import configure, echo, say, show_traceback
from rtdeblur.cli.request import DeblurRequest
from rtdeblur.cli.restoring import FileRestorer
from rtdeblur.cli.results import Failure, Interrupted, Outcome, Skipped, as_json, as_line
from rtdeblur.cli.signals import Stopped, abandoning
from rtdeblur.errors import (
    BackendError,
    DependencyError,
    FinishedError,
    ModelError,
    NoVideoError,
    OutputError,
    UsageError,
)

if TYPE_CHECKING:
    from pathlib import Path


def _outcomes(restorer: FileRestorer, planned: Plan, request: DeblurRequest) -> Iterator[Outcome]:
    """Restore every file; one that fails does not stop the others."""
    for number, job in enumerate(planned.jobs, 1):
        title = f"[{number}/{len(planned.jobs)}] {job.input.name}: " if planned.many else ""
        try:
            if planned.many:
                _make_folder(job.output.parent)
            _refuse_existing(job, request, many=planned.many)
            yield restorer.restore(job, title)
        except Stopped:
            yield Interrupted(job, restorer.kept)
            raise
        except FinishedError as error:
            yield Skipped(job, error)
        except (click.ClickException, ModelError, DependencyError):
            raise  # every other file would fail as well
        except Exception as error:
            if not planned.many or (isinstance(error, BackendError) and restorer.backend is None):
                raise
            show_traceback(error)
            skip = job.found and isinstance(error, NoVideoError)
            yield Skipped(job, error) if skip else Failure(job, error)


def _make_folder(folder: Path) -> None:
    """Create the folder of one output of several.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot create folder {str(folder)!r}: {error.strerror}; try another folder"
        ) from error


def _refuse_existing(job: Job, request: DeblurRequest, *, many: bool) -> None:
    """Refuse to replace an output, and name the options for it.

    Raises:
        UsageError: the output exists, and is not the input itself, which has an error of its own.
    """
    output = job.output
    if request.overwrite or request.resume or not output.is_file():
        return
    if not (job.input.exists() and output.samefile(job.input)):
        one = "overwrite it with -y, or try another name"
        hint = "skip such files with --resume, or overwrite them with -y" if many else one
        raise UsageError(f"output {str(output)!r} already exists", hint)


def tell(outcome: Outcome) -> None:
    """Print the outcome of a file."""
    if isinstance(outcome, Interrupted):
        say("warning" if outcome.kept else "info", outcome.as_line())
    elif isinstance(outcome, Skipped):
        say("info", f"{outcome.as_line()}; skipped")
    elif isinstance(outcome, Failure):
        say("error", outcome.as_line())
    else:
        for warning in outcome.warnings:
            say("warning", warning)
        if outcome.damage.count:
            say("warning", f"{outcome.job.input} is damaged: {outcome.damage}")
        say("info", outcome.as_line())


def skipped_line(paths: tuple[Path, ...]) -> str:
    """Name what the folders contain besides videos."""
    names = ", ".join(str(path) for path in paths[:5])
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    hint = "; --recursive includes subfolders" if any(path.is_dir() for path in paths) else ""
    return f"skipped: {names}{more}{hint}"


def _command(**words: Any) -> None:
    request = DeblurRequest.of(**words)
    configure(quiet=request.quiet, verbose=request.verbose, log_file=request.log_file)
    inputs = expanded(request.inputs)
    check_words(inputs, request.output, COMMANDS)
    sequence = sequence_of(request.inputs, inputs, request.output)
    planned = (
        Plan((sequence,)) if sequence else plan(inputs, request.output, request.format, request.recursive)
    )
    if planned.skipped:
        say("info", skipped_line(planned.skipped))
    guessed = request.output is None and len(planned.jobs) == 1
    notice = f"writing {planned.jobs[0].output}" if guessed else ""
    outcomes: list[Outcome] = []

    def summarise() -> None:
        if outcomes and request.json:
            echo(as_json(planned, outcomes), err=planned.jobs[0].output == STANDARD)
        if outcomes and planned.many:
            say("info", as_line(planned, outcomes))

    def abandon() -> None:
        if len(outcomes) < len(planned.jobs):
            outcomes.append(Interrupted(planned.jobs[len(outcomes)], restorer.kept))
            tell(outcomes[-1])
        summarise()

    with closing(FileRestorer(request, notice)) as restorer, abandoning(abandon):
        try:
            for outcome in _outcomes(restorer, planned, request):
                outcomes.append(outcome)
                tell(outcome)
        finally:
            summarise()
    if any(type(outcome) is Failure for outcome in outcomes):
        click.get_current_context().exit(1)


command = Bare("deblur", params=PARAMS, callback=_command)
