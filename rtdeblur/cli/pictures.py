"""Photos, animations and numbered pictures on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rtdeblur.cli.plan import Job, has_original, is_folder
from rtdeblur.cli.report import say
from rtdeblur.errors import UsageError
from rtdeblur.pictures import kind_of
from rtdeblur.plurals import counted

if TYPE_CHECKING:
    from rtdeblur.cli.request import DeblurRequest
    from rtdeblur.media.photos.sequence import SequenceReader

_LOSSLESS = {
    "ffv1", "ffvhuff", "huffyuv", "utvideo", "magicyuv", "png", "apng", "qtrle", "rawvideo", "libx264rgb",
}  # fmt: skip
"""Encoders that keep RGB as RGB."""
_OF_VIDEOS = {
    "codec": "auto", "quality": None, "crf": None, "preset": None, "format": None, "start": None, "end": None,
    "duration": None, "frames": None, "deinterlace": None,
}  # fmt: skip
"""Options that do not apply to photos, and their defaults."""


def expanded(inputs: tuple[Path, ...]) -> tuple[Path, ...]:
    """Expand patterns such as frame%04d.png among the inputs.

    Raises:
        InputError: nothing matches.
    """
    if not any(map(kind_of, inputs)):
        return inputs
    from rtdeblur.media.photos.sequence import is_pattern, matching

    return tuple(
        found
        for path in inputs
        for found in (matching(path) if kind_of(path) and is_pattern(path) else [path])
    )


def sequence_of(named: tuple[Path, ...], inputs: tuple[Path, ...], output: str | None) -> Job | None:
    """Return the job for pictures that become one video; None for any other request.

    Args:
        named: files, folders and patterns as given.
        inputs: the same, with patterns expanded.
        output: argument of -o.

    Raises:
        UsageError: the output is a single picture.
    """
    if output is None or is_folder(output, len(inputs) > 1 or inputs[0].is_dir()):
        return None
    pictures = _pictures(inputs)
    if len(pictures) < 2 and inputs == named and not inputs[0].is_dir():
        return None
    if not pictures:
        return None
    if kind_of(Path(output)) is not None:
        raise UsageError(
            f"{len(pictures)} pictures cannot become one; write them to a folder, such as -o restored/, "
            "or to a video, such as -o out.mp4"
        )
    label = named[0] if len(named) == 1 else pictures[0].parent
    return Job(label, Path(output), frames=tuple(pictures))


def _pictures(inputs: tuple[Path, ...]) -> list[Path]:
    """Return the given pictures, or those of the given folder, in order, without outputs of earlier runs.

    Empty if there is anything else.
    """
    from rtdeblur.media.photos.sequence import in_order

    if len(inputs) == 1 and inputs[0].is_dir():
        files = [path for path in inputs[0].iterdir() if path.is_file() and not path.name.startswith(".")]
    else:
        files = list(inputs)
    if not all(kind_of(path) and path.is_file() for path in files):
        return []
    return in_order([path for path in files if not has_original(path)])


def is_photo_job(job: Job) -> bool:
    """True if both ends are pictures: photos or animations."""
    return not job.frames and kind_of(job.input) is not None and kind_of(job.output) is not None


def is_sequence_job(job: Job, request: DeblurRequest) -> bool:
    """True if pictures become a video: numbered ones, or an animation.

    FFmpeg reads GIF as RGB with transparency, which players hardly support: only for lossless encoders, and
    for --frames, which counts its packets.
    """
    if job.frames:
        return True
    kind = kind_of(job.input)
    return kind is not None and (not kind.video or not (_is_lossless(request) or request.frames))


def check_picture_output(job: Job) -> None:
    """Refuse a picture as the output of a video.

    Raises:
        UsageError: it is one.
    """
    kind = kind_of(job.output)
    if kind is not None and (not kind.animated or job.output.suffix.lower() == ".png"):  # .apng is a video
        raise UsageError(
            f"output {str(job.output)!r} is a single picture, expected a video such as out.mp4; to make "
            "pictures of it: ffmpeg -i out.mp4 frame%04d.png"
        )


def _is_lossless(request: DeblurRequest) -> bool:
    return request.codec in _LOSSLESS or request.crf == 0 or request.quality == "lossless"


def check_photo_options(request: DeblurRequest, job: Job) -> None:
    """Refuse video options for a photo given on the command line.

    Raises:
        UsageError: one was given.
    """
    if job.found:
        return
    for name, absent in _OF_VIDEOS.items():
        if getattr(request, name) != absent:
            raise UsageError(
                f"--{name} applies only to videos; leave it out for the picture {str(job.input)!r}"
            )


def open_sequence(request: DeblurRequest, job: Job) -> SequenceReader:
    """Open the pictures of a job as a video.

    Raises:
        UsageError: there is only one.
        InputError: none can be read, or none is in the requested part.
    """
    from rtdeblur.media.frame_range import no_such_frame
    from rtdeblur.media.photos.sequence import SequenceReader, gaps

    if request.frames and not job.frames:
        raise UsageError("--frames works only for videos and numbered pictures; try --start and --duration")
    if request.frames and request.frames[0] >= len(job.frames):
        raise no_such_frame(job.input, len(job.frames), request.frames[0])
    pictures = job.frames[slice(*request.frames)] if request.frames else job.frames or (job.input,)
    start, duration = (None, None) if request.frames else request.part(job.input)
    if missing := gaps(pictures):
        say("warning", missing)
    reader = SequenceReader(
        job.input,
        pictures,
        rate=request.rate,
        lossless=_is_lossless(request),
        start=start,
        duration=duration,
        max_pixels=request.max_pixels,
        strict=request.strict,
    )
    if len(pictures) == 1 and not job.frames and reader.info.is_photo:
        reader.close()
        raise UsageError(
            f"{str(job.input)!r} is a single picture; write it to a picture, such as -o out{job.input.suffix}"
        )
    if job.frames and request.rate is None:
        say("info", f"{counted(len(pictures), 'picture')} at 25 per second; change that with --rate")
    return reader
