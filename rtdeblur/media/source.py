"""Facts about a source for its writer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from av.sidedata.sidedata import Type
from av.stream import Disposition, Stream
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rtdeblur.ffmpeg.container import Device
from rtdeblur.ffmpeg.packets import AnyPacket
from rtdeblur.ffmpeg.pixels import colour_of
from rtdeblur.ffmpeg.side_data import (
    MasteringDisplay,
    display_matrix,
    light_level,
    mastering_display,
    side_data,
)
from rtdeblur.frames import Colour, VideoInfo

if TYPE_CHECKING:  # exists only in PyAV's stubs
    from av.container.core import Chapter

# Side data that some encoders drop, with a warning.
_WARNED_ABOUT = (
    Type.MASTERING_DISPLAY_METADATA,
    Type.CONTENT_LIGHT_LEVEL,
    Type.DOVI_METADATA,
    Type.DYNAMIC_HDR_PLUS,
    Type.A53_CC,
)


@dataclass(frozen=True, slots=True)
class PictureInfo:
    """Properties of a video's first picture, used to set up the encoder.

    Attributes:
        height: rows, before rotation.
        width: columns.
        format: pixel format of the planes to restore.
        colour: meaning of the code values.
        primaries: colour primaries, as FFmpeg numbers them.
        transfer: transfer characteristics, as FFmpeg numbers them.
        matrix: matrix coefficients, as FFmpeg numbers them.
        range: colour range, as FFmpeg numbers it.
        is_interlaced: True if a picture consists of two fields.
        display_matrix: rotation or mirroring by players; None if there is none.
        mastering_display: HDR10 mastering display; None if not stated.
        light_level: MaxCLL and MaxFALL in cd/m²; None if not stated.
        side_data: kinds of side data present that an encoder may drop.
    """

    height: int
    width: int
    format: VideoFormat
    colour: Colour
    primaries: int
    transfer: int
    matrix: int
    range: int
    is_interlaced: bool
    display_matrix: tuple[int, ...] | None
    mastering_display: MasteringDisplay | None
    light_level: tuple[int, int] | None
    side_data: frozenset[Type]

    @classmethod
    def of(cls, frame: VideoFrame) -> PictureInfo:
        """Describe a decoded frame in host memory."""
        return cls(
            height=frame.height,
            width=frame.width,
            format=frame.format,
            colour=colour_of(frame),
            primaries=frame.color_primaries,
            transfer=frame.color_trc,
            matrix=frame.colorspace,
            range=frame.color_range,
            is_interlaced=frame.interlaced_frame,
            display_matrix=display_matrix(frame),
            mastering_display=mastering_display(frame),
            light_level=light_level(frame),
            side_data=frozenset(kind for kind in _WARNED_ABOUT if side_data(frame, kind) is not None),
        )


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A source as its writer sees it; constant while frames are read.

    Attributes:
        path: the file, or '-' for standard input.
        info: size, rate and length.
        picture: properties of the first frame.
        device: decoder, cpu or cuda.
        surface: FFmpeg's name of the decoder's native pixel format.
        is_deinterlaced: True if pictures are deinterlaced, on the CPU.
        strict: True if damage is raised instead of counted.
        time_base: seconds per unit of the frames' timestamps.
        zero: time in the source, in seconds, that becomes zero in the output.
        end: time in the source, in seconds, at which the requested part ends; None for the end of the file.
        is_trimmed: True if reading starts after the start of the file.
        streams: all streams in file order, as templates for copies.
        video: the main video among them.
        covers: pictures of cover art streams, by stream index.
        tags: tags of the container.
        chapters: chapters of the container, on the source's clock.
    """

    path: Path
    info: VideoInfo
    picture: PictureInfo
    device: Device
    surface: str
    is_deinterlaced: bool
    strict: bool
    time_base: Fraction
    zero: Fraction
    end: Fraction | None
    is_trimmed: bool
    streams: tuple[Stream, ...]
    video: VideoStream
    covers: Mapping[int, bytes]
    tags: Mapping[str, str]
    chapters: tuple[Chapter, ...]

    @property
    def fits_device(self) -> bool:
        """True if frames can stay in GPU memory: NVDEC's NV12 frames of even size."""
        is_nv12 = self.surface == "nv12" and not (self.picture.height % 2 or self.picture.width % 2)
        return self.device == "cuda" and is_nv12 and not self.is_deinterlaced

    @property
    def has_cover(self) -> bool:
        """True if a stream is cover art."""
        return any(is_cover(stream) for stream in self.streams)


class Described(Protocol):
    """The part of a reader that a writer uses."""

    @property
    def source(self) -> SourceInfo:
        """Facts, known before the first frame."""

    def remaining_packets(self) -> Iterator[AnyPacket]:
        """Yield the packets of the other streams after the last frame."""


def is_cover(stream: Stream) -> bool:
    """True for a video stream with a single picture: cover art."""
    return isinstance(stream, VideoStream) and bool(stream.disposition & Disposition.attached_pic)
