"""Exceptions of rtdeblur.

RtdeblurError
├── UsageError           the request is invalid
│   ├── FinishedError    the run to resume has already finished
│   └── LockedError      another process is writing the output
├── InputError           the input cannot be read or contains no video
│   ├── NoVideoError     it can be read, but contains no video
│   └── GpuDecodingError the GPU cannot decode it
├── OutputError          the output cannot be written
│   └── ClosedPipeError  its reader has gone
├── ModelError           a model bundle is missing, damaged or too new
├── BackendError         an inference backend cannot start or failed
│   ├── EngineError      a TensorRT engine cannot be built, stored or loaded
│   └── CudaError        the GPU driver is missing or failed
│       └── GpuMemoryError  the GPU is out of memory
├── DependencyError      an optional package is missing
└── InterruptedRunError  a run was stopped before its end

A message is one line: what failed and its value, what was expected, what to try.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


class RtdeblurError(Exception):
    """Root of the tree; the command line prints it as one line and exits with 1.

    Args:
        problem: what failed, with its value and what was expected.
        hint: what to try; empty if there is none, or if `problem` ends with it.

    Attributes:
        problem: as given, for messages that name this error as their reason.
    """

    def __init__(self, problem: str = "", hint: str = "") -> None:
        super().__init__(f"{problem}; {hint}" if hint else problem)
        self.problem = problem


class UsageError(RtdeblurError):
    """The request itself makes no sense."""


class FinishedError(UsageError):
    """The run to resume has already finished."""

    @classmethod
    def of(cls, output: Path) -> Self:
        """Make the error of an output that is complete."""
        return cls(f"output {str(output)!r} exists, with nothing to resume")


class LockedError(UsageError):
    """Another process is writing the output."""


class InputError(RtdeblurError):
    """The input cannot be read or contains no video."""


class NoVideoError(InputError):
    """The input can be read, but contains no video."""


class GpuDecodingError(InputError):
    """The GPU cannot decode the input; the CPU may."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, "try --decoder cpu")


class OutputError(RtdeblurError):
    """The output cannot be written."""


class ClosedPipeError(OutputError):
    """The program reading the output has gone."""


class ModelError(RtdeblurError):
    """A model bundle is missing, damaged or too new."""


class BackendError(RtdeblurError):
    """An inference backend cannot start, or failed while running."""


class EngineError(BackendError):
    """A TensorRT engine cannot be built, stored or loaded."""


class CudaError(BackendError):
    """The GPU driver is missing, or a call failed; the message has CUDA's error name."""


class GpuMemoryError(CudaError):
    """The GPU is out of memory; smaller batches may fit."""


class DependencyError(RtdeblurError):
    """An optional package is missing; the message names the install command."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            f"try: pip install 'rtdeblur[{extra}]'",
        )


class InterruptedRunError(RtdeblurError):
    """A run was stopped before its end; it leaves nothing behind."""

    def __init__(self, problem: str = "the run was interrupted; nothing was written") -> None:
        super().__init__(problem)


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error, without a final period; the error's type if it has none."""
    return _lines(error)[0].rstrip(".")


def last_line(error: BaseException) -> str:
    """Return the last line of a library's error, which follows its trace; the error's type if it has none."""
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
