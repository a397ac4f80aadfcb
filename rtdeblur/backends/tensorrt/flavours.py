"""The two flavours of TensorRT, whose Python APIs agree but for the import name; loaded on first use."""

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
"""What TensorRT said: severity (ERROR, WARNING, INFO, VERBOSE, INTERNAL_ERROR) and text."""

CURRENT = "CURRENT"
"""The GPU at hand, whether TensorRT-RTX knows its compute capability by name or not."""
PORTABLE = ("8.0", "8.6", "8.9", "12.0")
"""Compute capabilities of an RTX engine for which none was named ("CPU-Only AOT and TensorRT-RTX Engines");
later ones may run it as well."""


@dataclass(frozen=True)
class Flavour:
    """One TensorRT.

    Attributes:
        name: what options and keys call it.
        title: what a person reads.
        module: its import name.
        extra: of this package, that installs it.
        portable: engines are built for compute capabilities, without a GPU; else for the GPU at hand.
    """

    name: str
    title: str
    module: str
    extra: str
    portable: bool

    @property
    def installed(self) -> bool:
        """Whether the package is there; it may still fail to load."""
        return find_spec(self.module) is not None

    def load(self) -> Any:
        """Import it.

        Raises:
            DependencyError: it is not installed.
            EngineError: it is installed and does not load.
        """
        if not self.installed:
            raise DependencyError(self.module, self.extra, self.title)
        try:
            return importlib.import_module(self.module)
        except Exception as error:  # a missing shared library, whatever the loader makes of it
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise EngineError(
                f"{self.title} is installed but does not load: {reason}",
                f"try: pip install --force-reinstall 'rtdeblur[{self.extra}]'",
            ) from error

    @property
    def version(self) -> str:
        """Of the library, as 1.7.1.116."""
        return str(self.load().__version__)

    @property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities that an engine can be built for, as "8.6"; none where for the GPU alone."""
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
        name: rtx, tensorrt, or auto: RTX where it is installed, unless the GPU is a data-centre one
            (9.x, 10.x), which RTX does not list, and the enterprise flavour is installed too.
        compute_capability: of the GPU at hand, as "8.6".

    Raises:
        DependencyError: none is installed, or not the one that was named.
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
    """TensorRT's messages, for its listeners; one per flavour, since TensorRT keeps a process's first Logger.

    Attributes:
        logger: to hand to TensorRT.
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
        """Give a list that takes what is said meanwhile, by any thread."""
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
    """The log of a flavour, made on first use."""
    return Log(flavour.load())


def complaint(messages: list[Message]) -> str:
    """The first error that TensorRT reported, as one line; empty where it reported none."""
    errors = [text for severity, text in messages if severity in ("ERROR", "INTERNAL_ERROR")]
    # Without a driver each shape query also reports that there is none, which is not what went wrong.
    telling = [text for text in errors if "cudaError" not in text and "getDimensions" not in text] or errors
    return " ".join(telling[0].split()) if telling else ""
