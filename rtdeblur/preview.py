"""Preview of a restoration: how blurred a video is, what would change, how long it would take."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdeblur.backends.base import Backend
from rtdeblur.blur import blur_of
from rtdeblur.errors import InputError
from rtdeblur.ffmpeg.container import MAX_PIXELS, is_seekable
from rtdeblur.ffmpeg.formats import output_ending
from rtdeblur.ffmpeg.sizes import packet_sizes
from rtdeblur.frames import Frame, FrameBatch, VideoInfo
from rtdeblur.gpu_path import Wanted, connect, open_reader
from rtdeblur.live.image import to_bgr, upright
from rtdeblur.media.photos.sequence import SequenceReader
from rtdeblur.media.reader import FileReader
from rtdeblur.media.writer import FileWriter
from rtdeblur.pictures import kind_of
from rtdeblur.pipeline import Pipeline

SAMPLES = 24
"""Number of pictures sampled, evenly over the whole file."""
# Reading a short file in full is faster than so many seeks.
_READ_THROUGH = 40 * SAMPLES
_WIDEST = 1920
_SECTIONS = (0.15, 0.5, 0.8)
"""Positions at which the estimate restores a few frames, as fractions of the length."""
_SECTION_FRAMES = (6, 48)
_SECTION_SECONDS = 3.0
_KEY_FRAMES = 250
"""Frames between key frames, as in x264 and x265."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame of a video.

    Attributes:
        seconds: time from the start of the video.
        frame: the frame, with the reader's carrier.
        blur: estimate by `rtdeblur.blur.blur_of`.
    """

    seconds: float
    frame: Frame
    blur: float

    @property
    def picture(self) -> NDArray[np.uint8]:
        """Picture as a player shows it, at most 1920 wide: RGB (H, W, 3)."""
        height, width = self._upright().planes[0].shape
        scale = min(1.0, _WIDEST / width)
        return self.picture_of((max(1, round(height * scale)), max(1, round(width * scale))))

    def picture_of(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the picture as a player shows it: RGB (H, W, 3).

        Args:
            size: (height, width) to scale to.
        """
        return np.ascontiguousarray(to_bgr(self._upright(), size)[..., ::-1])

    def _upright(self) -> Frame:
        return upright(self.frame, self.frame.carrier.frame)


@dataclass(frozen=True, slots=True)
class Moment:
    """A sample and its restoration.

    Attributes:
        before: the original.
        after: the restored sample.
    """

    before: Sample
    after: Sample

    @property
    def change(self) -> float:
        """Mean change of luma, as a fraction of full scale."""
        old, new = (sample.frame.planes[0].astype(np.float32) for sample in (self.before, self.after))
        return float(np.abs(new - old).mean()) / self.before.frame.colour.peak


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated cost of restoring the whole file on this machine.

    Attributes:
        frames: number of frames.
        fps: frames per second, including decoding and encoding.
        size_bytes: size of the output.
    """

    frames: int
    fps: float
    size_bytes: int

    @property
    def seconds(self) -> float:
        """Time to restore the file."""
        return self.frames / self.fps


@dataclass(frozen=True, slots=True)
class Preview:
    """Result of a preview.

    Attributes:
        info: size, rate and length.
        blurs: blur of the samples, over the whole file.
        moments: the most blurred samples and their restorations, in order of time.
        estimate: cost of the whole file; None if its length is unknown, or far from that of its video.
    """

    info: VideoInfo
    blurs: tuple[float, ...]
    moments: tuple[Moment, ...]
    estimate: Estimate | None


def look(
    path: Path,
    backend: Backend,
    *,
    moments: int = 4,
    max_pixels: int = MAX_PIXELS,
    tell: Callable[[str], object] = lambda _: None,
) -> Preview:
    """Sample a video, restore its most blurred moments and a few frames more, and estimate the rest.

    Args:
        path: the video.
        backend: the backend.
        moments: number of moments to restore.
        max_pixels: the largest picture accepted.
        tell: called with a line as each part starts.

    Raises:
        InputError: it is not a readable video.
    """
    with open_for_samples(path, max_pixels=max_pixels) as reader:
        info = reader.info
    tell("sampling the whole file")
    taken = list(samples(path, info, max_pixels))
    chosen = most_blurred(taken, moments)
    tell("restoring the most blurred moments")
    restored = tuple(Moment(sample, _restored(path, sample, info, backend, max_pixels)) for sample in chosen)
    tell("measuring the speed of this machine")
    estimate = _estimate(path, info, backend, max_pixels)
    return Preview(info, tuple(sample.blur for sample in taken), restored, estimate)


def open_for_samples(
    path: Path, *, start: float | None = None, max_pixels: int = MAX_PIXELS
) -> FileReader | SequenceReader:
    """Open a video, a photo or an animation.

    Args:
        path: the file.
        start: seconds to the first frame wanted.
        max_pixels: the largest picture accepted.
    """
    if _is_picture(path):
        return SequenceReader(path, [path], start=start, max_pixels=max_pixels)
    return FileReader(path, start=start, max_pixels=max_pixels)


def _is_picture(path: Path) -> bool:
    """True for photos and animations, except those that FFmpeg reads like a video."""
    kind = kind_of(path)
    return kind is not None and not kind.video


def samples(path: Path, info: VideoInfo, max_pixels: int = MAX_PIXELS) -> Iterator[Sample]:
    """Yield frames spread evenly over a video, in order of time.

    Args:
        path: the video.
        info: its info.
        max_pixels: the largest picture accepted.
    """
    length = info.duration_seconds
    if not length or not is_seekable(path) or (info.frame_count or 0) <= _READ_THROUGH:
        yield from _read_through(path, info, max_pixels)
        return
    for index in range(SAMPLES):
        if sample := sample_at(path, (index + 0.5) / SAMPLES * length, max_pixels):
            yield sample


def sample_at(path: Path, seconds: float, max_pixels: int = MAX_PIXELS) -> Sample | None:
    """Return the first frame at or after a time; None if there is none."""
    try:
        with open_for_samples(path, start=seconds, max_pixels=max_pixels) as reader:
            frame = next((item for item in reader if isinstance(item, Frame)), None)
    except InputError:  # no frame that late: lengths are not exact
        return None
    return None if frame is None else Sample(seconds, frame, blur_of(frame.planes[0]))


def most_blurred(taken: list[Sample], count: int) -> list[Sample]:
    """Return the most blurred samples, in order of time, preferring those not next to each other.

    Args:
        taken: samples in order of time.
        count: number to choose.
    """
    ranked = sorted(range(len(taken)), key=lambda index: -taken[index].blur)
    chosen: list[int] = []
    for apart in (2, 1):
        for index in ranked:
            if len(chosen) < count and all(abs(index - other) >= apart for other in chosen):
                chosen.append(index)
    return [taken[index] for index in sorted(chosen)]


def _read_through(path: Path, info: VideoInfo, max_pixels: int) -> Iterator[Sample]:
    every = max(1, (info.frame_count or SAMPLES) // SAMPLES)
    with open_for_samples(path, max_pixels=max_pixels) as reader:
        frames = (item for item in reader if isinstance(item, Frame))
        zero = float(reader.source.zero)
        for index, frame in enumerate(frames):
            if index % every == every // 2:
                seconds = float(frame.pts * frame.time_base) - zero
                yield Sample(seconds, frame, blur_of(frame.planes[0]))


def _restored(path: Path, sample: Sample, info: VideoInfo, backend: Backend, max_pixels: int) -> Sample:
    """Restore a sample between as many neighbours as affect it."""
    frame, before, after = sample.frame, deque[Frame](maxlen=backend.reach), list[Frame]()
    rate = info.frame_rate
    if backend.reach and rate and is_seekable(path) and not _is_picture(path):
        start = max(0.0, sample.seconds - float((backend.reach + 1) / rate))
        with open_for_samples(path, start=start, max_pixels=max_pixels) as reader:
            for item in reader:
                if isinstance(item, Frame) and item.pts != frame.pts:
                    (before if item.pts < frame.pts else after).append(item)
                if len(after) == backend.reach:
                    break
    frames = [*reversed(_alike(frame, reversed(before))), frame, *_alike(frame, after)]
    backend.begin()  # samples are far apart
    restored = backend.infer(FrameBatch.stack(frames)).frames()
    planes = next(other.planes for other in restored if other.pts == frame.pts)
    return replace(sample, frame=replace(frame, planes=planes), blur=blur_of(planes[0]))


def _alike(frame: Frame, others: Iterable[Frame]) -> list[Frame]:
    """Return the others up to the first that cannot be in a batch with the frame."""
    return list(takewhile(lambda other: other.layout == frame.layout, others))


def _estimate(path: Path, info: VideoInfo, backend: Backend, max_pixels: int) -> Estimate | None:
    """Restore a few frames from several places, including decoding and encoding."""
    length, rate = info.duration_seconds, info.frame_rate
    if not length or not rate or not is_seekable(path) or _is_picture(path):
        return None
    frames = info.frame_count or max(1, round(length * rate))
    least, most = _SECTION_FRAMES
    done, wall_seconds, rest = 0, 0.0, 0
    keys: list[int] = []
    others: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        for place in _SECTIONS:
            count = (
                least if not done else min(most, max(least, round(_SECTION_SECONDS * done / wall_seconds)))
            )
            span = count / float(rate)
            output = Path(folder, f"{place}{output_ending(path)}")
            start = min(place * length, max(0.0, length - span))
            part = {"start": start, "duration": span, "max_pixels": max_pixels}
            try:
                reader, obstacle = open_reader(path, Wanted(backend=backend.name), **part)
            except InputError:  # no frame that late: the sound may be longer than the video
                continue
            with reader, FileWriter(reader, output) as writer:
                connect(reader, backend, writer, obstacle)
                stats = Pipeline(reader, backend, writer, batch_size=None).run()
            done, wall_seconds = done + stats.frames, wall_seconds + stats.wall_seconds
            sizes = packet_sizes(output)
            keys += sizes.key_frames
            others += sizes.other_frames
            rest += sizes.rest
    if not done:
        return None
    key_frames = -(-frames // _KEY_FRAMES)
    size = key_frames * np.mean(keys) + (frames - key_frames) * np.mean(others or keys)
    return Estimate(frames, done / wall_seconds, round(size + rest * frames / done))
