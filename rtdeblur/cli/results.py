"""Results of a command's files, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtdeblur.cli.report import line_of, size, speed
from rtdeblur.pictures import kind_of
from rtdeblur.plurals import counted

if TYPE_CHECKING:
    from rtdeblur.cli.plan import Job, Plan
    from rtdeblur.ffmpeg.damage import Damage
    from rtdeblur.pipeline import PipelineStats


@dataclass(frozen=True)
class Result:
    """A file that was restored.

    Attributes:
        job: input and output.
        stats: frames and times of the run.
        model: name of the model.
        backend: name of the backend.
        device: what ran the model, as the backend describes it.
        encoder: FFmpeg's name of the encoder, or the picture format.
        warnings: one line each.
        damage: unreadable parts of the input.
        decoder: cpu or cuda.
        resumed: frames finished by an earlier run.
        is_whole: False if only a part was requested.
    """

    job: Job
    stats: PipelineStats
    model: str
    backend: str
    device: str
    encoder: str
    warnings: tuple[str, ...]
    damage: Damage
    decoder: str = "cpu"
    resumed: int = 0
    is_whole: bool = True

    def as_line(self) -> str:
        """Format one line for people: output, time taken, and size before and after."""
        frames, wall_seconds = self.stats.frames, self.stats.wall_seconds
        if frames == 1 and not self.stats.media_seconds:
            return f"{self.job.output_name}: done in {wall_seconds:.1f} s{self._shares()}{self._sizes()}"
        if self.resumed:
            pace = f"{self.resumed} of them from an earlier run, in {wall_seconds:.1f} s"
        else:
            pace = f"in {wall_seconds:.1f} s, {speed(frames, self.stats.media_seconds, wall_seconds)}"
        separator = ", " if self.resumed else " "
        done = f"{counted(frames, 'frame')}{separator}{pace}"
        return f"{self.job.output_name}: {done}{self._shares()}{self._sizes()}"

    def _shares(self) -> str:
        tiles, halved = self.stats.restored_share, self.stats.halved
        if tiles == 0:
            return "; it is sharp, and was left as it is (--gate off restores everything)"
        words = "" if tiles is None else f"; {tiles:.0%} of tiles restored"
        if halved:
            words += f"; {halved / max(halved, self.stats.frames):.0%} of frames at half resolution"
        return words

    def _sizes(self) -> str:
        before, after = _bytes_of(self.job.input), _bytes_of(self.job.output)
        if after is None:
            return ""
        if before is None or not self.is_whole:  # sizes are not comparable
            return f"; {size(after)}"
        return f"; {size(before)} before, {size(after)} after"

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON object for programs."""
        stats = self.stats
        wall = stats.wall_seconds or 1e-9
        return {
            "input": str(self.job.input),
            "output": str(self.job.output),
            "input_bytes": _bytes_of(self.job.input),
            "output_bytes": _bytes_of(self.job.output),
            "model": self.model,
            "backend": self.backend,
            "device": self.device,
            "decoder": self.decoder,
            "encoder": self.encoder,
            "frames": stats.frames,
            "frames_resumed": self.resumed,
            "seconds": round(stats.wall_seconds, 3),
            "media_seconds": round(stats.media_seconds, 3),
            "frames_unrestored": stats.unrestored,
            "tiles": stats.tiles,
            "tiles_restored": stats.restored_tiles,
            "frames_halved_by_auto": stats.halved,
            "fps": round(stats.fps, 2),
            "realtime_ratio": round(stats.media_seconds / wall, 3),
            "stage_seconds": {
                "decode": round(stats.decode_seconds, 3),
                "infer": round(stats.infer_seconds, 3),
                "encode": round(stats.encode_seconds, 3),
            },
            "warnings": self.warnings,
            "damage": {
                "count": self.damage.count,
                "message": self.damage.message,
                "kinds": self.damage.kinds,
            },
        }


@dataclass(frozen=True)
class Failure:
    """A file that was not restored."""

    job: Job
    error: Exception

    def as_line(self) -> str:
        """Format one line for people, with the file's name."""
        text, name = line_of(self.error), str(self.job.input)
        return text if name in text else f"{name}: {text}"

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON object for programs."""
        return {"input": str(self.job.input), "output": str(self.job.output), "error": line_of(self.error)}


class Skipped(Failure):
    """A file without video in a folder, or one finished earlier."""


@dataclass(frozen=True)
class Interrupted:
    """A file whose run a signal stopped.

    Attributes:
        job: input and output.
        kept: finished frames that another run continues from.
        advice: how to continue.
    """

    job: Job
    kept: int
    advice: str = "continue with --resume"

    def as_line(self) -> str:
        """Format one line for people."""
        if not self.kept:
            return f"{self.job.output_name}: stopped; nothing was kept"
        return f"{self.job.output_name}: stopped; {kept_line(self.kept, self.advice)}"

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON object for programs."""
        names = {"input": str(self.job.input), "output": str(self.job.output)}
        return {**names, "interrupted": True, "frames_kept": self.kept}


Outcome = Result | Failure | Interrupted


def kept_line(frames: int, advice: str = "continue with --resume") -> str:
    """Say how to continue an unfinished run."""
    return f"{counted(frames, 'frame')} done and kept; {advice}, or start over with -y"


def as_json(plan: Plan, outcomes: Sequence[Outcome]) -> str:
    """Return one file's result, or all results with their counts."""
    return json.dumps(as_dict(plan, outcomes) if plan.many else outcomes[0].as_dict(), indent=2)


def as_dict(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return all results with their counts."""
    restored, failed, skipped, interrupted = _sorted(outcomes)
    return {
        "files": [o.as_dict() for o in outcomes if not isinstance(o, Skipped | Interrupted)],
        "restored": len(restored),
        "failed": len(failed),
        "interrupted": [str(outcome.job.input) for outcome in interrupted],
        "not_begun": [str(job.input) for job in _not_begun(plan, outcomes)],
        "skipped": [str(path) for path in (*plan.skipped, *(outcome.job.input for outcome in skipped))],
    }


def as_line(plan: Plan, outcomes: Sequence[Outcome]) -> str:
    """Return how many of several files were restored."""
    restored, failed, skipped, interrupted = _sorted(outcomes)
    counts = {
        "failed": len(failed),
        "skipped": len(plan.skipped) + len(skipped),
        "interrupted": len(interrupted),
        "not started": len(_not_begun(plan, outcomes)),
    }
    rest = "".join(f", {count} {what}" for what, count in counts.items() if count)
    what = "file" if any(kind_of(job.input) for job in plan.jobs) else "video"
    total = len(plan.jobs) - len(skipped)
    if not total:
        return f"nothing to restore{rest}"
    return f"{len(restored)} of {counted(total, what)} restored{rest}"


def _not_begun(plan: Plan, outcomes: Sequence[Outcome]) -> list[Job]:
    begun = {outcome.job for outcome in outcomes}
    return [job for job in plan.jobs if job not in begun]


def _sorted(
    outcomes: Sequence[Outcome],
) -> tuple[list[Result], list[Failure], list[Skipped], list[Interrupted]]:
    return (
        [outcome for outcome in outcomes if isinstance(outcome, Result)],
        [outcome for outcome in outcomes if type(outcome) is Failure],
        [outcome for outcome in outcomes if isinstance(outcome, Skipped)],
        [outcome for outcome in outcomes if isinstance(outcome, Interrupted)],
    )


def _bytes_of(path: Path) -> int | None:
    """Return the size of a file; None for a pipe or device."""
    return path.stat().st_size if path != Path("-") and path.is_file() else None
