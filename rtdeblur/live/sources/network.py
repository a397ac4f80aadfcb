"""Live network streams, read with the least delay; a slow decoder skips to key frames."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Generator
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.error import (
    ArgumentError,
    ExitError,
    FFmpegError,
    HTTPForbiddenError,
    HTTPUnauthorizedError,
    InvalidDataError,
    ProtocolNotFoundError,
)
from av.format import Flags
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rtdeblur.errors import InputError
from rtdeblur.ffmpeg.container import reason
from rtdeblur.ffmpeg.pixels import colour_of, planar, planes_of
from rtdeblur.frames import Frame
from rtdeblur.live.address import advice, check_scheme, host_of, without_secrets
from rtdeblur.live.image import appearance_of, upright
from rtdeblur.live.sources.base import SourceOptions
from rtdeblur.live.sources.file import Pace

# A playlist from the network must not make FFmpeg open files of this machine.
_PROTOCOLS = "rtp,srtp,rtmp,rtmps,rtmpt,udp,tcp,tls,srt,http,https,httpproxy,crypto"
# Not `nobuffer`, which discards the first key frame along with the probed packets.
_LOW_DELAY = {
    "flags": "low_delay",
    "probesize": "32768",
    "analyzeduration": "100000",
    "protocol_whitelist": _PROTOCOLS,
}
# After so many unreadable packets in a row, the stream counts as lost.
_FAILED_READS = 200
# Key frames are rarely further apart.
_PICTURELESS_SECONDS = 30
_NONSENSE = (InvalidDataError, ArgumentError)
LATE_SECONDS = 1.0
"""Packets that are so late, for as long, are a backlog and not a hiccup of the network."""
_CAUGHT_UP_SECONDS = 0.2
_PATIENCE_SECONDS = 5.0
"""A stream that sends no key frames must not skip forever."""
# Clocks of two machines differ by up to 100 parts in a million each.
_DRIFT = 2e-4
# A restarted sender has a new clock.
_JUMP_SECONDS = 60.0


class NetworkStream:
    """Video from a network address (a `LiveSource`).

    Damaged packets are skipped and counted; a decoder that is too slow skips to key frames. A file on a web
    server plays once, at its own speed.

    Args:
        url: the address.
        options: `transport` and `timeout_seconds`.

    Attributes:
        finite: whether the end is final, as of a file on a web server.
        damaged: number of packets that were incomplete, or could not be read or decoded.

    Raises:
        InputError: the scheme is unknown, the server does not answer, or it sends no video.
    """

    def __init__(self, url: str, options: SourceOptions) -> None:
        self._name, self._timeout = without_secrets(url), options.timeout_seconds
        self.damaged, self._pictured = 0, False
        scheme = check_scheme(url, self._name)
        words = dict(_LOW_DELAY)
        if scheme in ("rtsp", "rtsps"):
            words |= {"rtsp_transport": options.transport, "max_delay": "100000"}
        if scheme == "udp":
            # Room for what a busy machine reads late; the system may allow less.
            words |= {"overrun_nonfatal": "1", "buffer_size": str(2 << 20)}
        try:
            self._container = self._open(url, scheme, words)
        except FFmpegError as error:
            hint = advice(url) or self._hint(error)
            why = self._reason(error, scheme, host_of(url))
            # Not `from error`, whose traceback shows the whole address.
            raise InputError(f"cannot open {self._name!r}: {why}; {hint}") from None
        videos = [s for s in self._container.streams.video if s.codec_context is not None]
        if not videos:
            held = ", ".join(s.type for s in self._container.streams)
            self._container.close()
            raise InputError(
                f"{self._name!r} sends no video that can be decoded, only {held or 'nothing'}; "
                "check the address"
            )
        self._stream: VideoStream = videos[0]
        self._stream.codec_context.thread_type = "SLICE"  # each frame thread would delay by one frame
        # For bare MJPEG or H.264, FFmpeg invents times at a rate of its own.
        self._untimed = bool(Flags(self._container.format.flags) & Flags.no_timestamps)
        self._backlog = Backlog(self._stream.codec_context)
        # A length is known of files and of playlists with an end. FFmpeg guesses one from the size of what
        # has no index, such as a transport stream, which may be live.
        is_guessed = self._container.format.name in ("mpegts", "mpeg") or self._untimed
        self.finite = scheme in ("http", "https") and bool(self._container.duration) and not is_guessed
        # Files are read faster than they play, and segments arrive whole, seconds at a time.
        paced = self.finite or self._container.format.name in ("hls", "dash")
        self._pace = Pace() if paced else None
        self._frames = self._decode()

    def read(self) -> Frame | None:
        """Wait for the next frame; None if the sender ended the stream.

        Raises:
            InputError: nothing arrived before the timeout, or nothing that can be decoded.
        """
        decoded = next(self._frames, None)
        if decoded is None:
            return None
        picture = planar(decoded)
        unit, pts = Fraction(self._stream.time_base or Fraction(1, 90_000)), decoded.pts
        if pts is None or self._untimed:
            pts = round(time.monotonic() / unit)
        elif self._pace:
            self._pace.wait(float(pts * unit))
        appearance = appearance_of(decoded, self._stream.sample_aspect_ratio)
        return upright(Frame(planes_of(picture), pts, unit, colour_of(picture), appearance), decoded)

    def close(self) -> None:
        """Close the connection and wake a waiting `read`; may be called twice."""
        if self._pace:
            self._pace.stop()
        self._frames.close()
        self._container.close()

    def _open(self, url: str, scheme: str, words: dict[str, str]) -> InputContainer:
        """Open the address, without FFmpeg's parser if each packet is one picture anyway.

        The parser finds the end of a picture when the next one begins, which costs a frame interval. In a
        transport stream each packet holds one picture, as DVB requires (ETSI TS 101 154); other formats over
        UDP need the parser.
        """
        limits = (self._timeout, self._timeout)
        if scheme in ("udp", "srt"):
            container: InputContainer = av.open(
                url, "r", container_options={**words, "fflags": "noparse"}, timeout=limits
            )
            if container.format.name == "mpegts":
                return container
            container.close()
        container = av.open(url, "r", container_options=words, timeout=limits)
        return container

    def _decode(self) -> Generator[VideoFrame]:
        pictured_at = time.monotonic()
        for packet in self._packets():
            self.damaged += self._pictured and packet.is_corrupt
            if packet.dts is not None and not self._untimed and not self._pace:
                self._backlog.before(float(packet.dts * packet.time_base))
            try:
                decoded = packet.decode()
            except FFmpegError:  # whatever is wrong with this packet, the next one may be good
                self.damaged += self._pictured  # before the first key frame, failures are normal
                decoded = []
            for frame in decoded:
                self._pictured, pictured_at = True, time.monotonic()
                self._backlog.after()
                yield frame
            if time.monotonic() - pictured_at > _PICTURELESS_SECONDS:
                raise InputError(f"{self._name!r} sent no decodable picture for {_PICTURELESS_SECONDS} s")

    def _packets(self) -> Generator[Packet[VideoStream]]:
        """Read until the sender ends the stream."""
        failures = 0
        while failures < _FAILED_READS:
            try:
                for packet in self._container.demux(self._stream):
                    if not packet.size:  # PyAV marks the end with an empty packet
                        return
                    failures = 0
                    yield packet
                return
            except ExitError:
                raise InputError(f"{self._name!r} was silent for {self._timeout:g} s") from None
            except _NONSENSE:
                failures += 1
                self.damaged += 1
            except FFmpegError as error:
                raise InputError(f"{self._name!r} was lost: {reason(error)}") from None
        raise InputError(f"{self._name!r} sends only unreadable data")

    def _reason(self, error: FFmpegError, scheme: str, host: str | None) -> str:
        if isinstance(error, ExitError):
            return f"no answer within {self._timeout:g} s"
        if isinstance(error, ProtocolNotFoundError):
            return f"this build of PyAV has no {scheme}"
        if error.errno == errno.EIO and host and not _is_known(host):
            return f"no host is called {host!r}"
        return reason(error)

    def _hint(self, error: FFmpegError) -> str:
        if isinstance(error, ProtocolNotFoundError):
            return "try udp, rtsp or rtmp"
        if isinstance(error, HTTPUnauthorizedError | HTTPForbiddenError):
            return "check user and password: scheme://user:password@host/…"
        return "check the address and the sender"


def _is_known(host: str) -> bool:
    """Whether a name can be resolved; FFmpeg reports only an input/output error."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


class Backlog:
    """Makes a decoder skip to key frames until it has caught up.

    The delay of a packet is the time at which it is read minus its own time; the smallest delay seen is that
    of a reader without a backlog.

    Args:
        context: the decoder; its `skip_frame` is set.
        clock: source of the time.
    """

    def __init__(self, context: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._context, self._clock = context, clock
        self._least: float | None = None
        self._read_at = self._seconds = 0.0
        self._late_since: float | None = None
        self._skipping_since: float | None = None

    def before(self, seconds: float) -> None:
        """Record that a packet was read and will be decoded; `seconds` is its time."""
        now = self._clock()
        delay = now - seconds
        if self._least is None or not -LATE_SECONDS < seconds - self._seconds < _JUMP_SECONDS:
            self._least = delay
        self._least = min(delay, self._least + (now - self._read_at) * _DRIFT)
        self._read_at, self._seconds = now, seconds
        late = delay - self._least
        if late < _CAUGHT_UP_SECONDS:
            self._late_since = None
        elif late >= LATE_SECONDS and self._late_since is None:
            self._late_since = now
        since = self._skipping_since
        if since is not None and now - since >= _PATIENCE_SECONDS:
            self._skip(None)
            self._late_since = None
        elif since is None and self._late_since is not None and now - self._late_since >= LATE_SECONDS:
            self._skip(now)

    def after(self) -> None:
        """Record that a picture was decoded; while skipping it is a key frame, so decoding can resume."""
        if self._skipping_since is not None and self._late_since is None:
            self._skip(None)

    def _skip(self, since: float | None) -> None:
        self._skipping_since = since
        self._context.skip_frame = "DEFAULT" if since is None else "NONKEY"
