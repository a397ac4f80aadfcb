"""Where live pictures come from: a camera, an address on a network, or a file at its own speed."""

from __future__ import annotations

from pathlib import Path

from rtdeblur.errors import InputError
from rtdeblur.live.address import without_secrets
from rtdeblur.live.sources.base import LiveSource, SourceOptions


def open_source(name: str, options: SourceOptions | None = None) -> LiveSource:
    """Open a source.

    Args:
        name: a camera's number or device, an address, or a file.
        options: what may be asked of it.

    Raises:
        InputError: there is no such source, or it gives no video.
        DependencyError: a camera is asked for and OpenCV is not installed.
    """
    options = options or SourceOptions()
    if name.isdecimal() or name.startswith("/dev/video"):
        from rtdeblur.live.sources.camera import Camera

        return Camera(int(name) if name.isdecimal() else name, options)
    if "://" in name:
        from rtdeblur.live.sources.network import NetworkStream

        return NetworkStream(name, options)
    if not Path(name).exists():
        raise InputError(
            f"no source {without_secrets(name)!r}: expected a camera's number (0), an address (rtsp://…) "
            "or a file; check the name"
        )
    from rtdeblur.live.sources.file import FilePlayer

    return FilePlayer(Path(name))
