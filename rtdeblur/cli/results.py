"""What came of the files of a command, for a person and for a program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtdeblur.cli.report import line_of, speed

if TYPE_CHECKING:
    from rtdeblur.cli.plan import Job, Plan
    from rtdeblur.ffmpeg.damage import Damage
    from rtdeblur.pipeline import PipelineStats


@dataclass(frozen=True)
class Result:
    """A file that was restored."""

    job: Job
    stats: PipelineStats
    model: str
    backend: str
    device: str
    warnings: tuple[str, ...]
    damage: Damage
    decoder: str
    encoder: str
    resumed: int

    def as_line(self) -> str:
        """Say it to a person."""
        frames, wall_seconds = self.stats.frames, self.stats.wall_seconds
        if self.resumed:
            earlier = f"{self.resumed} of them by an earlier run"
            return f"{self.job.output}: {frames} frames, {earlier}, in {wall_seconds:.1f} s"
        pace = speed(frames, self.stats.media_seconds, wall_seconds)
        return f"{self.job.output}: {frames} frames in {wall_seconds:.1f} s, {pace}"

    def as_dict(self) -> dict[str, Any]:
        """Say it to a program."""
        stats = self.stats
        wall = stats.wall_seconds or 1e-9
        return {
            "input": str(self.job.input),
            "output": str(self.job.output),
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
    """A file that was not."""

    job: Job
    error: Exception

    def as_line(self) -> str:
        """Say it to a person, with the file's name."""
        text, name = line_of(self.error), str(self.job.input)
        return text if name in text else f"{name}: {text}"

    def as_dict(self) -> dict[str, Any]:
        """Say it to a program."""
        return {"input": str(self.job.input), "output": str(self.job.output), "error": line_of(self.error)}


class Skipped(Failure):
    """A file that a folder held and that holds no video."""


Outcome = Result | Failure


def as_json(plan: Plan, outcomes: Sequence[Outcome]) -> str:
    """One file alone, or all of a folder with their count."""
    if not plan.many:
        return json.dumps(outcomes[0].as_dict(), indent=2)
    restored, failed, skipped = _sorted(outcomes)
    summary = {
        "files": [outcome.as_dict() for outcome in outcomes if outcome not in skipped],
        "restored": len(restored),
        "failed": len(failed),
        "not_begun": [str(job.input) for job in plan.jobs[len(outcomes) :]],
        "skipped": [str(path) for path in (*plan.skipped, *(outcome.job.input for outcome in skipped))],
    }
    return json.dumps(summary, indent=2)


def as_line(plan: Plan, outcomes: Sequence[Outcome]) -> str:
    """How many of a folder's files were restored."""
    restored, failed, skipped = _sorted(outcomes)
    counts = {
        "failed": len(failed),
        "skipped": len(plan.skipped) + len(skipped),
        "not begun": len(plan.jobs) - len(outcomes),
    }
    rest = "".join(f", {count} {what}" for what, count in counts.items() if count)
    return f"{len(restored)} of {len(plan.jobs) - len(skipped)} videos restored{rest}"


def _sorted(outcomes: Sequence[Outcome]) -> tuple[list[Result], list[Failure], list[Skipped]]:
    skipped = [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failure) and outcome not in skipped]
    return [outcome for outcome in outcomes if isinstance(outcome, Result)], failed, skipped
