"""Set-up of the encoder from the source, and conversion of frames to it; `codecs` chooses the encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO

import numpy as np
from av.codec.codec import PixFmtLoss
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream

from rtdeblur.ffmpeg.container import Device, name_of, open_output
from rtdeblur.ffmpeg.formats import numbers_frames, traits_of
from rtdeblur.ffmpeg.pixels import COLORSPACES, colour_of, plane_views
from rtdeblur.frames import Colour, Plane
from rtdeblur.media import encoder_traits
from rtdeblur.media.source import SourceInfo

# Some containers report their clock (90000) as the frame rate, which encoders refuse.
_MAX_RATE = 1000
# Highest frame rate for containers that number frames: anything above is a clock, not a rate.
_MAX_NUMBERS = 240
_RGB = 0  # ITU-T H.273, table 4: also the tag of some gray pictures
_ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND


@dataclass(frozen=True, slots=True)
class Encoding:
    """Encoder settings of an output.

    Attributes:
        codec: FFmpeg's name of the encoder.
        pix_fmt: pixel format.
        options: encoder options.
        lost: properties of the source that `pix_fmt` cannot represent.
        colour: meaning of the code values.
        device: memory that frames are read from without a copy: cuda or cpu; cuda accepts both.
        tag: codec tag in the container; None for FFmpeg's choice.
        size: (width, height) to scale to, if the encoder supports no other; None keeps the source's.
        keeps_aspect_ratio: whether readers of the container find the source's aspect ratio.
    """

    codec: str
    pix_fmt: str
    options: dict[str, str]
    lost: PixFmtLoss
    colour: Colour
    device: Device = "cpu"
    tag: str | None = None
    size: tuple[int, int] | None = None
    keeps_aspect_ratio: bool = True

    def add_to(self, container: OutputContainer, source: SourceInfo) -> tuple[VideoStream, VideoCodecContext]:
        """Add an encoder to a container, with the source's size, time base, colour and field order.

        Returns:
            The stream, and its encoder.

        Raises:
            ValueError: the container does not support this codec or frame rate.
        """
        picture, rate = source.picture, frame_rate(source)
        options = dict(self.options)
        # In the primary context, like the decoder's frames.
        accelerator = HWAccel("cuda", is_hw_owned=True) if self.device == "cuda" else None
        width, height = self.size or (picture.width, picture.height)
        stream = container.add_stream(self.codec, rate, options, accelerator, width=width, height=height)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.pix_fmt = self.pix_fmt
        is_even = numbers_frames(container) or bool(context.codec.frame_rates)  # such as MPEG-1 and 2
        unit = stream.time_base = context.time_base = _even_clock(source) if is_even else source.time_base
        most = traits_of(name_of(container)).highest_rate
        if most and unit * most < 1:
            raise ValueError(f"it holds at most {most} frames per second, got {float(1 / unit):.5g}")
        context.thread_type = "AUTO"
        stretch = Fraction(picture.width * height, picture.height * width)
        context.sample_aspect_ratio = (source.video.sample_aspect_ratio or Fraction(stretch != 1)) * stretch
        context.color_primaries, context.color_trc = picture.primaries, picture.transfer
        context.colorspace, context.color_range = picture.matrix, picture.range
        retagged = picture.matrix == _RGB or self.colour.matrix != picture.colour.matrix
        if retagged and self.colour.matrix != "rgb":
            context.colorspace = COLORSPACES[self.colour.matrix]
        if self.colour.full_range:
            context.color_range = ColorRange.JPEG  # the pixel format may have implied it
        context.flags |= Flags.frame_duration
        if numbers_frames(container) or traits_of(name_of(container)).single_times:
            context.max_b_frames = 0  # B-frames would be shown in decoding order
        if picture.is_interlaced:
            context.flags |= Flags.interlaced_dct | Flags.interlaced_me
            context.field_order = source.video.codec_context.field_order
        if self.tag is not None:
            context.codec_tag = self.tag
        return stream, context

    def takes(self, frame: VideoFrame) -> bool:
        """Whether a frame has the encoder's format and is in its memory."""
        on_device = self.device == "cuda" and frame.sw_format is not None
        return (frame.sw_format if on_device else frame.format).name == self.pix_fmt  # type: ignore[union-attr]

    def new_encoder(self, format_name: str, source: SourceInfo) -> VideoCodecContext:
        """Create an encoder outside a container, set up like those in it.

        Args:
            format_name: FFmpeg's name of the container.
            source: the source.
        """
        scratch = open_output(BytesIO(), format_name)
        try:
            return self.add_to(scratch, source)[1]
        finally:
            scratch.close()  # else the encoder lives until garbage collection


def frame_rate(source: SourceInfo) -> Fraction:
    """Return the nominal frame rate, a hint for rate control and players; frames keep their timestamps."""
    rate = source.info.frame_rate or source.video.guessed_rate
    return Fraction(rate) if rate and rate <= _MAX_RATE else Fraction(25)


def _even_clock(source: SourceInfo) -> Fraction:
    """Return the time base for a container that numbers frames, fine enough for the source's timestamps."""
    rate = source.info.frame_rate
    if rate is None or not _is_indexed(source.video, rate):
        rate = frame_rate(source)
    finest = Fraction(source.video.base_rate or rate)  # lowest rate at which all timestamps are whole numbers
    return 1 / (finest if rate < finest <= _MAX_NUMBERS else rate)


def _is_indexed(video: VideoStream, rate: Fraction) -> bool:
    """Whether the index has about as many frames as a rate requires, so that it is not a clock."""
    seconds = (video.duration or 0) * Fraction(video.time_base or 1)
    return 0 < rate * seconds < 3 * len(video.index_entries)  # deinterlacing may double the rate


def put_planes(frame: VideoFrame, planes: list[Plane]) -> VideoFrame:
    """Copy restored planes into the decoded planar frame, keeping its side data."""
    frame.make_writable()
    for view, plane in zip(plane_views(frame), planes, strict=False):  # gray has only one plane
        np.copyto(view, plane)
    return frame


def fit(
    frame: VideoFrame, context: VideoCodecContext, encoding: Encoding, warn: Callable[[str], None]
) -> VideoFrame:
    """Convert a frame to the size, pixel format and colour of an encoder.

    Args:
        frame: planar, or in GPU memory, from which it is downloaded if it needs conversion.
        context: the encoder.
        encoding: its settings.
        warn: called with a message about a change in mid-video.
    """
    source, target = colour_of(frame), encoding.colour
    resized = (frame.width, frame.height) != (context.width, context.height)
    changed = (source.matrix, source.full_range) != (target.matrix, target.full_range)
    if not resized and not changed and encoding.takes(frame):
        return frame
    if resized and encoding.size is None:
        size = f"{context.width}x{context.height}"
        warn(f"picture size changes to {frame.width}x{frame.height}: scaled to {size}")
    if (
        changed
        and "rgb" not in (source.matrix, target.matrix)
        and not encoder_traits.traits_of(encoding.codec).is_jpeg
    ):
        warn(f"colour is converted from {source.name} to {target.name}")
    fitted = frame.reformat(
        context.width,
        context.height,
        encoding.pix_fmt,
        src_colorspace=COLORSPACES[source.matrix],
        dst_colorspace=COLORSPACES[target.matrix],
        interpolation=_ACCURATE,
        src_color_range=ColorRange.JPEG if source.full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG if target.full_range else ColorRange.MPEG,
    )
    fitted.colorspace, fitted.color_range = context.colorspace, context.color_range
    return fitted
