"""Video and command line of the scripts that take the docs' screenshots of `rtdeblur` working on a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import click
import numpy as np

from train.measure.demo_scene import blurred_scene

_LENGTHS = (4.0, 12.0, 8.0)
"""Blur length for each second, in pixels."""
_RATE = 10


def command_of(shoot: Callable[[Path, Path], None]) -> click.Command:
    """Make a command with the argument FOLDER, by default docs/images.

    Args:
        shoot: called with a temporary folder that has the clip `street.mp4`, and with FOLDER.
    """

    @click.command(help=shoot.__doc__)
    @click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path("docs/images"))
    def main(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as work:
            write_clip(Path(work) / "street.mp4")
            shoot(Path(work), folder)

    return main


def write_clip(path: Path) -> None:
    """Write a video of the drawn street of the model's card, one second per blur length."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=_RATE, options={"crf": "12"})
        scenes = [blurred_scene(length) for length in _LENGTHS]
        height, width = (side // 2 * 2 for side in scenes[0].shape[:2])
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in scenes:
            for _ in range(_RATE):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), "rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
