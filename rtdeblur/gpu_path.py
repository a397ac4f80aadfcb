"""Whether frames stay in the GPU's memory, from its decoder to its encoder: decided only here.

NVDEC ──► engine ──► NVENC        each works where the picture lies; only some rows are looked at
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
from rtdeblur.media.reader import FileReader
from rtdeblur.media.source import Described, SourceInfo
from rtdeblur.media.writer import FileWriter


class HostReason(Enum):
    """Why frames are in the host's memory; the value is the text for the user, `{}` for a name."""

    BACKEND = "{} works there"
    DEVICE = "--device {} takes them there"
    ENCODER = "{} encodes there"
    ENCODER_INPUT = "{} takes them there"
    QUALITY = "--crf and --preset ask for the processor's encoder"
    DEINTERLACING = "fields are made pictures there"
    NO_ENCODER = "no GPU encodes here"
    PIPE = "a pipe can be opened only once"
    NOT_DECODED = "{}"
    DECODER = "the processor decodes"
    DEINTERLACED = "fields are made pictures by the processor"
    LAYOUT = "{} is no NV12 of even size"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps frames out of the GPU's memory.

    Attributes:
        reason: the kind.
        name: backend, encoder, sample format or error that the text names.
    """

    reason: HostReason
    name: str = ""

    def __str__(self) -> str:
        return self.reason.value.format(self.name)


@dataclass(frozen=True)
class Wanted:
    """The request, as far as it bears on where frames lie.

    Attributes:
        decoder: cpu, cuda, or auto: the GPU if frames can stay there.
        backend: as in `rtdeblur.backends.open_backend`.
        codec: FFmpeg's name of an encoder, or auto.
        quality: whether crf or preset was given, which under auto mean the processor's encoders.
        deinterlace: whether fields are to become pictures.
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
        """Why frames cannot stay on the GPU, whatever the file; None if they may."""
        if self.backend in ("openvino", "onnxruntime"):
            return Obstacle(HostReason.BACKEND, self.backend)
        if self.device not in ("auto", "gpu"):
            return Obstacle(HostReason.DEVICE, self.device)
        if self.codec == "auto" and self.quality:
            return Obstacle(HostReason.QUALITY)
        if self.codec != "auto" and not codecs.is_nvenc(self.codec):
            return Obstacle(HostReason.ENCODER, self.codec)
        if self.deinterlace:
            return Obstacle(HostReason.DEINTERLACING)
        if not codecs.nvenc_opens():
            return Obstacle(HostReason.NO_ENCODER)
        return None


@dataclass(frozen=True, slots=True)
class Way:
    """Where frames go from decoder to encoder.

    Attributes:
        decoder: cpu or cuda.
        encoder: FFmpeg's name.
        obstacle: why frames are in the host's memory; None if they stay in the GPU's.
    """

    decoder: Device
    encoder: str
    obstacle: Obstacle | None

    def __str__(self) -> str:
        memory = f"in the host's memory ({self.obstacle})" if self.obstacle else "stay in the GPU's memory"
        return f"decoded by {self.decoder}, encoded by {self.encoder}, frames {memory}"


def open_reader(path: Path, wanted: Wanted, **options: Any) -> tuple[FileReader, Obstacle | None]:
    """Open a file; under `auto` by the GPU if frames can stay there, else by the processor.

    Args:
        path: the file.
        wanted: what was asked for.
        options: of FileReader, except for the device.

    Returns:
        The reader, and why its frames cannot stay in the GPU's memory; None if they can.

    Raises:
        InputError: as FileReader does.
    """
    if wanted.decoder != "auto":
        reader = FileReader(path, device="cuda" if wanted.decoder == "cuda" else "cpu", **options)
        return reader, obstacle_of(reader.source)
    obstacle = wanted.obstacle or (None if is_seekable(path) else Obstacle(HostReason.PIPE))
    if obstacle is None:
        try:
            reader = FileReader(path, device="cuda", **options)
        except InputError as error:  # of the GPU, or of the file: then the processor raises it too
            obstacle = Obstacle(HostReason.NOT_DECODED, error.problem)
        else:
            obstacle = obstacle_of(reader.source)
            if obstacle is None:
                return reader, None
            reader.close()
    return FileReader(path, **options), obstacle


def obstacle_of(source: SourceInfo) -> Obstacle | None:
    """Why the frames of a source cannot stay in the GPU's memory; None if they can."""
    if source.fits_device:
        return None
    if source.device == "cpu":
        return Obstacle(HostReason.DECODER)
    if source.is_deinterlaced:
        return Obstacle(HostReason.DEINTERLACED)
    size = f"{source.picture.width}x{source.picture.height}"
    return Obstacle(HostReason.LAYOUT, f"{source.surface} of {size}")


def connect(reader: Described, backend: Backend, writer: FileWriter, obstacle: Obstacle | None) -> Way:
    """Leave frames in the GPU's memory if all three can; before the first is read.

    Args:
        reader: as `open_reader` returned it.
        backend: that restores.
        writer: of the same reader.
        obstacle: as `open_reader` returned it.

    Returns:
        The way that frames go.
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
