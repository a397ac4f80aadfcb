"""Exceptions of the trainer; the command line prints them in one line, like `rtdeblur`."""

from __future__ import annotations

from rtdeblur.errors import RtdeblurError, UsageError


class ConfigError(UsageError):
    """A configuration is invalid."""


class DataError(RtdeblurError):
    """Training or evaluation data are missing or damaged."""


class CheckpointError(RtdeblurError):
    """A file of weights is missing, damaged or belongs to another network."""


class DivergedError(RtdeblurError):
    """A loss is no longer finite."""


class ParityError(RtdeblurError):
    """An exported graph computes wrong results."""


class ExportError(RtdeblurError):
    """A network cannot be written as ONNX, or an ONNX file cannot be used."""
