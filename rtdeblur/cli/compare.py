"""`rtdeblur compare A B`: two files side by side, on a page or as a video."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import click

from rtdeblur.cli.options import QUIET, as_path
from rtdeblur.cli.pages import MOMENTS, OPEN, OUTPUT, OVERWRITE, check_output, length_of, publish
from rtdeblur.cli.preview import moment_of, pair
from rtdeblur.cli.progress import progress
from rtdeblur.cli.report import echo, say, size
from rtdeblur.cli.run import run_until_stopped
from rtdeblur.errors import InputError
from rtdeblur.plurals import counted

if TYPE_CHECKING:
    from rtdeblur.frames import VideoInfo
    from rtdeblur.media.side_by_side import Layout
    from rtdeblur.page import Page
    from rtdeblur.preview import Sample


def _moments(first: Path, second: Path, count: int) -> tuple[list[tuple[Sample, Sample]], list[VideoInfo]]:
    """Find the most blurred moments of the first file, and those of the second at the same times."""
    from rtdeblur.preview import most_blurred, open_for_samples, sample_at, samples

    infos = []
    for path in (first, second):
        with open_for_samples(path) as reader:
            infos.append(reader.info)
    found = []
    for before in most_blurred(list(samples(first, infos[0])), count):
        # Half a frame earlier, since containers round times differently.
        early = 0.5 / float(infos[1].frame_rate or 25)
        if after := sample_at(second, max(0.0, before.seconds - early)):
            found.append((before, after))
    if not found:
        raise InputError(
            f"{str(second)!r} has no picture at the times of {str(first)!r}; do they show the same video?"
        )
    return found, infos


def _page(first: Path, second: Path, moments: list[tuple[Sample, Sample]], infos: list[VideoInfo]) -> Page:
    from rtdeblur.page import Page

    facts = [
        (
            name,
            f"{path.name}: {info.width}×{info.height}, {info.pix_fmt}{length_of(info)}, "
            f"{size(path.stat().st_size)}",
        )
        for name, path, info in zip("AB", (first, second), infos, strict=True)
    ]
    blurs = [mean(sample.blur for sample in side) for side in zip(*moments, strict=True)]
    facts.append(("Blur", f"{blurs[0]:.2f} in A, {blurs[1]:.2f} in B, from 0 (sharp) to 1, at these moments"))
    pairs = []
    for before, after in moments:
        left = before.picture
        right = after.picture_of(left.shape[:2])
        caption = f"{moment_of(before.seconds)} – blur {before.blur:.2f} in A, {after.blur:.2f} in B"
        pairs.append(pair(caption, left, right))
    sharper = "B" if blurs[1] < blurs[0] else "A"
    gap = abs(blurs[0] - blurs[1])
    summary = "Both are equally sharp." if gap < 0.01 else f"{sharper} is sharper by this estimate."
    names = [first.name, second.name] if first.name != second.name else [str(first), str(second)]
    return Page(
        title=f"{names[0]} and {names[1]}",
        summary=summary,
        facts=tuple(facts),
        labels=(names[0], names[1]),
        pairs=tuple(pairs),
    )


def _write_video(
    first: Path, second: Path, output: Path, layout: Layout, overwrite: bool, quiet: bool
) -> int:
    """Write both files as one video; return its frames."""
    from rtdeblur.backends.identity import IdentityBackend
    from rtdeblur.media.reader import FileReader
    from rtdeblur.media.side_by_side import SideBySide
    from rtdeblur.media.writer import FileWriter
    from rtdeblur.pipeline import Pipeline

    with (
        FileReader(first) as left,
        FileReader(second) as right,
        SideBySide(left, right, layout) as joined,
        FileWriter(joined, output, overwrite=overwrite) as writer,
        progress(joined.info, quiet=quiet) as on_progress,
    ):
        pipeline = Pipeline(joined, IdentityBackend(), writer, on_progress=on_progress)
        stats = run_until_stopped(pipeline, pipeline.stop)
    for warning in writer.warnings:
        say("warning", warning)
    return stats.frames


def _command(
    first: Path, second: Path, output: Path | None, overwrite: bool, open: bool | None, moments: int,
    video: Path | None, layout: Layout, quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Compare two files, such as a video and the restored one, on a page with a slider per moment.

    The page shows the most blurred moments of A. --video writes a video of both instead: side by side, or
    with a moving line between them. Its sound is A's.
    """
    check_output(output, overwrite)
    report: dict[str, Any] = {}
    if video is not None:
        frames = _write_video(first, second, video, layout, overwrite, quiet)
        report |= {"video": str(video), "frames": frames}
        if not (as_json or quiet):
            say("info", f"{video}: {counted(frames, 'frame')}, {size(video.stat().st_size)}")
    if video is None or output is not None:
        found, infos = _moments(first, second, moments)
        page = _page(first, second, found, infos)
        path = publish(page, output, first, overwrite=overwrite, shown=open)
        figures = [
            {"seconds": round(a.seconds, 3), "blur_a": round(a.blur, 4), "blur_b": round(b.blur, 4)}
            for a, b in found
        ]
        report |= {"page": str(path), "moments": figures}
        if not (as_json or quiet):
            say("info", f"{page.summary} The page: {path}")
    if as_json:
        echo(json.dumps(report, indent=2))


command = click.Command(
    "compare",
    params=[
        click.Argument(["first"], type=as_path, metavar="A"),
        click.Argument(["second"], type=as_path, metavar="B"),
        OUTPUT,
        OVERWRITE,
        OPEN,
        MOMENTS,
        click.Option(
            ["--video"], type=click.Path(path_type=Path), metavar="FILE",
            help="Write a video of both (and the page only with -o).",
        ),
        click.Option(
            ["--layout"], type=click.Choice(("side", "wipe")), default="side", show_default=True,
            help="Layout of --video: side by side, or divided by a moving line.",
        ),
        QUIET,
        click.Option(["--json", "as_json"], is_flag=True, help="Print the figures as JSON."),
    ],
    callback=_command,
    help=_command.__doc__,
)  # fmt: skip
