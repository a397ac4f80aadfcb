"""Every error that rtdeblur raises on purpose.

RtdeblurError
├── UsageError           the request itself makes no sense
│   └── FinishedError    what should be resumed is done
├── InputError           the input cannot be read or contains no video
│   ├── NoVideoError     it can be read, and holds none
│   └── GpuDecodingError the GPU does not decode it
├── OutputError          the output cannot be written
│   └── ClosedPipeError  who read it went away
├── ModelError           a model bundle is missing, damaged or too new
├── BackendError         an inference backend cannot start or failed
│   ├── EngineError      a TensorRT engine cannot be built, kept or loaded
│   └── CudaError        the GPU's driver is missing or refuses
│       └── GpuMemoryError  the GPU's memory is short
├── DependencyError      an optional package is missing
└── InterruptedRunError  a run was stopped before its end

A message is one line: what failed and its value, what was expected, what to try.
"""


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
    """What should be resumed is done."""


class InputError(RtdeblurError):
    """The input cannot be read or contains no video."""


class NoVideoError(InputError):
    """The input can be read and contains no video."""


class GpuDecodingError(InputError):
    """The GPU does not decode the input; the processor may."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, "try --decoder cpu")


class OutputError(RtdeblurError):
    """The output cannot be written."""


class ClosedPipeError(OutputError):
    """The program that read the output went away."""


class ModelError(RtdeblurError):
    """A model bundle is missing, damaged or too new."""


class BackendError(RtdeblurError):
    """An inference backend cannot start, or failed while running."""


class EngineError(BackendError):
    """A TensorRT engine cannot be built, kept or loaded."""


class CudaError(BackendError):
    """The GPU's driver is missing, or refuses a call; the message has CUDA's own name for it."""


class GpuMemoryError(CudaError):
    """The GPU's memory is short; less at once may fit."""


class DependencyError(RtdeblurError):
    """An optional package is missing; the message names the install command."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            f"try: pip install 'rtdeblur[{extra}]'",
        )


class InterruptedRunError(RtdeblurError):
    """A run was stopped before its end; nothing of it is left behind."""
