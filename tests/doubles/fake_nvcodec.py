"""Fakes of NVDEC and NVENC: frames in the memory of a `FakeDriver`, coded on the CPU.

PyAV's frames cannot be on a missing device; these have everything that the package uses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from fake_gpu import FakeDriver

from rtdeblur.cuda.base import DEFAULT_STREAM
from rtdeblur.device import DevicePlane
from rtdeblur.ffmpeg import container
from rtdeblur.media import codecs, reader
from rtdeblur.media.encoder import Encoding
from rtdeblur.media.encoder_traits import is_nvenc

PITCH = 512


class CudaFrame:
    """A frame in GPU memory, which delegates the rest of `VideoFrame` to the original frame.

    NVDEC fills it on the default stream, so code that does not wait for that sees no picture.
    """

    def __init__(self, driver: FakeDriver, frame: VideoFrame, sw_format: str) -> None:
        height, width = frame.height, frame.width
        deep = sw_format != "nv12"
        self.driver, self.like = driver, frame
        self.format, self.sw_format = (
            VideoFormat("cuda", width, height),
            VideoFormat(sw_format, width, height),
        )
        base = driver.foreign(PITCH * height * 3 // 2)
        self.planes = [
            SimpleNamespace(buffer_ptr=base, line_size=PITCH, height=height, width=width),
            SimpleNamespace(
                buffer_ptr=base + PITCH * height, line_size=PITCH, height=height // 2, width=width // 2
            ),
        ]
        self._software = frame.reformat(format=sw_format) if deep else None
        pictures = [np.from_dlpack(p).reshape(p.height, -1) for p in frame.reformat(format="nv12").planes]
        driver.put(DEFAULT_STREAM, lambda: self._fill(pictures))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.like, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("pts", "time_base", "duration", "pict_type", "dts"):
            setattr(self.like, name, value)
        else:
            super().__setattr__(name, value)

    def _rows(self) -> list[np.ndarray]:
        return [
            self.driver.rows(DevicePlane(p.buffer_ptr, p.line_size, p.height, width))
            for p, width in zip(self.planes, (self.like.width,) * 2, strict=True)
        ]

    def _fill(self, pictures: list[np.ndarray]) -> None:
        for rows, picture in zip(self._rows(), pictures, strict=True):
            rows[...] = picture

    def reformat(self, *args: Any, **words: Any) -> VideoFrame:
        """Like PyAV: copy to host memory, then convert."""
        self.driver.drain(DEFAULT_STREAM)
        copy = self._software
        if copy is None:
            copy = self.like.reformat(format="nv12")
            for plane, rows in zip(copy.planes, self._rows(), strict=True):
                view = np.from_dlpack(plane).reshape(plane.height, -1)
                np.copyto(np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : view.shape[1]], rows)
        for name in ("pts", "time_base", "duration", "colorspace", "color_range"):
            setattr(copy, name, getattr(self.like, name))
        return copy.reformat(*args, **words)


class FakeNvdec:
    """A decoder whose n-th frame has the format `form(n)`: nv12, p010le, or yuv420p (decoded on the CPU)."""

    is_hwaccel = True

    def __init__(self, driver: FakeDriver, decoder: Any, form: Callable[[int], str]) -> None:
        self._driver, self._decoder, self._form = driver, decoder, form
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def decode(self, packet: Any) -> list[Any]:
        given = []
        for frame in self._decoder.decode(packet):
            form = self._form(self._count)
            given.append(frame if form == "yuv420p" else CudaFrame(self._driver, frame, form))
            self._count += 1
        return given


class FakeNvenc:
    """An encoder of frames in either memory; lossless, so that tests see its input.

    Attributes:
        taken: of each frame, whose memory it came from.
    """

    def __init__(self, encoder: Any, taken: list[str]) -> None:
        self.__dict__.update(_encoder=encoder, taken=taken)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._encoder, name, value)

    def encode(self, frame: Any) -> Any:
        if frame is None:
            return self._encoder.encode(None)
        assert (frame.sw_format or frame.format).name == "nv12"
        self.taken.append("cuda" if isinstance(frame, CudaFrame) else "cpu")
        return self._encoder.encode(frame.reformat(format="yuv420p"))


def install(
    monkeypatch: pytest.MonkeyPatch, driver: FakeDriver, form: Callable[[int], str] = lambda _: "nv12"
) -> list[str]:
    """Install a fake GPU that decodes and encodes; the list records the memory that frames came from."""
    taken: list[str] = []
    open_video, add_to = container.open_video, Encoding.add_to

    def open_anywhere(path: Path, max_pixels: int, device: str) -> Any:
        opened, stream, decoder = open_video(path, max_pixels)
        return opened, stream, FakeNvdec(driver, decoder, form) if device == "cuda" else decoder

    def add_lossless(self: Encoding, *args: Any, **words: Any) -> Any:
        options = {"qp": "0", "preset": "ultrafast"}
        lossless = replace(self, codec="libx264", pix_fmt="yuv420p", options=options, device="cpu")
        stream, encoder = add_to(lossless if is_nvenc(self.codec) else self, *args, **words)
        return stream, FakeNvenc(encoder, taken) if self.device == "cuda" else encoder

    monkeypatch.setattr(reader, "open_video", open_anywhere)
    monkeypatch.setattr(codecs, "nvenc_opens", lambda: True)
    monkeypatch.setattr(Encoding, "add_to", add_lossless)
    return taken
