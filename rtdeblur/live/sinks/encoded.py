"""Encoded live pictures: a recording, or a stream sent to an address."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec import Codec
from av.error import FFmpegError, ProtocolNotFoundError
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream

from rtdeblur.errors import OutputError, UsageError
from rtdeblur.ffmpeg.container import reason
from rtdeblur.ffmpeg.pixels import video_frame
from rtdeblur.ffmpeg.targets import PartFile, is_stream
from rtdeblur.frames import Frame
from rtdeblur.live.address import advice, without_secrets
from rtdeblur.live.image import Appearance, fitted
from rtdeblur.live.sinks import OpenSink

_CLOCK = Fraction(1, 90_000)
_TICK = 90
"""A millisecond, the unit of Matroska's and Flash's clocks: two pictures need different ones."""
_TIMEOUT_MICROSECONDS = "5000000"
_BT709 = 1
"""Matrix coefficients of BT.709 (ITU-T H.273, table 4)."""


@dataclass(frozen=True, slots=True)
class Muxing:
    """Destination and encoding of a stream.

    Attributes:
        target: file or address, as FFmpeg takes it.
        shown: the same as messages show it.
        format_name: FFmpeg's name of the container.
        options: options of the container and the protocol.
        preset: x264 preset.
        deep: keep the depth and chroma of the source if x264 has them.
        hint: what to try if the target cannot be opened, '' if there is nothing to say.
    """

    target: str
    shown: str
    format_name: str
    options: dict[str, str]
    preset: str = "superfast"
    deep: bool = False
    hint: str = ""


def record_to(path: Path, *, overwrite: bool = False) -> OpenSink:
    """Sink for a recording that can be played however it ends.

    Args:
        path: the file.
        overwrite: replace an existing one.

    Raises:
        UsageError: the name does not end in .mkv.
    """
    if path.suffix.lower() != ".mkv":
        raise UsageError(
            f"cannot record to {str(path)!r}: live recordings are Matroska, which survives a crash; "
            f"try {str(path.with_suffix('.mkv'))!r}"
        )
    # Short clusters, flushed at once: what was recorded can be played even if the program is killed.
    options = {"cluster_time_limit": "500", "flush_packets": "1"}

    def to(url: str, frame: Frame, rate: float) -> EncodedSink:
        muxing = Muxing(url, str(path), "matroska", options, "veryfast", deep=True)
        return EncodedSink(muxing, frame, rate)

    def open_sink(frame: Frame, rate: float) -> EncodedSink:
        if is_stream(path):
            return to(str(path), frame, rate)
        try:
            file = PartFile(path, source=None, overwrite=overwrite)
        except (UsageError, OutputError) as error:
            raise OutputError(f"cannot open {str(path)!r}: {error}") from None
        try:
            file.appear()
            return to(file.url, frame, rate)
        finally:
            file.discard()  # FFmpeg has opened it for itself

    return open_sink


def send_to(url: str) -> OpenSink:
    """Sink for a stream to an address.

    Raises:
        UsageError: no stream can be sent with this scheme.
    """
    muxing = _muxing(url)
    return lambda frame, rate: EncodedSink(muxing, frame, rate)


def _muxing(url: str) -> Muxing:
    scheme, _, rest = url.partition("://")
    scheme, shown = scheme.lower(), without_secrets(url)
    target, hint = f"{scheme}://{rest}", advice(url)
    if scheme in ("udp", "srt", "tcp"):
        if scheme == "udp" and "pkt_size" not in url:
            target += f"{'&' if '?' in url else '?'}pkt_size=1316"  # seven packets of a transport stream
        # With its length, a receiver knows that a picture is complete before the next one starts.
        options = {"flush_packets": "1", "omit_video_pes_length": "0"}
        return Muxing(target, shown, "mpegts", options, hint=hint)
    if scheme in ("rtmp", "rtmps"):
        options = {"flvflags": "no_duration_filesize", "rw_timeout": _TIMEOUT_MICROSECONDS}
        return Muxing(target, shown, "flv", options, hint=hint)
    if scheme in ("rtsp", "rtsps"):
        options = {"rtsp_transport": "tcp", "timeout": _TIMEOUT_MICROSECONDS}
        return Muxing(target, shown, "rtsp", options, hint=hint)
    raise UsageError(f"cannot send to {shown!r}; expected rtsp://, rtmp://, udp://, tcp:// or srt://")


class EncodedSink:
    """H.264 without delay, in a container (a `LiveSink`).

    Args:
        muxing: where the pictures go, and how.
        frame: the first frame; later ones of another size are scaled to its size.
        rate: frames per second, a hint for rate control.

    Raises:
        OutputError: the target cannot be opened.
    """

    def __init__(self, muxing: Muxing, frame: Frame, rate: float) -> None:
        self._muxing, self._last, self._full_range = muxing, -_TICK, False
        self._reformatter = VideoReformatter()
        try:
            self._container = av.open(
                muxing.target, "w", format=muxing.format_name, container_options=muxing.options
            )
        except FFmpegError as error:
            # Not `from error`, whose traceback shows the whole address.
            raise OutputError(self._complaint("open", error)) from None
        try:
            self._stream = self._add_stream(frame, rate)
            self._container.start_encoding()
        except (FFmpegError, ValueError) as error:
            self.close()
            raise OutputError(self._complaint("open", error)) from None

    def write(self, frame: Frame, seconds: float) -> None:
        """Encode and send a frame.

        Raises:
            OutputError: the disk is full, or the receiver has gone.
        """
        context = self._stream.codec_context
        size, pix_fmt = (context.height, context.width), context.pix_fmt or ""
        picture = fitted(self._reformatter, frame, size, pix_fmt, full_range=self._full_range)
        self._last = max(round(seconds / _CLOCK), self._last + _TICK)
        picture.pts, picture.time_base, picture.pict_type = self._last, _CLOCK, PictureType.NONE
        try:
            self._container.mux(self._stream.encode(picture))
        except FFmpegError as error:
            raise OutputError(self._complaint("write", error)) from None

    def close(self) -> None:
        """Write the end of the stream; may be called twice."""
        with suppress(FFmpegError, ValueError):
            if self._container.input_was_opened:  # its header was written
                self._container.mux(self._stream.encode(None))
        with suppress(FFmpegError, ValueError):
            self._container.close()

    def _add_stream(self, frame: Frame, rate: float) -> VideoStream:
        height, width = (max(2, side // 2 * 2) for side in frame.planes[0].shape)
        options = {"preset": self._muxing.preset, "tune": "zerolatency", "crf": "20"}
        stream = self._container.add_stream(
            "libx264", Fraction(rate).limit_denominator(1001), options, width=width, height=height
        )
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        wanted = video_frame(frame).format.name
        known = {f.name for f in Codec("libx264", "w").video_formats or ()}
        context.pix_fmt = wanted if self._muxing.deep and wanted in known else "yuv420p"
        context.gop_size = max(1, round(2 * rate))  # late joiners wait at most two seconds
        stream.time_base = context.time_base = _CLOCK
        look = frame.carrier if isinstance(frame.carrier, Appearance) else Appearance()
        is_rgb = frame.colour.matrix == "rgb"  # becomes BT.709 of limited range
        self._full_range = frame.colour.full_range and not is_rgb
        context.color_range = ColorRange.JPEG if self._full_range else ColorRange.MPEG
        context.color_primaries, context.color_trc = look.primaries, look.transfer
        context.colorspace = _BT709 if is_rgb else look.matrix
        context.sample_aspect_ratio = look.pixel_aspect
        return stream

    def _complaint(self, what: str, error: Exception) -> str:
        if isinstance(error, ProtocolNotFoundError):
            why = "this build of PyAV lacks its protocol; try udp or rtsp"
        else:
            why = reason(error)
        hint = f"; {self._muxing.hint}" if self._muxing.hint and what == "open" else ""
        return f"cannot {what} {self._muxing.shown!r}: {why}{hint}"
