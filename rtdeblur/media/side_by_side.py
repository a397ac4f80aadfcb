"""Two videos in one picture: side by side, or divided by a moving line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Literal, Self

from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation

from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.ffmpeg.pixels import COLORSPACES, colour_of, plane_views, planes_of
from rtdeblur.frames import Frame, Interlude, Plane, VideoInfo
from rtdeblur.media.reader import Carried, FileReader
from rtdeblur.media.source import SourceInfo

Layout = Literal["side", "wipe"]

_SWEEP_SECONDS = 6
"""Period of the moving line."""
_LINE = 4
"""Width of the line in pixels; its position is a multiple, to suit every chroma subsampling."""


class SideBySide:
    """Two videos as one (a `FrameSource`), for a `FileWriter`; timestamps, sound and tags are the first's.

    Args:
        first: shown on the left.
        second: shown on the right, converted to the size and colour of the first; each frame is shown until
            the next.
        layout: side, or wipe.

    Attributes:
        source: facts for a writer.
    """

    def __init__(self, first: FileReader, second: FileReader, layout: Layout) -> None:
        self._first, self._second, self._layout = first, second, layout
        picture, info = first.source.picture, first.source.info
        self._offset = -(-picture.width // _LINE) * _LINE
        width = self._offset + picture.width if layout == "side" else picture.width
        self.source: SourceInfo = replace(
            first.source, picture=replace(picture, width=width), info=replace(info, width=width)
        )

    @property
    def info(self) -> VideoInfo:
        """Size, rate and length."""
        return self.source.info

    def __iter__(self) -> Iterator[Frame | Interlude]:
        """Yield each frame of the first video once, combined with the second's at its time."""
        others = (frame for frame in self._second if isinstance(frame, Frame))
        shown = following = next(others)
        for frame in self._first:
            if not isinstance(frame, Frame):
                assert isinstance(frame, Interlude)
                yield frame
                continue
            seconds = _seconds(frame, self._first)
            while following is not None and _seconds(following, self._second) <= seconds + Fraction(1, 1000):
                shown, following = following, next(others, None)  # type: ignore[assignment]
            yield self._joined(frame, shown.carrier.frame, seconds)

    def remaining_packets(self) -> Iterator[AnyPacket]:
        """Yield the packets of the first video after its last frame."""
        return self._first.remaining_packets()

    def close(self) -> None:
        """Release both; may be called twice."""
        self._first.close()
        self._second.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _joined(self, frame: Frame, other: VideoFrame, seconds: Fraction) -> Frame:
        decoded: VideoFrame = frame.carrier.frame
        fitted = _fitted(other, decoded)
        width = decoded.width + self._offset if self._layout == "side" else decoded.width
        video = VideoFrame(width, decoded.height, decoded.format.name)
        for target, left, right in zip(*map(plane_views, (video, decoded, fitted)), strict=True):
            step = -(-decoded.width // left.shape[1])
            if self._layout == "side":
                place = self._offset // step
                target[:, : left.shape[1]] = left
                target[:, left.shape[1] : place] = left[:, -1:]
                target[:, place:] = right[:, : target.shape[1] - place]
            else:
                place = self._place(seconds, decoded.width) // step
                target[:, :place], target[:, place:] = left[:, :place], right[:, place:]
        if self._layout == "wipe":
            _draw_line(plane_views(video), self._place(seconds, decoded.width), decoded)
        video.pts, video.time_base, video.duration = decoded.pts, decoded.time_base, decoded.duration
        video.color_range, video.colorspace = decoded.color_range, decoded.colorspace
        carried = Carried(video, frame.carrier.packets)
        return Frame(planes_of(video), frame.pts, frame.time_base, frame.colour, carried)

    @staticmethod
    def _place(seconds: Fraction, width: int) -> int:
        """Return the column of the line, moving from left to right and back, in multiples of `_LINE`."""
        phase = float(seconds % _SWEEP_SECONDS) / _SWEEP_SECONDS
        share = 1 - abs(2 * phase - 1)
        return round((width - _LINE) * share / _LINE) * _LINE


def _seconds(frame: Frame, reader: FileReader) -> Fraction:
    return frame.pts * frame.time_base - reader.source.zero


def _draw_line(planes: tuple[Plane, ...], place: int, decoded: VideoFrame) -> None:
    """Draw a white line with neutral chroma."""
    colour = colour_of(decoded)
    unit = 1 << (colour.bit_depth - 8)
    white = colour.peak if colour.full_range else 235 * unit
    for index, plane in enumerate(planes):
        step = -(-decoded.width // plane.shape[1])
        is_luma = index == 0 or colour.matrix == "rgb"
        plane[:, place // step : (place + _LINE) // step] = white if is_luma else 128 * unit


def _fitted(other: VideoFrame, like: VideoFrame) -> VideoFrame:
    """Convert a frame to the size, format and colour of another."""
    source, target = colour_of(other), colour_of(like)
    if (other.width, other.height, other.format.name, source) == (
        like.width, like.height, like.format.name, target,
    ):  # fmt: skip
        return other
    ranges = {True: ColorRange.JPEG, False: ColorRange.MPEG}
    return other.reformat(
        like.width,
        like.height,
        like.format.name,
        src_colorspace=COLORSPACES[source.matrix],
        dst_colorspace=COLORSPACES[target.matrix],
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
        src_color_range=ranges[source.full_range],
        dst_color_range=ranges[target.full_range],
    )
