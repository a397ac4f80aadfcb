"""Order in which the tasks of a batch run: whole files, surveys, ranges of long files, and their joins."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rtdeblur.cli.batch_progress import frames_in
from rtdeblur.cli.node_tasks import Differs, Surveyed
from rtdeblur.cli.report import say
from rtdeblur.cli.results import Failure, Outcome, Result, kept_line
from rtdeblur.errors import RtdeblurError, first_line, last_line
from rtdeblur.plurals import counted

if TYPE_CHECKING:
    from rtdeblur.cli.cluster import Cluster
    from rtdeblur.cli.plan import Job
    from rtdeblur.cli.request import DeblurRequest
    from rtdeblur.media.resume.job_folder import JobFolder
    from rtdeblur.pipeline import PipelineStats
    from rtdeblur.ranges import Section, Survey

ADVICE = "continue with the same command"
_POLL_SECONDS = 1.0
_RANGES_PER_SLOT = 4
"""Ranges of a long file per slot: the shorter they are, the less the slots wait for the last one."""
_AHEAD = 2
"""Tasks per slot that are handed to Ray at a time."""


@dataclass(frozen=True)
class Planned:
    """Plan for a file.

    Attributes:
        job: input and output.
        frames: number of frames according to its container; None if unknown.
        how: whole, ranges, or done.
    """

    job: Job
    frames: int | None
    how: str


@dataclass
class _LongFile:
    """A long file whose ranges are being restored.

    Attributes:
        job: input and output.
        folder: its job's folder, locked.
        key: key of the job.
        kept: frames finished by an earlier run.
        began: when its survey was done, on the monotonic clock.
        waiting: number of unfinished ranges.
        stats: statistics of the finished ranges.
    """

    job: Job
    folder: JobFolder
    key: str
    kept: int
    began: float
    waiting: int = 0
    stats: list[PipelineStats] = field(default_factory=list)


@dataclass(frozen=True)
class _Task:
    """A task to run: a whole file, a survey, or a range of a long file."""

    job: Job
    kind: str
    part: Survey | None = None


class Schedule:
    """Runs the tasks of a batch.

    Args:
        cluster: the nodes.
        request: options.
        planned: plan for each file.
    """

    def __init__(self, cluster: Cluster, request: DeblurRequest, planned: Iterable[Planned]) -> None:
        self._cluster, self._request = cluster, request
        longest_first = sorted(planned, key=lambda each: -(each.frames or 0))
        self._tasks = deque(
            _Task(each.job, "survey" if each.how == "ranges" else "whole") for each in longest_first
        )
        self._running: dict[Any, _Task] = {}
        self._long: dict[Job, _LongFile] = {}
        self._joining: dict[Job, _LongFile] = {}

    @property
    def jobs(self) -> set[Job]:
        """Files being worked on."""
        return {task.job for task in self._running.values()} | set(self._long)

    def outcomes(self) -> Iterator[Outcome | None]:
        """Run everything; yield an outcome per file as it is finished, and None about once a second."""
        import ray

        while self._tasks or self._running:
            while self._tasks and len(self._running) < _AHEAD * self._cluster.slots:
                task = self._tasks.popleft()
                self._running[self._start(task)] = task
            done, _ = ray.wait(list(self._running), num_returns=1, timeout=_POLL_SECONDS)
            for reference in done:
                task = self._running.pop(reference)
                outcome = self._landed(task, _answer(task, reference))
                if outcome is not None:
                    yield outcome
            yield None

    def close(self) -> dict[Job, int]:
        """Release the folders; return the frames kept of each unfinished file. Ray ends the tasks."""
        kept = {job: long.folder.close(keep=True) for job, long in self._long.items()}
        for job in self.jobs - self._long.keys():
            if frames := frames_in(job, {}):  # else it may only have been queued
                kept[job] = frames
        return kept

    def _start(self, task: _Task) -> Any:
        if task.kind == "survey":
            return self._cluster.survey(task.job)
        if task.part is not None:
            return self._cluster.restore_range(task.job, task.part, self._long[task.job].key)
        return self._cluster.restore(task.job)

    def _landed(self, task: _Task, answer: Any) -> Outcome | None:
        """Process a task's answer; return an outcome if its file is finished."""
        job = task.job
        if isinstance(answer, Differs):
            self._cluster.exclude(answer)
            self._tasks.appendleft(task)
            return None
        if isinstance(answer, Failure | Result):
            answer = replace(answer, job=job)  # with the paths as they were given
        if isinstance(answer, Failure):
            return self._failed(answer)
        if task.kind == "survey":
            if answer is None:
                self._tasks.appendleft(_Task(job, "whole"))
                return None
            return self._divide(job, answer)
        if task.kind == "range":
            self._note(job, answer)
            return None
        assert isinstance(answer, Result)
        return _with_ranges(answer, self._joining.pop(job, None))

    def _failed(self, failure: Failure) -> Failure | None:
        """Drop the other ranges of a file that failed, and keep its finished segments."""
        job = failure.job
        long = self._long.pop(job, None)
        if long is None:
            return failure
        self._tasks = deque(task for task in self._tasks if task.job != job)
        for reference in [r for r, task in self._running.items() if task.job == job]:
            import ray

            del self._running[reference]
            with suppress(Exception):
                ray.cancel(reference)
        kept = long.folder.close(keep=True)
        return replace(
            failure, error=RtdeblurError(str(failure.error), kept_line(kept, ADVICE) if kept else "")
        )

    def _divide(self, job: Job, surveyed: Surveyed) -> Failure | None:
        """Start the ranges of a surveyed file, or, if its segments are finished, the join."""
        from rtdeblur.media.resume.job_folder import JobFolder, key_of

        try:
            folder = JobFolder(job.output)
        except RtdeblurError as error:
            return Failure(job, error)
        try:
            kept = folder.open(surveyed.identity, resume=True, overwrite=self._request.overwrite)
        except BaseException as error:
            folder.close(keep=True)
            if not isinstance(error, RtdeblurError | OSError):
                raise
            return Failure(job, error)
        for warning in folder.warnings:
            say("warning", warning)
        missing = [section for section in surveyed.frames.sections if section.first not in kept]
        size = max(1, math.ceil(len(missing) / (_RANGES_PER_SLOT * self._cluster.slots)))
        parts = [surveyed.frames.part(run) for run in _runs(missing, size)]
        done = sum(segment.frames for segment in kept.values())
        key = key_of(surveyed.identity)
        self._long[job] = _LongFile(job, folder, key, done, time.monotonic(), len(parts))
        self._tasks.extendleft(_Task(job, "range", part) for part in reversed(parts))
        if not parts:
            self._join(self._long[job])
        return None

    def _note(self, job: Job, stats: PipelineStats | None) -> None:
        long = self._long.get(job)
        if long is None:  # another range has failed
            return
        long.waiting -= 1
        if stats is not None:
            long.stats.append(stats)
        if not long.waiting:
            self._join(long)

    def _join(self, long: _LongFile) -> None:
        """Write the output of a file whose ranges are finished."""
        self._joining[long.job] = self._long.pop(long.job)
        long.folder.close(keep=True)
        self._tasks.appendleft(_Task(long.job, "whole"))


def _answer(task: _Task, reference: Any) -> Any:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:  # the task's own error handling could not run
        return Failure(task.job, RtdeblurError(f"the task failed: {last_line(error)}"))
    except RayError as error:
        return Failure(task.job, RtdeblurError(f"its task was lost too often: {first_line(error)}"))


def _runs(sections: list[Section], size: int) -> Iterator[list[Section]]:
    """Group consecutive segments, at most `size` together."""
    run: list[Section] = []
    for section in sections:
        if run and (len(run) == size or section.first != run[-1].stop):
            yield run
            run = []
        run.append(section)
    if run:
        yield run


def _with_ranges(result: Result, long: _LongFile | None) -> Result:
    """Add what the ranges of a file counted: the run that joined them restored nothing."""
    if long is None:
        return result
    unrestored = sum(stats.unrestored for stats in long.stats)
    stats = replace(
        result.stats,
        wall_seconds=time.monotonic() - long.began,
        unrestored=result.stats.unrestored + unrestored,
        tiles=result.stats.tiles + sum(stats.tiles for stats in long.stats),
        restored_tiles=result.stats.restored_tiles + sum(stats.restored_tiles for stats in long.stats),
        halved=result.stats.halved + sum(stats.halved for stats in long.stats),
        decode_seconds=result.stats.decode_seconds + sum(stats.decode_seconds for stats in long.stats),
        infer_seconds=result.stats.infer_seconds + sum(stats.infer_seconds for stats in long.stats),
        encode_seconds=result.stats.encode_seconds + sum(stats.encode_seconds for stats in long.stats),
    )
    warnings = result.warnings
    if unrestored:
        warnings += (
            f"{counted(unrestored, 'frame')} came back broken from the model and could not be restored",
        )
    return replace(result, stats=stats, resumed=long.kept, warnings=warnings)
