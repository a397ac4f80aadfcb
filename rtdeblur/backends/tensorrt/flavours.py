"""The two flavours of TensorRT: same Python API, different import names; imported on first use."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from rtdeblur.errors import DependencyError, EngineError

Message = tuple[str, str]
"""Log message of TensorRT: severity (ERROR, WARNING, INFO, VERBOSE, INTERNAL_ERROR) and text."""

CURRENT = "CURRENT"
"""Build target for the GPU of this machine, even if TensorRT-RTX does not list its compute capability."""
PORTABLE = ("8.0", "8.6", "8.9", "12.0")
"""Compute capabilities of an RTX engine by default ("CPU-Only AOT and TensorRT-RTX Engines");
newer GPUs may run it as well."""


@dataclass(frozen=True)
class Flavour:
    """A flavour of TensorRT.

    Attributes:
        name: name in options and engine keys.
        title: name shown to users.
        module: import name.
        extra: extra of this package that installs it.
        portable: whether engines are built for compute capabilities, without a GPU; else for this machine's
            GPU.
    """

    name: str
    title: str
    module: str
    extra: str
    portable: bool

    @property
    def installed(self) -> bool:
        """Whether the package is installed; it may still fail to load."""
        return find_spec(self.module) is not None

    def load(self) -> Any:
        """Import it.

        Raises:
            DependencyError: it is not installed.
            EngineError: it is installed but fails to load.
        """
        if not self.installed:
            raise DependencyError(self.module, self.extra, self.title)
        try:
            return importlib.import_module(self.module)
        except Exception as error:  # a missing shared library, reported differently by each loader
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise EngineError(
                f"{self.title} is installed but does not load: {reason}",
                f"try: pip install --force-reinstall 'rtdeblur[{self.extra}]'",
            ) from error

    @property
    def version(self) -> str:
        """Version of the library, such as 1.7.1.116."""
        return str(self.load().__version__)

    @property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities that engines can be built for, such as "8.6"; empty if only for this GPU."""
        if not self.portable:
            return ()
        numbers = (name[2:] for name in self.load().ComputeCapability.__members__ if name.startswith("SM"))
        return tuple(sorted((f"{number[:-1]}.{number[-1]}" for number in numbers), key=float))


RTX = Flavour("rtx", "TensorRT-RTX", "tensorrt_rtx", "rtx", portable=True)
ENTERPRISE = Flavour("tensorrt", "TensorRT", "tensorrt", "tensorrt", portable=False)
FLAVOURS = {flavour.name: flavour for flavour in (RTX, ENTERPRISE)}


def choose(name: str = "auto", compute_capability: str | None = None) -> Flavour:
    """Find the flavour to use.

    Args:
        name: rtx, tensorrt, or auto: RTX if installed, unless the GPU is a data-centre one (9.x, 10.x), which
            RTX does not list, and the enterprise flavour is installed as well.
        compute_capability: compute capability of this machine's GPU, such as "8.6".

    Raises:
        DependencyError: none is installed, or not the named one.
        EngineError: there is no flavour of that name.
    """
    if name != "auto":
        if name not in FLAVOURS:
            raise EngineError(
                f"no TensorRT flavour is called {name!r}; try one of auto, {', '.join(FLAVOURS)}"
            )
        if not FLAVOURS[name].installed:
            raise DependencyError(FLAVOURS[name].module, FLAVOURS[name].extra, FLAVOURS[name].title)
        return FLAVOURS[name]
    unlisted = compute_capability is not None and compute_capability.split(".")[0] in ("9", "10")
    for flavour in (ENTERPRISE, RTX) if unlisted else (RTX, ENTERPRISE):
        if flavour.installed:
            return flavour
    raise DependencyError(RTX.module, RTX.extra, "TensorRT")


class Log:
    """Collector of TensorRT's messages; one per flavour, since TensorRT keeps the first Logger of a process.

    Attributes:
        logger: Logger to pass to TensorRT.
    """

    def __init__(self, trt: Any) -> None:
        self._listeners: list[list[Message]] = []
        self._lock = threading.Lock()
        listeners = self._listeners

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, text: str) -> None:
                for listener in tuple(listeners):
                    listener.append((severity.name, text))

        self.logger = Logger()

    @contextmanager
    def listening(self) -> Iterator[list[Message]]:
        """Yield a list that collects the messages logged meanwhile, by any thread."""
        messages: list[Message] = []
        with self._lock:
            self._listeners.append(messages)
        try:
            yield messages
        finally:
            with self._lock:
                self._listeners[:] = [taker for taker in self._listeners if taker is not messages]


@cache
def log_of(flavour: Flavour) -> Log:
    """Return the log of a flavour, created on first use."""
    return Log(flavour.load())


def complaint(messages: list[Message]) -> str:
    """Return the first error that TensorRT reported, as one line; empty if there was none."""
    errors = [text for severity, text in messages if severity in ("ERROR", "INTERNAL_ERROR")]
    # Without a driver, each shape query also logs that it is missing, which is not the actual error.
    telling = [text for text in errors if "cudaError" not in text and "getDimensions" not in text] or errors
    return " ".join(telling[0].split()) if telling else ""
