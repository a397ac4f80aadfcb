"""`rtdeblur batch INPUT... -o DIR/ --ray [ADDRESS]`: many files, or long ones, on several machines.

The driver, this process, only plans: every file is opened, restored and written by Ray's tasks. A short file
is one task, an ordinary run with --resume. A long one is surveyed, restored in ranges (`rtdeblur.ranges`) and
then written by a task like any other, which finds its segments finished.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtdeblur.cli.cluster import Cluster, connected
from rtdeblur.cli.deblur import skipped_line, tell
from rtdeblur.cli.node_tasks import Differs, Surveyed
from rtdeblur.cli.options import PARAMS
from rtdeblur.cli.pictures import expanded, is_photo_job
from rtdeblur.cli.plan import STANDARD, Job, Plan, is_folder, plan
from rtdeblur.cli.progress import RunPace
from rtdeblur.cli.report import clock, configure, echo, plain, say, table
from rtdeblur.cli.request import DeblurRequest
from rtdeblur.cli.results import Failure, Interrupted, Outcome, Result, as_dict, as_line, kept_line
from rtdeblur.errors import LockedError, OutputError, RtdeblurError

if TYPE_CHECKING:
    from rtdeblur.media.resume.job_folder import JobFolder
    from rtdeblur.pipeline import PipelineStats
    from rtdeblur.ranges import Section, Survey

_ADVICE = "continue with the same command"
_POLL_SECONDS = 1.0
_LINE_SECONDS = 60.0
_RANGES_PER_SLOT = 4
"""Ranges of a long file per task that can run: the last ones to finish keep the others waiting for less."""
_AHEAD = 2
"""Tasks per slot that Ray knows of at a time."""


@dataclass
class _LongFile:
    """A long file whose ranges are being restored.

    Attributes:
        job: input and output.
        folder: its job's folder, locked.
        key: key of the job.
        kept: frames finished by an earlier run.
        began: when its survey was done, on the monotonic clock.
        waiting: number of ranges left.
        stats: statistics of those finished.
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


class _Batch:
    """Runs the tasks of a batch.

    Args:
        cluster: the nodes.
        request: options.
        looked: what to do with each file.
    """

    def __init__(self, cluster: Cluster, request: DeblurRequest, looked: Iterable[_Planned]) -> None:
        self._cluster, self._request = cluster, request
        longest_first = sorted(looked, key=lambda each: -(each.frames or 0))
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
            if frames := _frames_in(job, {}):  # else it may only have been queued
                kept[job] = frames
        return kept

    def _start(self, task: _Task) -> Any:
        if task.kind == "survey":
            return self._cluster.survey(task.job)
        if task.part is not None:
            return self._cluster.restore_range(task.job, task.part, self._long[task.job].key)
        return self._cluster.restore(task.job)

    def _landed(self, task: _Task, answer: Any) -> Outcome | None:
        """Note a task's answer; return an outcome if its file is finished."""
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
            failure, error=RtdeblurError(str(failure.error), kept_line(kept, _ADVICE) if kept else "")
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
    except RayTaskError as error:  # not even the guard of the task could run
        text = str(error).strip().splitlines()[-1]
        return Failure(task.job, RtdeblurError(f"the task failed: {text}"))
    except RayError as error:
        text = str(error).strip().partition("\n")[0]
        return Failure(task.job, RtdeblurError(f"its task was lost too often: {text}"))


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
        decode_seconds=result.stats.decode_seconds + sum(stats.decode_seconds for stats in long.stats),
        infer_seconds=result.stats.infer_seconds + sum(stats.infer_seconds for stats in long.stats),
        encode_seconds=result.stats.encode_seconds + sum(stats.encode_seconds for stats in long.stats),
    )
    warnings = result.warnings
    if unrestored:
        warnings += (f"{unrestored} frames came back broken from the model and were left unrestored",)
    return replace(result, stats=stats, resumed=long.kept, warnings=warnings)


def _frames_in(job: Job, seen: dict[Path, int]) -> int:
    """Count the frames in the finished segments of a job, of which `seen` has those counted before."""
    from rtdeblur.media.resume.job_folder import folder_of
    from rtdeblur.media.resume.segment_file import glance

    total = 0
    with suppress(OSError):  # it may be removed meanwhile
        for segment in folder_of(job.output).glob("*.segment"):
            if segment not in seen:
                seen[segment] = glance(segment.parent, segment.name)
            total += seen[segment]
    return total


@dataclass(frozen=True)
class _Planned:
    """What will be done with a file.

    Attributes:
        job: input and output.
        frames: number of frames according to its container; None if unknown.
        how: whole, ranges, or done.
    """

    job: Job
    frames: int | None
    how: str


def _look(jobs: tuple[Job, ...], request: DeblurRequest, split: int, slots: int) -> list[_Planned]:
    """Decide what to do with each file, from its header."""
    from rtdeblur.media.frame_range import estimated_frames
    from rtdeblur.media.resume.job_folder import is_finished

    def look(job: Job) -> _Planned:
        if not request.overwrite and is_finished(job.output):
            return _Planned(job, None, "done")
        if is_photo_job(job):
            return _Planned(job, 1, "whole")
        try:
            frames = estimated_frames(job.input, max_pixels=request.max_pixels)
        except (RtdeblurError, OSError):  # its task reports it
            frames = None
        return _Planned(job, frames, "whole")

    with ThreadPoolExecutor(8) as pool:  # the storage may be far away
        looked = list(pool.map(look, jobs))
    # Dividing a file costs two more decodings. It pays only if the others would wait for that file.
    share = sum(each.frames or 0 for each in looked) / (2 * slots)
    may_divide = request.is_whole and slots > 1 and split
    return [
        replace(each, how="ranges") if may_divide and (each.frames or 0) > max(split, share) else each
        for each in looked
    ]


def _plan_as_text(looked: list[_Planned], planned: Plan, cluster: Cluster, as_json: bool) -> str:
    """Describe what will be done, for people or for programs."""
    nodes = [
        {"address": node.address, "cpus": node.cpus, "gpus": node.gpus, "problem": node.problem}
        for node in (*cluster.nodes, *cluster.left_out)
    ]
    files = [
        {"input": str(each.job.input), "output": str(each.job.output), "frames": each.frames, "how": each.how}
        for each in looked
    ]
    if as_json:
        skipped = [str(path) for path in planned.skipped]
        everything = {"files": files, "skipped": skipped, "nodes": nodes, "slots": cluster.slots}
        return json.dumps(everything, indent=2)
    rows = [("input", "output", "frames", "how")]
    rows += [(str(f["input"]), str(f["output"]), str(f["frames"] or "?"), str(f["how"])) for f in files]
    frames = sum(each.frames or 0 for each in looked if each.how != "done")
    return f"{table(rows)}\n\n{len(looked)} files, about {frames} frames"


class _Watch:
    """Progress of a batch, from the segments in the folders of unfinished work.

    Args:
        looked: the files.
    """

    def __init__(self, looked: list[_Planned]) -> None:
        self._frames = {each.job: each.frames or 0 for each in looked if each.how != "done"}
        self.pace = RunPace(sum(self._frames.values()))
        self.files, self.total = 0, len(looked)
        self._done = 0
        self._seen: dict[Path, int] = {}
        self.running: dict[Job, int] = {}

    def finished(self, outcome: Outcome) -> None:
        """Count a finished file."""
        self.files += 1
        expected = self._frames.pop(outcome.job, 0)
        actual = outcome.stats.frames if isinstance(outcome, Result) else expected
        self._done += actual
        self.pace.expected = (self.pace.expected or 0) + actual - expected

    def look(self, jobs: set[Job]) -> None:
        """Count the frames of unfinished files."""
        self.running = {job: frames for job in jobs if (frames := _frames_in(job, self._seen))}
        self.pace.update(self._done + sum(self.running.values()), time.monotonic())

    def __str__(self) -> str:
        return f"{self.files} of {self.total} files; {self.pace.share}" + (
            f", {self.pace.speed}" if self.pace.speed else ""
        )

    def lines(self) -> Iterator[tuple[str, int, int]]:
        """Yield name, frames done and frames expected of each unfinished file."""
        for job, frames in sorted(self.running.items(), key=lambda each: str(each[0].input)):
            yield job.input.name, frames, max(frames, self._frames.get(job, 0))


@contextmanager
def _shown(watch: _Watch, *, quiet: bool) -> Iterator[Any]:
    """Yield a callable that shows the progress: bars on a terminal, a line per minute elsewhere."""
    if quiet or not sys.stderr.isatty():
        last = time.monotonic()

        def line() -> None:
            nonlocal last
            if watch.pace.fps and time.monotonic() - last >= _LINE_SECONDS:
                last = time.monotonic()
                say("info", str(watch))
                for name, frames, expected in watch.lines():
                    say("detail", f"{name}: {frames} of {expected} frames")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        total = bars.add_task("starting", total=watch.pace.total)
        files: dict[str, Any] = {}

        def bar() -> None:
            bars.update(total, completed=watch.pace.frames, total=watch.pace.total, description=str(watch))
            shown = {name: (frames, expected) for name, frames, expected in watch.lines()}
            for name in files.keys() - shown.keys():
                bars.remove_task(files.pop(name))
            for name, (frames, expected) in shown.items():
                if name not in files:
                    files[name] = bars.add_task(plain(f"  {name}"), total=expected)
                bars.update(files[name], completed=frames, total=expected)

        yield bar


def _tell_nodes(cluster: Cluster) -> None:
    for node in cluster.left_out:
        say("warning", f"node {node.address} is left out: {node.problem}")
    nodes, slots = len(cluster.nodes), cluster.slots
    per = " (one per GPU)" if cluster.nodes[0].gpus else ""
    say("info", f"{_plural(nodes, 'node')}, {_plural(slots, 'task')} at a time{per}")


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _summary(planned: Plan, outcomes: list[Outcome], cluster: Cluster, seconds: float) -> dict[str, Any]:
    """Return the report for programs."""
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    frames = sum(result.stats.frames for result in results)
    return {
        **as_dict(planned, outcomes),
        "seconds": round(seconds, 3),
        "media_seconds": round(sum(result.stats.media_seconds for result in results), 3),
        "frames": frames,
        "fps": round(frames / max(seconds, 1e-9), 2),
        "nodes": [node.address for node in cluster.nodes],
        "nodes_left_out": [{"address": n.address, "problem": n.problem} for n in cluster.left_out],
        "node": dict(cluster.facts),
    }


def _command(ray: str | None, split: int, dry_run: bool, **words: Any) -> None:
    request = DeblurRequest.of(**words, resume=True, rate=None)
    configure(quiet=request.quiet, verbose=request.verbose, log_file=request.log_file)
    to_folder = request.output not in (None, str(STANDARD)) and is_folder(str(request.output), several=True)
    if STANDARD in request.inputs or not to_folder:
        raise click.UsageError("A batch reads files and folders, and writes to a folder: add -o FOLDER/")
    folder = Path(str(request.output))
    planned = plan(expanded(request.inputs), f"{folder}/", request.format, request.recursive)
    if planned.skipped:
        say("info", skipped_line(planned.skipped))
    outcomes: list[Outcome] = []
    stdout = sys.stdout
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(_locked(folder))
        stack.enter_context(connected(None if ray == _LOCAL else ray))
        cluster = Cluster(request, (planned.jobs[0].input, *([] if dry_run else [folder])))
        _tell_nodes(cluster)
        looked = _look(planned.jobs, request, split, cluster.slots)
        if dry_run:
            with redirect_stdout(stdout):
                echo(_plan_as_text(looked, planned, cluster, request.json))
            return
        began = time.monotonic()
        try:
            _run(cluster, planned, request, looked, outcomes)
        finally:  # stopping Ray takes seconds
            report = _summary(planned, outcomes, cluster, time.monotonic() - began)
            if request.json:
                with redirect_stdout(stdout):
                    echo(json.dumps(report, indent=2))
            pace = f"{report['frames']} frames in {clock(report['seconds'])}, {report['fps']:.1f} fps"
            say("info", f"{as_line(planned, outcomes)}; {pace}")
    if any(type(outcome) is Failure for outcome in outcomes):
        click.get_current_context().exit(1)


def _run(
    cluster: Cluster, planned: Plan, request: DeblurRequest, looked: list[_Planned], outcomes: list[Outcome]
) -> None:
    """Restore all files; append their outcomes, in the end in the order of the plan."""
    watch = _Watch(looked)
    batch = _Batch(cluster, request, looked)
    try:
        with _shown(watch, quiet=request.quiet) as show:
            for outcome in batch.outcomes():
                if outcome is not None:
                    outcomes.append(outcome)
                    tell(outcome)
                    watch.finished(outcome)
                    continue
                watch.look(batch.jobs)
                show()
    except BaseException:  # a signal; but Ray may turn it into an error of its own
        for job, kept in sorted(batch.close().items(), key=lambda each: str(each[0].input)):
            outcomes.append(Interrupted(job, kept, _ADVICE))
            tell(outcomes[-1])
        raise
    finally:
        place = {job: index for index, job in enumerate(planned.jobs)}
        outcomes.sort(key=lambda outcome: place[outcome.job])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Refuse a second batch into the same folder, which is created if it is missing."""
    from rtdeblur.media.resume.job_folder import JobFolder

    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = JobFolder(folder / "batch")  # no output has a name without an extension
    except LockedError:
        raise LockedError(f"another batch writes into {str(folder)!r}; wait for it to end") from None
    except OSError as error:
        raise OutputError(f"cannot create folder {str(folder)!r}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.close(keep=False)
        if not existed:
            with suppress(OSError):  # not empty
                folder.rmdir()


_LOCAL = "local"
_HELP = """Restore many files, or long ones, on several machines by Ray.

    INPUT and FOLDER/ are on storage that all nodes see under the same paths, and all nodes have the same
    rtdeblur; those that would restore differently are left out. Outputs are byte for byte those of a single
    machine. Interrupted, the same command continues: outputs that exist are skipped, unless -y is given.
    """
_OWN = [
    click.Option(
        ["--ray"], is_flag=False, flag_value=_LOCAL, default=_LOCAL, metavar="[HOST:PORT|auto]",
        help="Ray cluster; auto finds that of this machine.  [default: start Ray on this machine only]",
    ),
    click.Option(
        ["--split"], type=click.IntRange(0), metavar="FRAMES", default=3000, show_default=True,
        help="Divide longer files among several workers; 0 never does.",
    ),
    click.Option(["--dry-run"], is_flag=True, help="Show nodes and tasks, and restore nothing."),
]  # fmt: skip
_NOT_HERE = ("resume", "rate")
_COMMON = [param for param in PARAMS if param.name not in _NOT_HERE]


command = click.Command("batch", params=[*_OWN, *_COMMON], callback=_command, help=_HELP)
