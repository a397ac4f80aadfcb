"""`rtdeblur preview VIDEO`: see what would change before a long run."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import click

from rtdeblur.cli.options import (
    ENGINE_DIR,
    GATE,
    MAX_PIXELS,
    MODEL,
    QUIET,
    RESOLUTION,
    SHARED,
    STRENGTH,
    TEMPORAL,
    as_path,
)
from rtdeblur.cli.pages import MOMENTS, OPEN, OUTPUT, OVERWRITE, check_output, length_of, publish
from rtdeblur.cli.report import clock, echo, say, size
from rtdeblur.cli.request import RestoringRequest
from rtdeblur.model import BEST_MODEL, DEFAULT_MODEL

if TYPE_CHECKING:
    from rtdeblur.page import Page, Pair
    from rtdeblur.preview import Preview

# Limits for `rtdeblur.blur.blur_of`: photographs measure 0.18 to 0.35, blurred frames of GoPro 0.46 to 0.65,
# and the sharp frames of the same scenes 0.32 to 0.49.
_WORDS = ((0.40, "sharp"), (0.48, "slightly blurred"), (0.58, "blurred"), (2.0, "strongly blurred"))


@dataclass(frozen=True, kw_only=True)
class PreviewRequest(RestoringRequest):
    """Options of the command."""

    video: Path
    output: Path | None
    overwrite: bool
    open: bool | None
    moments: int
    max_pixels: int


def in_words(blur: float) -> str:
    """Describe a blur estimate in words."""
    return next(word for limit, word in _WORDS if blur < limit)


def moment_of(seconds: float) -> str:
    """Format a time in a video to a tenth of a second, such as 0:07.3."""
    tenths = round(seconds * 10)
    return f"{clock(tenths // 10)}.{tenths % 10}"


def pair(caption: str, before: Any, after: Any) -> Pair:
    """Make a page's pair of two RGB pictures (H, W, 3) of the same size."""
    from rtdeblur.media.photos.jpeg import jpeg
    from rtdeblur.page import Pair

    return Pair(caption, jpeg(before), jpeg(after), (before.shape[0], before.shape[1]))


def page_of(request: PreviewRequest, preview: Preview, model: str, device: str) -> Page:
    """Make the page of a preview."""
    from rtdeblur.page import Page

    info, blurs, moments, estimate = preview.info, preview.blurs, preview.moments, preview.estimate
    blurred = sum(blur >= _WORDS[0][0] for blur in blurs)
    change = mean(moment.change for moment in moments)
    before, after = (
        mean(sample.blur for sample in side)
        for side in ([moment.before for moment in moments], [moment.after for moment in moments])
    )
    rate = ""
    if info.frame_rate and not info.is_photo:
        rate = f", {float(info.frame_rate):.4g} frames per second"
    bytes_before = request.video.stat().st_size
    facts = [
        ("File", f"{info.width}×{info.height}{rate}{length_of(info)}, {size(bytes_before)}"),
        (
            "Blur",
            f"{mean(blurs):.2f} on average, {max(blurs):.2f} at most, from 0 (sharp) to 1; {blurred} of "
            f"{len(blurs)} pictures sampled are blurred",
        ),
        (
            "Change",
            f"the moments below go from {before:.2f} to {after:.2f}; "
            f"brightness changes by {change:.1%} on average",
        ),
    ]
    if estimate:
        facts += [
            (
                "Time",
                f"about {clock(estimate.seconds)} on this machine ({estimate.fps:.1f} frames per second)",
            ),
            ("Size", f"about {size(estimate.size_bytes)}, now {size(bytes_before)}"),
        ]
    facts.append(("Model", f"{model}, on {device}"))
    return Page(
        title=f"Preview of {request.video.name}",
        summary=_summary(max(blurs), before - after, model),
        facts=tuple(facts),
        labels=("before", "after"),
        pairs=tuple(
            pair(
                f"{moment_of(moment.before.seconds)} – "
                f"blur {moment.before.blur:.2f} → {moment.after.blur:.2f}",
                moment.before.picture,
                moment.after.picture,
            )
            for moment in moments
        ),
        command=command_for(request),
    )


def _summary(worst: float, gain: float, model: str) -> str:
    if worst < _WORDS[0][0]:
        return "The video is sharp: there is little to improve."
    verdict = f"At its worst, the video is {in_words(worst)}"
    more = f" --model {BEST_MODEL} removes more blur." if model == DEFAULT_MODEL else ""
    if gain < 0.01:
        return f"{verdict}, and the model hardly sharpens its most blurred moments.{more}"
    much = "much" if gain > 0.05 else "a little"
    return f"{verdict}; the model makes its most blurred moments {much} sharper by this estimate.{more}"


def command_for(request: PreviewRequest) -> str:
    """Return the command that restores the whole file with the same options."""
    from rtdeblur.ffmpeg.formats import output_ending
    from rtdeblur.pictures import kind_of

    video = request.video
    ending = video.suffix if kind_of(video) else output_ending(video)
    output = video.with_name(f"{video.stem}.deblurred{ending}")
    words = ["rtdeblur", str(video), "-o", str(output)]
    for name, given, default in (
        ("--model", request.model, None),
        ("--strength", f"{request.strength:g}", "1"),
        ("--resolution", request.resolution, "auto"),
        ("--temporal", request.temporal, "auto"),
        ("--gate", str(request.gate), "auto"),
        ("--backend", request.backend, "auto"),
        ("--device", request.device, "auto"),
        ("--precision", request.precision, "auto"),
        ("--dropout", request.dropout, None),
        ("--seed", request.seed, 0),
        ("--flavour", request.flavour, "auto"),
        ("--engine-dir", request.engine_dir, None),
        ("--max-pixels", request.max_pixels, MAX_PIXELS.default),
    ):
        if given != default:
            words += [name, str(given)]
    return shlex.join(words)


def _as_dict(preview: Preview, page: Path) -> dict[str, Any]:
    return {
        "page": str(page),
        "blur": [round(blur, 4) for blur in preview.blurs],
        "moments": [
            {
                "seconds": round(moment.before.seconds, 3),
                "blur_before": round(moment.before.blur, 4),
                "blur_after": round(moment.after.blur, 4),
                "change": round(moment.change, 5),
            }
            for moment in preview.moments
        ],
        "estimate": preview.estimate
        and asdict(preview.estimate) | {"seconds": round(preview.estimate.seconds, 1)},
    }


def _command(**words: Any) -> None:
    """See what restoring VIDEO would change, on a page with a slider per moment.

    Samples the whole file, restores its most blurred moments, and estimates how long the whole would take on
    this machine and how large it would be. Nothing is written next to VIDEO.
    """
    request = PreviewRequest.of(**words)
    check_output(request.output, request.overwrite)
    from rtdeblur.preview import look

    model = request.load_model()
    tell = (lambda _: None) if request.quiet else (lambda text: say("info", text))
    with request.open_restorer(model) as backend:
        preview = look(
            request.video, backend, moments=request.moments, max_pixels=request.max_pixels, tell=tell
        )
        page = page_of(request, preview, model.name, backend.description)
    path = publish(page, request.output, request.video, overwrite=request.overwrite, shown=request.open)
    if request.json:
        echo(json.dumps(_as_dict(preview, path), indent=2))
    elif not request.quiet:
        say("info", f"{page.summary} The page: {path}")
        say("info", f"to restore the whole file: {page.command}")


command = click.Command(
    "preview",
    params=[
        click.Argument(["video"], type=as_path, metavar="VIDEO"),
        OUTPUT,
        OVERWRITE,
        OPEN,
        MOMENTS,
        MODEL,
        STRENGTH,
        RESOLUTION,
        TEMPORAL,
        GATE,
        *SHARED,
        ENGINE_DIR,
        MAX_PIXELS,
        QUIET,
        click.Option(["--json"], is_flag=True, help="Print the figures as JSON."),
    ],
    callback=_command,
    help=_command.__doc__,
)  # fmt: skip
