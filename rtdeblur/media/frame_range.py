"""Frames of a file before it is read: their number, and the times of a range of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from av.stream import Discard

from rtdeblur.errors import InputError, UsageError
from rtdeblur.ffmpeg.container import MAX_PIXELS, is_seekable, main_video, open_input
from rtdeblur.ffmpeg.damage import Damage
from rtdeblur.ffmpeg.formats import traits_of
from rtdeblur.media.demux import Demuxer
from rtdeblur.plurals import counted


def estimated_frames(path: Path, *, max_pixels: int = MAX_PIXELS) -> int | None:
    """Return the number of frames that a container states or implies; None if unknown.

    Raises:
        InputError: the file cannot be read.
    """
    with open_input(path, max_pixels) as container:
        video = main_video(container, path, max_pixels)
        rate = video.average_rate or video.guessed_rate
        if video.frames or container.duration is None or not rate:
            return video.frames or None
        return round(Fraction(container.duration, 1_000_000) * Fraction(rate))


def part_of_frames(
    path: Path, first: int, stop: int | None, *, max_pixels: int = MAX_PIXELS
) -> tuple[float | None, float | None]:
    """Find start and duration of a range of frames from packet timestamps, without decoding.

    Args:
        path: the file.
        first: index of the first frame wanted, from 0.
        stop: index after the last frame wanted; None for the rest.
        max_pixels: see `FileReader`.

    Returns:
        Start and duration for a `FileReader`, in seconds; None for the start or the end of the file.

    Raises:
        InputError: the file cannot be read, or has fewer frames than `first`.
        UsageError: it is a pipe, which can be read only once.
    """
    if not is_seekable(path):
        raise UsageError(
            f"frames of {str(path)!r} cannot be counted in advance, because it is a pipe; try --start"
        )
    with open_input(path, max_pixels) as container:
        video = main_video(container, path, max_pixels)
        for stream in container.streams:
            if stream.index != video.index:
                stream.discard = Discard.all
        start = Fraction(container.start_time or 0, 1_000_000)
        unit = Fraction(video.time_base or 1)
        demuxer = Demuxer(container, video, None, None, Damage(source=str(path), max_pixels=max_pixels))
        single = traits_of(container.format.name).single_times
        times: list[int | None] = []
        while (packet := demuxer.read()) is not None:
            if packet.stream_index == video.index and not packet.is_discard:
                times.append(packet.dts if packet.pts is None or single else packet.pts)
        rate = video.average_rate or video.guessed_rate
    if first >= len(times):
        raise no_such_frame(path, len(times), first)
    known = sorted(time for time in times if time is not None)
    if len(known) < len(times):  # a raw stream: readers assume a constant rate
        step = 1 / Fraction(rate or 25)
        seconds = [index * step for index in range(len(times))]
    else:
        seconds = [time * unit - start for time in known]
    begin = seconds[first] if first else Fraction(0)
    if stop is None or stop >= len(seconds):
        return (float(begin) if first else None), None
    # Between two frames, so that rounding cannot include another one.
    end = (seconds[stop - 1] + seconds[stop]) / 2
    return (float(begin) if first else None), float(end - begin)


def no_such_frame(path: Path, count: int, first: int) -> InputError:
    """Return the error for a range of frames that starts after the last of `count` frames."""
    return InputError(f"input {str(path)!r} has {counted(count, 'frame')}; there is no frame {first}")
