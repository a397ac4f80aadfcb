"""Counts in messages agree with their nouns."""

from __future__ import annotations

from pathlib import Path

from rtdeblur.cli.plan import Job
from rtdeblur.cli.results import Result, kept_line
from rtdeblur.ffmpeg.damage import Damage
from rtdeblur.pipeline import PipelineStats
from rtdeblur.plurals import counted


def test_a_noun_is_plural_unless_there_is_exactly_one() -> None:
    assert [counted(n, "frame") for n in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]


def test_one_frame_is_singular_in_the_lines_of_a_run() -> None:
    stats = PipelineStats(1, 2.0, 0.0, 0.0, 0.0, media_seconds=0.04)
    result = Result(Job(Path("in.mp4"), Path("out.mp4")), stats, "fast", "cpu", "cpu", "x264", (), Damage())
    assert result.as_line().startswith("out.mp4: 1 frame in 2.0 s, ")
    assert kept_line(1).startswith("1 frame done and kept; ")
