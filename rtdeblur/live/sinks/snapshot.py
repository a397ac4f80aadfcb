"""Still pictures of a live session: before and after, as PNG."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from pathlib import Path

from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from rtdeblur.ffmpeg.targets import PartFile
from rtdeblur.frames import Frame
from rtdeblur.live.displays import LivePicture
from rtdeblur.live.image import to_bgr


def stamped(folder: Path, ending: str) -> Path:
    """A name for something made now: `rtdeblur-20260131-235959.123` and an ending."""
    now = datetime.now().astimezone()
    return folder / f"rtdeblur-{now:%Y%m%d-%H%M%S}.{now.microsecond // 1000:03}{ending}"


def save_snapshot(picture: LivePicture, folder: Path) -> tuple[Path, Path]:
    """Save a picture as captured and as restored; each file appears whole or not at all.

    Returns:
        The two files.

    Raises:
        OutputError: the folder is missing or full.
    """
    blurred, restored = stamped(folder, "-blurred.png"), stamped(folder, "-restored.png")
    _save(picture.blurred, blurred)
    _save(picture.restored, restored)
    return blurred, restored


def _save(frame: Frame, path: Path) -> None:
    file = PartFile(path, source=None, overwrite=False)
    try:
        Path(file.url).write_bytes(_png(frame))
        file.commit()
    finally:
        file.discard()


def _png(frame: Frame) -> bytes:
    picture = VideoFrame.from_ndarray(to_bgr(frame), "bgr24").reformat(format="rgb24")
    encoder = CodecContext.create("png", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "rgb24"
    encoder.time_base = Fraction(1)
    return b"".join(map(bytes, (*encoder.encode(picture), *encoder.encode(None))))
