"""What the trainer raises on purpose; the command line prints it as one line, as `rtdeblur` does."""

from __future__ import annotations

from rtdeblur.errors import RtdeblurError, UsageError


class ConfigError(UsageError):
    """A configuration makes no sense."""


class DataError(RtdeblurError):
    """Training or evaluation data are missing or damaged."""


class CheckpointError(RtdeblurError):
    """A file of weights is missing, damaged or of another network."""


class DivergedError(RtdeblurError):
    """A loss stopped being a finite number."""


class ParityError(RtdeblurError):
    """An exported graph does not compute what it should."""


class ExportError(RtdeblurError):
    """A network cannot be written as ONNX, or an ONNX file cannot be used."""
