"""Remove motion blur from video, and keep every stream and timestamp.

    import rtdeblur

    rtdeblur.restore_file("in.mp4", "out.mp4")

`rtdeblur.restore(array)` restores pictures. `restore_file` is short for

    from rtdeblur import FileReader, FileWriter, Model, Pipeline, open_backend

    with (
        FileReader("in.mp4") as reader,
        FileWriter(reader, "out.mp4", overwrite=True) as writer,
        open_backend("auto", Model.load("fast")) as backend,
    ):
        Pipeline(reader, backend, writer, batch_size=4).run()

The names in `__all__` are public; every other name of the package may change without notice. They are
imported on first use, so `import rtdeblur` is cheap.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing it from `typing` would take longer than everything else here
if TYPE_CHECKING:
    from rtdeblur.backends import open_backend
    from rtdeblur.backends.base import Backend, EngineOptions
    from rtdeblur.deblurrer import Deblurrer, restore, restore_file
    from rtdeblur.errors import (
        BackendError,
        ClosedPipeError,
        CudaError,
        DependencyError,
        EngineError,
        FinishedError,
        GpuDecodingError,
        GpuMemoryError,
        InputError,
        InterruptedRunError,
        LockedError,
        ModelError,
        NoVideoError,
        OutputError,
        RtdeblurError,
        UsageError,
    )
    from rtdeblur.frames import Colour, Frame, FrameBatch, Interlude, VideoInfo
    from rtdeblur.live.capture import LiveCapture
    from rtdeblur.live.displays import Command, Display, LivePicture, LiveStatus
    from rtdeblur.live.ladder import Candidate, bundled_candidates
    from rtdeblur.live.outputs import LiveOutput
    from rtdeblur.live.restorer import AUTO, LiveRestorer
    from rtdeblur.live.session import LiveSession, LiveSettings
    from rtdeblur.live.sinks import LiveSink, OpenSink
    from rtdeblur.live.sinks.encoded import record_to, send_to
    from rtdeblur.live.sinks.virtual_camera import virtual_camera
    from rtdeblur.live.sources import open_source
    from rtdeblur.live.sources.base import LiveSource, SourceOptions
    from rtdeblur.live.summary import LiveSummary
    from rtdeblur.media import FrameSink, FrameSource
    from rtdeblur.media.reader import FileReader
    from rtdeblur.media.source import SourceInfo
    from rtdeblur.media.verify import verify
    from rtdeblur.media.verify.compare import Check
    from rtdeblur.media.writer import FileWriter
    from rtdeblur.model import DEFAULT_MODEL, IDENTITY, Manifest, Model, bundled_models
    from rtdeblur.pipeline import Pipeline, PipelineStats

    __version__: str

__all__ = [
    "AUTO",
    "DEFAULT_MODEL",
    "IDENTITY",
    "Backend",
    "BackendError",
    "Candidate",
    "Check",
    "ClosedPipeError",
    "Colour",
    "Command",
    "CudaError",
    "Deblurrer",
    "DependencyError",
    "Display",
    "EngineError",
    "EngineOptions",
    "FileReader",
    "FileWriter",
    "FinishedError",
    "Frame",
    "FrameBatch",
    "FrameSink",
    "FrameSource",
    "GpuDecodingError",
    "GpuMemoryError",
    "InputError",
    "Interlude",
    "InterruptedRunError",
    "LiveCapture",
    "LiveOutput",
    "LivePicture",
    "LiveRestorer",
    "LiveSession",
    "LiveSettings",
    "LiveSink",
    "LiveSource",
    "LiveStatus",
    "LiveSummary",
    "LockedError",
    "Manifest",
    "Model",
    "ModelError",
    "NoVideoError",
    "OpenSink",
    "OutputError",
    "Pipeline",
    "PipelineStats",
    "RtdeblurError",
    "SourceInfo",
    "SourceOptions",
    "UsageError",
    "VideoInfo",
    "__version__",
    "bundled_candidates",
    "bundled_models",
    "open_backend",
    "open_source",
    "record_to",
    "restore",
    "restore_file",
    "send_to",
    "verify",
    "virtual_camera",
]

_HOMES = {
    "rtdeblur.backends": ("open_backend",),
    "rtdeblur.backends.base": (
        "Backend",
        "EngineOptions",
    ),
    "rtdeblur.deblurrer": (
        "Deblurrer",
        "restore",
        "restore_file",
    ),
    "rtdeblur.errors": (
        "BackendError",
        "ClosedPipeError",
        "CudaError",
        "DependencyError",
        "EngineError",
        "FinishedError",
        "GpuDecodingError",
        "GpuMemoryError",
        "InputError",
        "InterruptedRunError",
        "LockedError",
        "ModelError",
        "NoVideoError",
        "OutputError",
        "RtdeblurError",
        "UsageError",
    ),
    "rtdeblur.frames": (
        "Colour",
        "Frame",
        "FrameBatch",
        "Interlude",
        "VideoInfo",
    ),
    "rtdeblur.live.capture": ("LiveCapture",),
    "rtdeblur.live.displays": (
        "Command",
        "Display",
        "LivePicture",
        "LiveStatus",
    ),
    "rtdeblur.live.ladder": (
        "Candidate",
        "bundled_candidates",
    ),
    "rtdeblur.live.outputs": ("LiveOutput",),
    "rtdeblur.live.restorer": (
        "AUTO",
        "LiveRestorer",
    ),
    "rtdeblur.live.session": (
        "LiveSession",
        "LiveSettings",
    ),
    "rtdeblur.live.sinks": (
        "LiveSink",
        "OpenSink",
    ),
    "rtdeblur.live.sinks.encoded": (
        "record_to",
        "send_to",
    ),
    "rtdeblur.live.sinks.virtual_camera": ("virtual_camera",),
    "rtdeblur.live.sources": ("open_source",),
    "rtdeblur.live.sources.base": (
        "LiveSource",
        "SourceOptions",
    ),
    "rtdeblur.live.summary": ("LiveSummary",),
    "rtdeblur.media": (
        "FrameSink",
        "FrameSource",
    ),
    "rtdeblur.media.reader": ("FileReader",),
    "rtdeblur.media.source": ("SourceInfo",),
    "rtdeblur.media.verify": ("verify",),
    "rtdeblur.media.verify.compare": ("Check",),
    "rtdeblur.media.writer": ("FileWriter",),
    "rtdeblur.model": (
        "DEFAULT_MODEL",
        "IDENTITY",
        "Manifest",
        "Model",
        "bundled_models",
    ),
    "rtdeblur.pipeline": (
        "Pipeline",
        "PipelineStats",
    ),
}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("rtdeblur")
    else:
        home = next((module for module, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module 'rtdeblur' has no attribute {name!r}")
        import importlib

        value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
