"""Whether frames stay in the GPU's memory, from its decoder to its encoder: decided here alone, and told.

NVDEC ──► engine ──► NVENC        each works where the picture lies; some rows alone are looked at
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtdeblur.backends.base import Backend
from rtdeblur.errors import InputError
from rtdeblur.ffmpeg.container import is_seekable
from rtdeblur.media import codecs
from rtdeblur.media.reader import FileReader
from rtdeblur.media.writer import FileWriter


@dataclass(frozen=True)
class Wanted:
    """What was asked for, as far as it bears on where frames lie.

    Attributes:
        decoder: cpu, cuda, or auto: the GPU where frames can stay there.
        backend: as of `rtdeblur.backends.open_backend`.
        codec: FFmpeg's name of an encoder, or auto.
        quality: whether its crf or preset was named, which mean the processor's encoders under auto.
        deinterlace: whether fields are to become pictures.
    """

    decoder: str = "auto"
    backend: str = "auto"
    codec: str = "auto"
    quality: bool = False
    deinterlace: bool = False

    @property
    def obstacle(self) -> str:
        """Why frames cannot stay on the GPU, whatever the file; empty where they may."""
        if self.backend == "openvino":
            return "openvino works there"
        if self.codec == "auto" and self.quality:
            return "--crf and --preset ask for the processor's encoder"
        if self.codec != "auto" and not codecs.is_nvenc(self.codec):
            return f"{self.codec} encodes there"
        if self.deinterlace:
            return "fields are made pictures there"
        if not codecs.nvenc_opens():
            return "no GPU encodes here"
        return ""


def open_reader(path: Path, wanted: Wanted, **options: Any) -> FileReader:
    """Open a file; under `auto` by the GPU where frames can stay there, else by the processor.

    Args:
        path: the file.
        wanted: what was asked for.
        options: of FileReader, but for the device.

    Raises:
        InputError: as of FileReader.
    """
    if wanted.decoder != "auto":
        return FileReader(path, device="cuda" if wanted.decoder == "cuda" else "cpu", **options)
    why = wanted.obstacle or ("" if is_seekable(path) else "a pipe can be opened once alone")
    if not why:
        try:
            reader = FileReader(path, device="cuda", **options)
        except InputError as error:  # of the GPU, or of the file: then the processor says so too
            why = str(error).partition(";")[0]
        else:
            if not reader.obstacle:
                return reader
            why = reader.obstacle
            reader.close()
    reader = FileReader(path, **options)
    reader.obstacle = why
    return reader


def connect(reader: FileReader, backend: Backend, writer: FileWriter) -> str:
    """Leave frames in the GPU's memory where all three can; before the first is read.

    Returns:
        which way they go, and why, for the user.
    """
    encoding = writer.encoding
    way = f"decoded by {reader.source.device}, encoded by {encoding.codec}"
    why = reader.obstacle
    if not why and encoding.device != "cuda":
        why = f"{encoding.codec} takes them there"
    if not why and not backend.takes_device_frames:
        why = f"{backend.name} works there"
    if why:
        return f"{way}, frames in the host's memory ({why})"
    reader.keep_on_device()
    return f"{way}, frames stay in the GPU's memory"
