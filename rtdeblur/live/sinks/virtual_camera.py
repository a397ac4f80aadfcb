"""Virtual camera that shows live pictures to other programs (extra `virtual-camera`)."""

from __future__ import annotations

import importlib
from typing import Any

from av.video.reformatter import VideoReformatter

from rtdeblur.errors import DependencyError, OutputError
from rtdeblur.frames import Frame
from rtdeblur.live.image import fitted
from rtdeblur.live.sinks import OpenSink


def virtual_camera(device: str | None) -> OpenSink:
    """Sink for a virtual camera.

    Args:
        device: device of the camera, such as `/dev/video10`; None for the first one.

    Raises:
        DependencyError: pyvirtualcam is not installed.
    """
    try:
        library = importlib.import_module("pyvirtualcam")
    except ImportError:
        raise DependencyError("pyvirtualcam", "virtual-camera", "--virtual-camera") from None
    return lambda frame, rate: VirtualCamera(library, device, frame, rate)


class VirtualCamera:
    """Virtual camera, through pyvirtualcam (a `LiveSink`).

    Args:
        library: the module pyvirtualcam.
        device: device of the camera; None for the first one.
        frame: the first frame; later ones of another size are scaled to its size.
        rate: frames per second.

    Raises:
        OutputError: the device does not exist.
    """

    def __init__(self, library: Any, device: str | None, frame: Frame, rate: float) -> None:
        self._height, self._width = (max(2, side // 2 * 2) for side in frame.planes[0].shape)
        try:
            self._camera = library.Camera(
                self._width, self._height, rate, fmt=library.PixelFormat.I420, device=device
            )
        except (RuntimeError, OSError) as error:
            why = " ".join(str(error).split())
            hint = "on Linux load v4l2loopback, elsewhere install OBS"
            raise OutputError(f"cannot open {device or 'the virtual camera'}: {why}; {hint}") from error
        self._reformatter = VideoReformatter()

    def write(self, frame: Frame, seconds: float) -> None:
        """Show a frame.

        Raises:
            OutputError: the device has gone.
        """
        size = self._height, self._width
        picture = fitted(self._reformatter, frame, size, "yuv420p", full_range=False)
        try:
            self._camera.send(picture.to_ndarray().ravel())
        except (RuntimeError, OSError) as error:
            raise OutputError(f"the virtual camera was lost: {' '.join(str(error).split())}") from error

    def close(self) -> None:
        """Release the device; may be called twice."""
        self._camera.close()
