"""What runs on the nodes of a cluster: functions that Ray's tasks call by name.

A process of Ray runs many tasks, and keeps the model loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rtdeblur.cli.report import line_of
from rtdeblur.cli.restoring import FileRestorer
from rtdeblur.cli.results import Failure, Result, Skipped
from rtdeblur.errors import FinishedError, LockedError, NoVideoError, RtdeblurError, UsageError

if TYPE_CHECKING:
    from rtdeblur.cli.plan import Job
    from rtdeblur.cli.request import DeblurRequest
    from rtdeblur.pipeline import PipelineStats
    from rtdeblur.ranges import Survey

Facts = Mapping[str, str]
"""What affects the bytes of an output on a node: `FileRestorer.fingerprint`."""

_LOCK_SECONDS = 60
"""How long a task waits for the process that had the same task before to end."""


@dataclass(frozen=True)
class Differs:
    """A task's answer from a node that would restore differently."""

    node: str
    difference: str


@dataclass(frozen=True)
class Surveyed:
    """The frames of a long video.

    Attributes:
        identity: description of its job.
        frames: the survey.
    """

    identity: Mapping[str, str]
    frames: Survey


def difference(there: Facts, here: Facts) -> str:
    """Describe how a node differs from those used."""
    names = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
    return ", ".join(f"{name} is {there.get(name)}, expected {here.get(name)}" for name in names)


_Answer = TypeVar("_Answer")
_restorer: tuple[DeblurRequest, FileRestorer] | None = None


def _restorer_of(request: DeblurRequest) -> FileRestorer:
    global _restorer
    if _restorer is None or _restorer[0] != request:
        if _restorer is not None:
            _restorer[1].close()
        _restorer = (request, FileRestorer(request))
    return _restorer[1]


def probe(request: DeblurRequest, paths: tuple[Path, ...]) -> dict[str, str] | str:
    """Return the fingerprint of this node, or why it cannot be used."""
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        return f"it does not see {str(missing)!r}; mount it there under the same path"
    try:
        return _restorer_of(request).fingerprint()
    except Exception as error:
        return line_of(error)


def restore(request: DeblurRequest, expected: Facts, job: Job) -> Result | Failure | Differs:
    """Restore a file, or write the output of one whose segments are finished."""
    return _guarded(request, expected, job, lambda restorer: _unlocked(restorer, job))


def survey(request: DeblurRequest, expected: Facts, job: Job) -> Surveyed | Failure | Differs | None:
    """Survey a long video; return None if it cannot be divided."""

    def run(restorer: FileRestorer) -> Surveyed | None:
        found = restorer.survey(job)
        return found and Surveyed(*found)

    return _guarded(request, expected, job, run)


def restore_range(
    request: DeblurRequest, expected: Facts, job: Job, part: Survey, key: str
) -> PipelineStats | Failure | Differs | None:
    """Restore a range of a long video."""
    return _guarded(request, expected, job, lambda restorer: restorer.restore_range(job, part, key))


def _guarded(
    request: DeblurRequest, expected: Facts, job: Job, run: Callable[[FileRestorer], _Answer]
) -> _Answer | Failure | Differs:
    """Run a task, if this node is as expected; errors become outcomes, whose types every node knows."""
    restorer = _restorer_of(request)
    try:
        facts = restorer.fingerprint()
        if facts != expected:
            import ray

            return Differs(ray.get_runtime_context().get_node_id(), difference(facts, expected))
        job.output.parent.mkdir(parents=True, exist_ok=True)
        return run(restorer)
    except FinishedError as error:
        return Skipped(job, UsageError(line_of(error)))
    except Exception as error:
        skip = job.found and isinstance(error, NoVideoError)
        return (Skipped if skip else Failure)(job, RtdeblurError(line_of(error)))


def _unlocked(restorer: FileRestorer, job: Job) -> Result:
    """Restore a file; if a killed run still holds its lock, wait for it to end."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        with suppress(LockedError):
            return restorer.restore(job)
        if time.monotonic() > deadline:
            return restorer.restore(job)
        time.sleep(1)
