"""A camera made of live pictures, for other programs (extra `virtual-camera`)."""

from __future__ import annotations

import importlib
from typing import Any

from av.video.reformatter import VideoReformatter

from rtdeblur.errors import DependencyError, OutputError
from rtdeblur.ffmpeg.pixels import video_frame
from rtdeblur.frames import Frame
from rtdeblur.live.sinks import OpenSink


def virtual_camera(device: str | None) -> OpenSink:
    """A camera that other programs can choose.

    Args:
        device: its name as `/dev/video10`; None for the first there is.

    Raises:
        DependencyError: pyvirtualcam is not installed.
    """
    try:
        library = importlib.import_module("pyvirtualcam")
    except ImportError:
        raise DependencyError("pyvirtualcam", "virtual-camera", "--virtual-camera") from None
    return lambda frame, rate: VirtualCamera(library, device, frame, rate)


class VirtualCamera:
    """Pictures for other programs, through pyvirtualcam.

    Args:
        library: the module pyvirtualcam.
        device: its name; None for the first there is.
        frame: the first frame; later ones of another size are scaled to its.
        rate: frames a second.

    Raises:
        OutputError: there is no such device.
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
            raise OutputError(f"cannot open {device or 'a virtual camera'}: {why}; {hint}") from error
        self._reformatter = VideoReformatter()

    def write(self, frame: Frame, seconds: float) -> None:
        """Show a frame.

        Raises:
            OutputError: the device is gone.
        """
        picture = self._reformatter.reformat(video_frame(frame), self._width, self._height, "yuv420p")
        try:
            self._camera.send(picture.to_ndarray().ravel())
        except (RuntimeError, OSError) as error:
            raise OutputError(f"the virtual camera was lost: {' '.join(str(error).split())}") from error

    def close(self) -> None:
        """Release the device."""
        self._camera.close()
