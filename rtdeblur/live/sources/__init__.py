"""Sources of live pictures: a camera, a network address, or a file played at its own speed."""

from __future__ import annotations

from pathlib import Path

from rtdeblur.errors import InputError
from rtdeblur.live.address import without_secrets
from rtdeblur.live.sources.base import LiveSource, SourceOptions


def open_source(name: str, options: SourceOptions | None = None) -> LiveSource:
    """Open a source.

    Args:
        name: number or device of a camera, an address, or a file.
        options: settings of the source.

    Raises:
        InputError: the source does not exist or sends no video.
        DependencyError: the source is a camera and OpenCV is not installed.
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
            "or an existing file; check the name"
        )
    from rtdeblur.live.sources.file import FilePlayer

    return FilePlayer(Path(name))
