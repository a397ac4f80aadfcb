"""Removes motion blur from video, and keeps every stream and timestamp.

    sharp = rtdeblur.restore(photo)
    rtdeblur.restore_file("in.mp4", "out.mp4")
    from rtdeblur import FileReader, FileWriter, Model, Pipeline, open_backend

Public names load on first use: `import rtdeblur` alone costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtdeblur.backends import open_backend
    from rtdeblur.deblurrer import Deblurrer, restore, restore_file
    from rtdeblur.errors import (
        BackendError,
        DependencyError,
        InputError,
        ModelError,
        OutputError,
        RtdeblurError,
        UsageError,
    )
    from rtdeblur.frames import Colour, Frame, FrameBatch, VideoInfo
    from rtdeblur.media.reader import FileReader
    from rtdeblur.media.writer import FileWriter
    from rtdeblur.model import Model, bundled_models
    from rtdeblur.pipeline import Pipeline, PipelineStats

    __version__: str

__all__ = [
    "BackendError",
    "Colour",
    "Deblurrer",
    "DependencyError",
    "FileReader",
    "FileWriter",
    "Frame",
    "FrameBatch",
    "InputError",
    "Model",
    "ModelError",
    "OutputError",
    "Pipeline",
    "PipelineStats",
    "RtdeblurError",
    "UsageError",
    "VideoInfo",
    "__version__",
    "bundled_models",
    "open_backend",
    "restore",
    "restore_file",
]

_HOMES = {
    "rtdeblur.backends": ("open_backend",),
    "rtdeblur.deblurrer": ("Deblurrer", "restore", "restore_file"),
    "rtdeblur.errors": tuple(name for name in __all__ if name.endswith("Error")),
    "rtdeblur.frames": ("Colour", "Frame", "FrameBatch", "VideoInfo"),
    "rtdeblur.media.reader": ("FileReader",),
    "rtdeblur.media.writer": ("FileWriter",),
    "rtdeblur.model": ("Model", "bundled_models"),
    "rtdeblur.pipeline": ("Pipeline", "PipelineStats"),
}


def __getattr__(name: str) -> object:
    """Load a public name from its home on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("rtdeblur")
    else:
        home = next((module for module, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module 'rtdeblur' has no attribute {name!r}")
        value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
