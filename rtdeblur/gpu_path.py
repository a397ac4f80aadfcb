"""Decision whether frames stay in GPU memory from decoder to encoder.

NVDEC ──► engine ──► NVENC        each works in place; only some rows are checked on the host
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from rtdeblur.backends.base import Backend
from rtdeblur.errors import InputError
from rtdeblur.ffmpeg.container import Device, is_seekable
from rtdeblur.media import codecs
from rtdeblur.media.encoder_traits import is_nvenc
from rtdeblur.media.reader import FileReader
from rtdeblur.media.source import Described, SourceInfo
from rtdeblur.media.writer import FileWriter


class HostReason(Enum):
    """Reason why frames are in host memory; the value is the text for the user, `{}` for a name."""

    BACKEND = "required by {}"
    DEVICE = "required by device {}"
    ENCODER = "{} encodes on the CPU"
    ENCODER_INPUT = "required by encoder {}"
    QUALITY = "crf and preset select a CPU encoder"
    DEINTERLACING = "deinterlacing runs on the CPU"
    NO_ENCODER = "no GPU encoder available"
    PIPE = "a pipe can be opened only once"
    NOT_DECODED = "{}"
    DECODER = "decoded on the CPU"
    DEINTERLACED = "deinterlaced on the CPU"
    LAYOUT = "{} is not NV12 of even size"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Obstacle that keeps frames out of GPU memory.

    Attributes:
        reason: the kind.
        name: backend, encoder, pixel format or error for the text.
    """

    reason: HostReason
    name: str = ""

    def __str__(self) -> str:
        return self.reason.value.format(self.name)


@dataclass(frozen=True)
class Wanted:
    """The part of a request that affects where frames are kept.

    Attributes:
        decoder: cpu, cuda, or auto: the GPU if frames can stay there.
        backend: as in `rtdeblur.backends.open_backend`.
        codec: FFmpeg's name of an encoder, or auto.
        quality: whether crf or preset was given, which under auto select a CPU encoder.
        deinterlace: whether to deinterlace.
        device: as in `rtdeblur.backends.open_backend`.
    """

    decoder: str = "auto"
    backend: str = "auto"
    codec: str = "auto"
    quality: bool = False
    deinterlace: bool = False
    device: str = "auto"

    @property
    def obstacle(self) -> Obstacle | None:
        """Obstacle that does not depend on the file; None if there is none."""
        if self.backend in ("openvino", "onnxruntime"):
            return Obstacle(HostReason.BACKEND, self.backend)
        if self.device not in ("auto", "gpu"):
            return Obstacle(HostReason.DEVICE, self.device)
        if self.codec == "auto" and self.quality:
            return Obstacle(HostReason.QUALITY)
        if self.codec != "auto" and not is_nvenc(self.codec):
            return Obstacle(HostReason.ENCODER, self.codec)
        if self.deinterlace:
            return Obstacle(HostReason.DEINTERLACING)
        if not codecs.nvenc_opens():
            return Obstacle(HostReason.NO_ENCODER)
        return None


@dataclass(frozen=True, slots=True)
class Way:
    """Path of frames from decoder to encoder.

    Attributes:
        decoder: cpu or cuda.
        encoder: FFmpeg's name.
        obstacle: why frames are in host memory; None if they stay in GPU memory.
    """

    decoder: Device
    encoder: str
    obstacle: Obstacle | None

    def __str__(self) -> str:
        memory = f"in host memory ({self.obstacle})" if self.obstacle else "stay in GPU memory"
        return f"decoded by {self.decoder}, encoded by {self.encoder}, frames {memory}"


def open_reader(path: Path, wanted: Wanted, **options: Any) -> tuple[FileReader, Obstacle | None]:
    """Open a file; `auto` decodes on the GPU if frames can stay there, else on the CPU.

    Args:
        path: the file.
        wanted: the request.
        options: options of FileReader, except the device.

    Returns:
        The reader, and the obstacle to keeping its frames in GPU memory; None if there is none.

    Raises:
        InputError: see FileReader.
    """
    if wanted.decoder != "auto":
        reader = FileReader(path, device="cuda" if wanted.decoder == "cuda" else "cpu", **options)
        return reader, obstacle_of(reader.source)
    obstacle = wanted.obstacle or (None if is_seekable(path) else Obstacle(HostReason.PIPE))
    if obstacle is None:
        try:
            reader = FileReader(path, device="cuda", **options)
        except InputError as error:  # an error of the GPU, or of the file, which the CPU raises as well
            obstacle = Obstacle(HostReason.NOT_DECODED, error.problem)
        else:
            obstacle = obstacle_of(reader.source)
            if obstacle is None:
                return reader, None
            reader.close()
    return FileReader(path, **options), obstacle


def obstacle_of(source: SourceInfo) -> Obstacle | None:
    """Return why the frames of a source cannot stay in GPU memory; None if they can."""
    if source.fits_device:
        return None
    if source.device == "cpu":
        return Obstacle(HostReason.DECODER)
    if source.is_deinterlaced:
        return Obstacle(HostReason.DEINTERLACED)
    size = f"{source.picture.width}x{source.picture.height}"
    return Obstacle(HostReason.LAYOUT, f"{source.surface} of {size}")


def connect(reader: Described, backend: Backend, writer: FileWriter, obstacle: Obstacle | None) -> Way:
    """Keep frames in GPU memory if reader, backend and writer can; call before reading.

    Args:
        reader: reader from `open_reader`.
        backend: the backend.
        writer: writer of the same reader.
        obstacle: obstacle from `open_reader`.

    Returns:
        The path of the frames.
    """
    encoding = writer.encoding
    if obstacle is None and encoding.device != "cuda":
        obstacle = Obstacle(HostReason.ENCODER_INPUT, encoding.codec)
    if obstacle is None and not backend.takes_device_frames:
        obstacle = Obstacle(HostReason.BACKEND, backend.name)
    if obstacle is None:
        assert isinstance(reader, FileReader)
        reader.keep_on_device()
    return Way(reader.source.device, encoding.codec, obstacle)
