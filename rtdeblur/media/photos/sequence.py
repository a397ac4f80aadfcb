"""Numbered pictures, and animations, as the frames of a video."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from glob import glob
from io import BytesIO
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.container import InputContainer
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from rtdeblur.errors import InputError, RtdeblurError
from rtdeblur.ffmpeg.container import MAX_PIXELS, open_output
from rtdeblur.ffmpeg.damage import FRAMES, Damage
from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.ffmpeg.pixels import colour_of, planes_of
from rtdeblur.frames import Colour, Frame, VideoInfo
from rtdeblur.media.photos.reader import PictureReader
from rtdeblur.media.photos.still import MILLISECOND, Still
from rtdeblur.media.reader import Carried, no_frame
from rtdeblur.media.source import PictureInfo, SourceInfo
from rtdeblur.pictures import kind_of

RATE = Fraction(25)
"""Default pictures per second, as in FFmpeg."""

_NUMBER = re.compile(r"%(0\d*)?\d*d")
_WILD = re.compile(r"[*?\[]")
_DIGITS = re.compile(r"(\d+)")


def is_pattern(path: Path) -> bool:
    """True for a name that is a pattern, such as frame%04d.png or *.png, and not an existing file."""
    return bool(_NUMBER.search(path.name) or _WILD.search(path.name)) and not path.exists()


def matching(pattern: Path) -> list[Path]:
    """Return the pictures that match a pattern, in numerical order.

    Raises:
        InputError: no match.
    """
    name = pattern.name
    if number := _NUMBER.search(name):
        before, after = (re.escape(part) for part in (name[: number.start()], name[number.end() :]))
        digits = re.compile(f"{before}[0-9]+{after}")
        found = [path for path in _files(pattern.parent) if digits.fullmatch(path.name)]
    else:
        found = [path for path in map(Path, glob(str(pattern))) if path.is_file() and kind_of(path)]  # noqa: PTH207
    if not found:
        raise InputError(f"no picture matches {str(pattern)!r}; check the folder and the extension")
    return in_order(found)


def in_order(paths: Sequence[Path]) -> list[Path]:
    """Sort paths in natural order: frame2 before frame10."""

    def key(path: Path) -> tuple[str, list[tuple[int, str]]]:
        parts = _DIGITS.split(path.name)
        return str(path.parent), [(int(part), part) if part.isdigit() else (-1, part) for part in parts]

    return sorted(paths, key=key)


def gaps(paths: Sequence[Path]) -> str | None:
    """Return one line about numbers missing between the first and the last; None if there are none."""
    numbers = [int(found[-1]) for path in paths if (found := _DIGITS.findall(path.stem))]
    if len(numbers) < len(paths) or len(set(numbers)) < len(numbers):
        return None
    missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
    if not missing or len(missing) > 10 * len(numbers):  # dates and the like are not consecutive
        return None
    if len(missing) == 1:
        what, them = f"number {missing[0]} is missing", "it"
    else:
        what, them = f"{len(missing)} numbers are missing, the first {missing[0]}", "them"
    return f"from {paths[0].name} to {paths[-1].name}, {what}; the video continues without {them}"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []


class SequenceReader:
    """Pictures as the frames of a video (a `FrameSource`), for a `FileWriter`.

    A picture that cannot be read counts as damage, and leaves a gap.

    Args:
        path: common name for messages: a folder, a pattern, or the file of an animation.
        pictures: the files, in order; one animation, or any number of photos.
        rate: pictures per second; not for an animation, which has its own timing.
        lossless: keep RGB; else convert to BT.709 4:2:0, which every player supports.
        start: seconds to the first picture wanted.
        duration: seconds to read from there.
        max_pixels: the largest picture accepted, in pixels.
        strict: raise the first damage instead of counting it.

    Attributes:
        source: facts for a writer.
        damage: what could not be read so far.

    Raises:
        InputError: none of the pictures can be read, or none is in the requested part.
    """

    def __init__(
        self,
        path: Path,
        pictures: Sequence[Path],
        *,
        rate: Fraction | None = None,
        lossless: bool = False,
        start: float | None = None,
        duration: float | None = None,
        max_pixels: int = MAX_PIXELS,
        strict: bool = False,
    ) -> None:
        self._pictures, self._rate, self._max_pixels = list(pictures), rate or RATE, max_pixels
        self._from, self._until = start or 0.0, None if duration is None else (start or 0.0) + duration
        self.damage = Damage(source=str(path), max_pixels=max_pixels, strict=strict)
        self._length = len(self._pictures) / self._rate
        self._times = self._read()
        first = next(self._times, None)
        if first is None:
            if self.damage.message:
                raise InputError(self.damage.message)
            raise InputError(f"input {str(path)!r} has {no_frame(float(self._length))}")
        self._first, self._zero, self._unit = first[0], first[1], first[2]
        self._closed, self._begun = False, False
        self._lossless = lossless
        self._alpha = self._first.has_alpha and bool((self._first.samples[..., -1] != self._peak).any())
        height, width = self._first.samples.shape[:2]
        self._container, stream = _template(height, width, self._rate)
        self.source: SourceInfo = self._describe(path, stream)

    @property
    def info(self) -> VideoInfo:
        """Size, rate and length."""
        return self.source.info

    def __iter__(self) -> Iterator[Frame]:
        """Yield each picture once; yields nothing when called again or after `close`."""
        if self._begun or self._closed:
            return
        self._begun = True
        yield self._framed(self._first, 0)
        for still, pts, _ in self._times:
            if self._closed:
                return
            yield self._framed(still, pts - self._zero)

    def remaining_packets(self) -> Iterator[AnyPacket]:
        """Yield nothing: there are no other streams."""
        return iter(())

    def close(self) -> None:
        """Release everything; may be called twice, and from another thread while this one reads."""
        self._closed = True
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _peak(self) -> int:
        return (1 << self._first.depth) - 1

    def _read(self) -> Iterator[tuple[Still, int, Fraction]]:
        """Yield the pictures in the requested part, upright, with their timestamps and time bases."""
        for index, path in enumerate(self._pictures):
            if not self._wants(index / self._rate) and len(self._pictures) > 1:
                continue
            try:
                with PictureReader(path, max_pixels=self._max_pixels) as reader:
                    yield from self._timed(reader, index)
            except RtdeblurError as error:
                self.damage.add(FRAMES, str(error))

    def _timed(self, reader: PictureReader, index: int) -> Iterator[tuple[Still, int, Fraction]]:
        if len(self._pictures) > 1 or not reader.is_animated:
            still = next(reader.stills())
            yield replace(still, milliseconds=0).upright(reader.metadata.orientation), index, 1 / self._rate
            return
        milliseconds = 0
        for still in reader.stills():
            if self._wants(milliseconds * MILLISECOND):
                yield still, milliseconds, MILLISECOND
            milliseconds += still.milliseconds
        self._length = milliseconds * MILLISECOND

    def _wants(self, seconds: Fraction) -> bool:
        return self._from <= seconds and (self._until is None or seconds < self._until)

    def _framed(self, still: Still, pts: int) -> Frame:
        video = self._frame_of(still)
        video.pts, video.time_base = pts, self._unit
        video.duration = still.milliseconds or 1
        return Frame(planes_of(video), pts, self._unit, colour_of(video), Carried(video, ()))

    def _frame_of(self, still: Still) -> VideoFrame:
        """Return the picture as a planar FFmpeg frame, with alpha if the first picture has any."""
        samples = still.samples
        if still.colours == 1 and (self._alpha or not self._lossless):
            samples = samples[..., (0, 0, 0, 1)[: 3 + still.has_alpha]]
        suffix = "" if still.depth == 8 else "16le"
        if samples.shape[2] < 3:
            name, planes = f"gray{suffix}", [samples[..., 0]]
        else:
            name = f"gbr{'a' * self._alpha}p{suffix}"
            planes = [samples[..., channel] for channel in (1, 2, 0)]
            if self._alpha:
                opaque = np.full(samples.shape[:2], self._peak, samples.dtype)
                planes.append(samples[..., 3] if samples.shape[2] == 4 else opaque)
        height, width = samples.shape[:2]
        frame = VideoFrame(width, height, name)
        for plane, values in zip(frame.planes, planes, strict=True):
            rows = np.frombuffer(memoryview(plane), samples.dtype).reshape(height, -1)
            rows[:, :width] = values
        frame.color_range = ColorRange.JPEG
        frame.colorspace = Colorspace.ITU709 if samples.shape[2] < 3 else 0
        return frame

    def _describe(self, path: Path, stream: VideoStream) -> SourceInfo:
        frame = self._frame_of(self._first)
        picture = PictureInfo.of(frame)
        if not self._lossless:
            depth = "" if self._first.depth == 8 else "10le"
            picture = replace(
                picture,
                format=VideoFormat(f"yuv{'a' * self._alpha}420p{depth}"),
                colour=Colour("bt709", False, 8 if self._first.depth == 8 else 10),
                primaries=1, transfer=1, matrix=1, range=int(ColorRange.MPEG),
            )  # fmt: skip
        rate = self._rate if self._unit != MILLISECOND else None
        count = len(self._pictures) if rate else None
        return SourceInfo(
            path=path,
            info=VideoInfo(
                frame.height, frame.width, frame.format.name, rate,
                float(count / rate) if count and rate else None, count,
            ),
            picture=picture,
            device="cpu",
            surface=frame.format.name,
            is_deinterlaced=False,
            strict=self.damage.strict,
            time_base=self._unit,
            zero=Fraction(0),
            end=None,
            is_trimmed=False,
            streams=(stream,),
            video=stream,
            covers={},
            tags={},
            chapters=(),
        )  # fmt: skip


def _template(height: int, width: int, rate: Fraction) -> tuple[InputContainer, VideoStream]:
    """Make a video stream as if FFmpeg had opened it, and its container."""
    file = BytesIO()
    with open_output(file, "nut") as output:
        made = output.add_stream("ffv1", rate, width=width, height=height, pix_fmt="gray")
        assert isinstance(made, VideoStream)
        output.mux([*made.encode(VideoFrame(width, height, "gray")), *made.encode(None)])
    file.seek(0)
    container = av.open(file, "r")
    return container, container.streams.video[0]
