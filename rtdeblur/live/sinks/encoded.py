"""Where live pictures go besides the displays: a recording or an address."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec import Codec
from av.error import FFmpegError, ProtocolNotFoundError
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from rtdeblur.errors import OutputError, UsageError
from rtdeblur.ffmpeg.container import reason
from rtdeblur.ffmpeg.pixels import video_frame
from rtdeblur.frames import Frame
from rtdeblur.live.address import without_password
from rtdeblur.live.sinks import OpenSink

_CLOCK = Fraction(1, 90_000)
_TICK = 90
"""A millisecond, the unit of Matroska's and Flash's clocks: two pictures need different ones."""
_TIMEOUT_MICROSECONDS = "5000000"


@dataclass(frozen=True, slots=True)
class Muxing:
    """How pictures travel.

    Attributes:
        format_name: FFmpeg's name of the container.
        options: of the container and the protocol.
        preset: x264's name of a speed.
        deep: keep depth and chroma of the source, where x264 has them.
    """

    format_name: str
    options: dict[str, str]
    preset: str = "superfast"
    deep: bool = False


# Short clusters, flushed at once: what was recorded can be played even if the program is killed.
_RECORDING = Muxing("matroska", {"cluster_time_limit": "500", "flush_packets": "1"}, "veryfast", deep=True)


def record_to(path: Path) -> OpenSink:
    """A recording that can be played however it ends.

    Raises:
        UsageError: the name does not end in .mkv.
    """
    if path.suffix.lower() != ".mkv":
        raise UsageError(
            f"cannot record to {str(path)!r}: a live recording is Matroska, which survives a crash; "
            f"try {str(path.with_suffix('.mkv'))!r}"
        )
    return lambda frame, rate: EncodedSink(str(path), str(path), _RECORDING, frame, rate)


def send_to(url: str) -> OpenSink:
    """A stream to an address.

    Raises:
        UsageError: the scheme is none that takes a stream.
    """
    shown = without_password(url)
    muxing = _muxing(url, shown)
    if url.startswith("udp://") and "pkt_size" not in url:
        url += f"{'&' if '?' in url else '?'}pkt_size=1316"  # seven packets of a transport stream
    return lambda frame, rate: EncodedSink(url, shown, muxing, frame, rate)


def _muxing(url: str, shown: str) -> Muxing:
    scheme = url.partition("://")[0].lower()
    if scheme in ("udp", "srt", "tcp"):
        # With its length, a receiver knows that a picture is whole before the next begins.
        return Muxing("mpegts", {"flush_packets": "1", "omit_video_pes_length": "0"})
    if scheme in ("rtmp", "rtmps"):
        return Muxing("flv", {"flvflags": "no_duration_filesize", "rw_timeout": _TIMEOUT_MICROSECONDS})
    if scheme in ("rtsp", "rtsps"):
        return Muxing("rtsp", {"rtsp_transport": "tcp", "timeout": _TIMEOUT_MICROSECONDS})
    raise UsageError(f"cannot send to {shown!r}; expected rtsp://, rtmp://, udp://, tcp:// or srt://")


class EncodedSink:
    """H.264 without delay, in a container.

    Args:
        target: a file or an address.
        shown: the target as messages may show it.
        muxing: how it travels.
        frame: the first frame; later ones of another size are scaled to its.
        rate: frames a second, a hint for rate control.

    Raises:
        OutputError: the target cannot be opened.
    """

    def __init__(self, target: str, shown: str, muxing: Muxing, frame: Frame, rate: float) -> None:
        self._shown, self._last = shown, -_TICK
        self._reformatter = VideoReformatter()
        try:
            self._container = av.open(
                target, "w", format=muxing.format_name, container_options=muxing.options
            )
        except FFmpegError as error:
            raise OutputError(self._complain("open", error)) from error
        try:
            self._stream = self._add_stream(muxing, frame, rate)
            self._container.start_encoding()
        except (FFmpegError, ValueError) as error:
            self.close()
            raise OutputError(self._complain("open", error)) from error

    def write(self, frame: Frame, seconds: float) -> None:
        """Encode and send a frame.

        Raises:
            OutputError: the disk is full, or the receiver gone.
        """
        picture = self._fitted(frame)
        self._last = max(round(seconds / _CLOCK), self._last + _TICK)
        picture.pts, picture.time_base, picture.pict_type = self._last, _CLOCK, PictureType.NONE
        try:
            self._container.mux(self._stream.encode(picture))
        except FFmpegError as error:
            raise OutputError(self._complain("write", error)) from error

    def close(self) -> None:
        """Write the end."""
        with suppress(FFmpegError, ValueError):
            if self._container.input_was_opened:  # its header was written
                self._container.mux(self._stream.encode(None))
        with suppress(FFmpegError, ValueError):
            self._container.close()

    def _add_stream(self, muxing: Muxing, frame: Frame, rate: float) -> VideoStream:
        height, width = (max(2, side // 2 * 2) for side in frame.planes[0].shape)
        options = {"preset": muxing.preset, "tune": "zerolatency", "crf": "20"}
        stream = self._container.add_stream(
            "libx264", Fraction(rate).limit_denominator(1001), options, width=width, height=height
        )
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        wanted = video_frame(frame).format.name
        known = {f.name for f in Codec("libx264", "w").video_formats or ()}
        context.pix_fmt = wanted if muxing.deep and wanted in known else "yuv420p"
        context.gop_size = max(1, round(2 * rate))  # who joins late waits two seconds at most
        stream.time_base = context.time_base = _CLOCK
        context.color_range = ColorRange.JPEG if frame.colour.full_range else ColorRange.MPEG
        return stream

    def _fitted(self, frame: Frame) -> VideoFrame:
        picture, context = video_frame(frame), self._stream.codec_context
        if (picture.width, picture.height, picture.format.name) == (
            context.width, context.height, context.pix_fmt,
        ):  # fmt: skip
            return picture
        return self._reformatter.reformat(
            picture, context.width, context.height, context.pix_fmt, interpolation=Interpolation.BICUBIC
        )

    def _complain(self, what: str, error: Exception) -> str:
        if isinstance(error, ProtocolNotFoundError):
            return f"cannot {what} {self._shown!r}: this build of PyAV lacks its protocol; try udp or rtsp"
        return f"cannot {what} {self._shown!r}: {reason(error)}"
