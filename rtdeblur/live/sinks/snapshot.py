"""Still pictures of a live session: before and after, as PNG files."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from pathlib import Path

from av.codec.context import CodecContext
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from rtdeblur.errors import OutputError
from rtdeblur.ffmpeg.container import reason
from rtdeblur.ffmpeg.targets import PartFile
from rtdeblur.frames import Frame
from rtdeblur.live.displays import LivePicture
from rtdeblur.live.image import to_bgr
from rtdeblur.live.sinks import OpenSink


def stamped(folder: Path, ending: str) -> Path:
    """Path named after the current time: `rtdeblur-20260131-235959.123` and an ending."""
    now = datetime.now().astimezone()
    return folder / f"rtdeblur-{now:%Y%m%d-%H%M%S}.{now.microsecond // 1000:03}{ending}"


def save_snapshot(picture: LivePicture, folder: Path) -> tuple[Path, Path]:
    """Save a picture as captured and as restored; each file appears whole or not at all.

    Returns:
        The paths of the two files.

    Raises:
        OutputError: the folder is missing or full.
    """
    both = stamped(folder, "")  # once, so that the names show which belong together
    blurred, restored = (both.with_name(f"{both.name}-{side}.png") for side in ("blurred", "restored"))
    for path, frame in ((blurred, picture.blurred), (restored, picture.restored)):
        still_to(path)(frame, 0.0).write(frame, 0.0)
    return blurred, restored


def still_to(path: Path) -> OpenSink:
    """Sink for a still picture."""
    return lambda frame, rate: StillPicture(path)


class StillPicture:
    """The newest frame, as a PNG file that is whole at any time (a `LiveSink`).

    Args:
        path: the file; it must not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._is_ours = path, False

    def write(self, frame: Frame, seconds: float) -> None:
        """Replace the picture.

        Raises:
            OutputError: the folder is missing or full, or the file existed before.
        """
        try:
            file = PartFile(self._path, source=None, overwrite=self._is_ours)
            try:
                Path(file.url).write_bytes(_png(frame))
                file.commit()
            finally:
                file.discard()
        except (OSError, FFmpegError) as error:
            raise OutputError(f"cannot write {str(self._path)!r}: {reason(error)}") from error
        self._is_ours = True

    def close(self) -> None:
        """Keep the picture; may be called twice."""


def _png(frame: Frame) -> bytes:
    picture = VideoFrame.from_ndarray(to_bgr(frame), "bgr24").reformat(format="rgb24")
    encoder = CodecContext.create("png", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "rgb24"
    encoder.time_base = Fraction(1)
    return b"".join(map(bytes, (*encoder.encode(picture), *encoder.encode(None))))
