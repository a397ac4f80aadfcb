"""Fakes of cameras: one for OpenCV, and the library of virtual cameras."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np


class FakeCapture:
    """Fake `cv2.VideoCapture`."""

    opened = True
    pictures: list[np.ndarray | None]

    def __init__(self, device: int | str) -> None:
        self.device, self.properties, self.released = device, {}, False
        FakeCapture.last = self

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def set(self, key: int, value: float) -> bool:
        self.properties[key] = value
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        picture = self.pictures.pop(0) if self.pictures else None
        return picture is not None, picture

    def release(self) -> None:
        self.released = True


def fake_pyvirtualcam() -> SimpleNamespace:
    """Fake module pyvirtualcam; `cameras` has those opened, each with the pictures `sent`."""
    cameras: list[SimpleNamespace] = []

    def camera(width: int, height: int, fps: float, *, fmt: str, device: str | None) -> SimpleNamespace:
        if device == "/dev/video99":
            raise RuntimeError("'v4l2loopback' backend: device\nis not a video device")
        opened = SimpleNamespace(width=width, height=height, fps=fps, fmt=fmt, sent=[], closed=False)
        opened.send = opened.sent.append
        opened.close = lambda: setattr(opened, "closed", True)
        cameras.append(opened)
        return opened

    return SimpleNamespace(Camera=camera, PixelFormat=SimpleNamespace(I420="I420"), cameras=cameras)
