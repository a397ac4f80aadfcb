"""`rtdeblur batch INPUT... -o DIR/ --ray [ADDRESS]`: many files, or long ones, on several machines.

The driver, this process, only plans: every file is opened, restored and written by Ray's tasks. A short file
is one task, an ordinary run with --resume. A long one is surveyed, restored in ranges (`rtdeblur.ranges`) and
then written by a task like any other, which finds its segments finished.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from rtdeblur.cli.batch_progress import Watch, shown
from rtdeblur.cli.cluster import Cluster, connected
from rtdeblur.cli.deblur import skipped_line, tell
from rtdeblur.cli.options import PARAMS, WholeNumber
from rtdeblur.cli.pictures import expanded, is_photo_job
from rtdeblur.cli.plan import STANDARD, Job, Plan, is_folder, plan
from rtdeblur.cli.report import clock, configure, echo, say, table
from rtdeblur.cli.request import DeblurRequest
from rtdeblur.cli.results import Failure, Interrupted, Outcome, Result, as_dict, as_line
from rtdeblur.cli.schedule import ADVICE, Planned, Schedule
from rtdeblur.errors import LockedError, OutputError, RtdeblurError
from rtdeblur.plurals import counted


def _look(jobs: tuple[Job, ...], request: DeblurRequest, split: int, slots: int) -> list[Planned]:
    """Decide what to do with each file, from its header."""
    from rtdeblur.media.frame_range import estimated_frames
    from rtdeblur.media.resume.job_folder import may_skip

    def look(job: Job) -> Planned:
        if may_skip(job.output, job.input, resume=request.resume, overwrite=request.overwrite):
            return Planned(job, None, "done")
        if is_photo_job(job):
            return Planned(job, 1, "whole")
        try:
            frames = estimated_frames(job.input, max_pixels=request.max_pixels)
        except (RtdeblurError, OSError):  # its task reports it
            frames = None
        return Planned(job, frames, "whole")

    with ThreadPoolExecutor(8) as pool:  # the storage may be far away
        looked = list(pool.map(look, jobs))
    # Dividing a file costs two more decodings. It pays only if the others would wait for that file.
    share = sum(each.frames or 0 for each in looked) / (2 * slots)
    may_divide = request.is_whole and slots > 1 and split
    return [
        replace(each, how="ranges") if may_divide and (each.frames or 0) > max(split, share) else each
        for each in looked
    ]


def _plan_as_text(looked: list[Planned], planned: Plan, cluster: Cluster, as_json: bool) -> str:
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
    return f"{table(rows)}\n\n{counted(len(looked), 'file')}, about {counted(frames, 'frame')}"


def _tell_nodes(cluster: Cluster) -> None:
    for node in cluster.left_out:
        say("warning", f"node {node.address} is left out: {node.problem}")
    for node in cluster.nodes:
        if node.unseen:
            say("info", f"node {node.address} does not see {node.unseen!r}: Ray sends it the files")
    nodes, slots = len(cluster.nodes), cluster.slots
    per = " (one per GPU)" if cluster.nodes[0].gpus else ""
    say("info", f"{counted(nodes, 'node')}, {counted(slots, 'task')} at a time{per}")


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
            frames, pace = counted(report["frames"], "frame"), f"{report['fps']:.1f} fps"
            say("info", f"{as_line(planned, outcomes)}; {frames} in {clock(report['seconds'])}, {pace}")
    if any(type(outcome) is Failure for outcome in outcomes):
        click.get_current_context().exit(1)


def _run(
    cluster: Cluster, planned: Plan, request: DeblurRequest, looked: list[Planned], outcomes: list[Outcome]
) -> None:
    """Restore all files; append their outcomes, and finally sort them in the order of the plan."""
    expected = {each.job: each.frames or 0 for each in looked if each.how != "done"}
    watch = Watch(expected, len(looked))
    schedule = Schedule(cluster, request, looked)
    try:
        with shown(watch, quiet=request.quiet) as show:
            for outcome in schedule.outcomes():
                if outcome is not None:
                    outcomes.append(outcome)
                    tell(outcome)
                    watch.finished(outcome)
                    continue
                watch.look(schedule.jobs)
                show()
    except BaseException:  # a signal; but Ray may turn it into an error of its own
        for job, kept in sorted(schedule.close().items(), key=lambda each: str(each[0].input)):
            outcomes.append(Interrupted(job, kept, ADVICE))
            tell(outcomes[-1])
        raise
    finally:
        cluster.close()
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
_HELP = """Restore many files, or long ones, on several machines with Ray.

    All nodes must run the same version; those that would restore differently are left out. INPUT and FOLDER/
    should be on storage that nodes see under the same paths; other nodes exchange files through Ray. Outputs
    are byte for byte those of a single machine. After an interruption, run the same command to continue:
    existing outputs are skipped, unless -y is given.
    """
_OWN = [
    click.Option(
        ["--ray"], is_flag=False, flag_value=_LOCAL, default=_LOCAL, metavar="[HOST:PORT|auto]",
        help="Address of a Ray cluster; auto finds the one on this machine.  "
        "[default: start Ray on this machine only]",
    ),
    click.Option(
        ["--split"], type=WholeNumber(0), metavar="FRAMES", default=3000, show_default=True,
        help="Split longer files among several workers; 0: never.",
    ),
    click.Option(["--dry-run"], is_flag=True, help="Show nodes and tasks without restoring anything."),
    click.Option(["-o", "--output"], metavar="FOLDER/", is_eager=True, help="Folder for the outputs."),
]  # fmt: skip
_NOT_HERE = ("resume", "rate", "output", "version")
_COMMON = [param for param in PARAMS if param.name not in _NOT_HERE]


command = click.Command("batch", params=[*_OWN, *_COMMON], callback=_command, help=_HELP)
