"""What runs on the nodes of a cluster: functions that Ray's tasks call by name.

A process of Ray runs many tasks, and keeps the model loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rtdeblur.cli.report import line_of
from rtdeblur.cli.restoring import FileRestorer
from rtdeblur.cli.results import Failure, Result, Skipped
from rtdeblur.cli.storage import Errand, NoRoomError
from rtdeblur.errors import FinishedError, LockedError, NoVideoError, RtdeblurError, UsageError

if TYPE_CHECKING:
    from rtdeblur.cli.plan import Job
    from rtdeblur.cli.request import DeblurRequest
    from rtdeblur.cli.storage import Relay
    from rtdeblur.pipeline import PipelineStats
    from rtdeblur.ranges import Survey

Facts = Mapping[str, str]
"""Everything on a node that affects the bytes of an output: `FileRestorer.fingerprint`."""

_LOCK_SECONDS = 60
"""Time a task waits for the previous process with the same task to end."""


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


@dataclass(frozen=True)
class Probed:
    """A node's answer.

    Attributes:
        facts: its fingerprint.
        unseen: a path that is missing there; '' if all exist.
    """

    facts: Facts
    unseen: str


def probe(request: DeblurRequest, paths: tuple[Path, ...]) -> Probed | str:
    """Return this node's facts, or why it cannot be used."""
    unseen = next((str(path) for path in paths if not path.exists()), "")
    try:
        return Probed(_restorer_of(request).fingerprint(), unseen)
    except Exception as error:
        return line_of(error)


def restore(
    request: DeblurRequest, expected: Facts, relay: Relay | None, job: Job
) -> Result | Failure | Differs:
    """Restore a file, or write the output of one whose segments are finished."""
    return _guarded(request, expected, relay, job, _unlocked, lambda name: True)


def survey(
    request: DeblurRequest, expected: Facts, relay: Relay | None, job: Job
) -> Surveyed | Failure | Differs | None:
    """Survey a long video; return None if it cannot be divided."""

    def run(restorer: FileRestorer, here: Job) -> Surveyed | None:
        found = restorer.survey(here)
        return found and Surveyed(*found)

    return _guarded(request, expected, relay, job, run, lambda name: False)


def restore_range(
    request: DeblurRequest, expected: Facts, relay: Relay | None, job: Job, part: Survey, key: str
) -> PipelineStats | Failure | Differs | None:
    """Restore a range of a long video."""
    from rtdeblur.media.resume.segment_file import name_of

    names = {name_of(section.first) for section in part.sections}

    def run(restorer: FileRestorer, here: Job) -> PipelineStats | None:
        return restorer.restore_range(here, part, key)

    return _guarded(request, expected, relay, job, run, names.__contains__)


def _guarded(
    request: DeblurRequest,
    expected: Facts,
    relay: Relay | None,
    job: Job,
    run: Callable[[FileRestorer, Job], _Answer],
    fetches: Callable[[str], bool],
) -> _Answer | Failure | Differs:
    """Run a task, if this node is as expected; errors become outcomes, whose types every node knows."""
    import ray

    restorer, node = _restorer_of(request), ray.get_runtime_context().get_node_id()
    with ExitStack() as stack:
        errand = None
        try:
            facts = restorer.fingerprint()
            if facts != expected:
                return Differs(node, difference(facts, expected))
            # A node may have joined after the others were asked.
            sees = job.input.exists() and (relay is None or node not in relay.nodes)
            if not sees and relay is None and not job.input.parent.exists():
                return Differs(node, f"it does not see {str(job.input.parent)!r}")
            if sees or relay is None:
                job.output.parent.mkdir(parents=True, exist_ok=True)
                return run(restorer, job)
            errand = stack.enter_context(closing(Errand(relay.storage, job)))
            errand.fetch(fetches)
            answer = run(restorer, errand.here)
            errand.send()
            return answer
        except NoRoomError as error:
            return Differs(node, str(error))
        except FinishedError as error:
            return Skipped(job, UsageError(line_of(error)))
        except Exception as error:
            skip = job.found and isinstance(error, NoVideoError)
            text = errand.text(line_of(error)) if errand else line_of(error)
            return (Skipped if skip else Failure)(job, RtdeblurError(text))


def _unlocked(restorer: FileRestorer, job: Job) -> Result:
    """Restore a file; if a killed run still holds its lock, wait for it to end."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        with suppress(LockedError):
            return restorer.restore(job)
        if time.monotonic() > deadline:
            return restorer.restore(job)
        time.sleep(1)
