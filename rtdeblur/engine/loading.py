"""Engines as TensorRT holds them: deserialized, and the kernels that it compiles for them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rtdeblur.engine.cache import CachedEngine
from rtdeblur.engine.flavours import Flavour, Message, complaint, log_of
from rtdeblur.engine.sidecar import write_whole
from rtdeblur.errors import BackendError, EngineError, GpuMemoryError

_SHORT = (
    "out of memory",
    "outofmemory",
    "out_of_memory",
    "requested amount of gpu memory",
)
"""How TensorRT's messages say that the GPU's memory is short."""


@dataclass(frozen=True)
class LoadedEngine:
    """A deserialized engine; `runtime` must live as long."""

    flavour: Flavour
    runtime: Any
    engine: Any
    cached: CachedEngine


def load_engine(flavour: Flavour, cached: CachedEngine) -> LoadedEngine:
    """Deserialize an engine.

    Raises:
        EngineError: TensorRT refuses it; with its own message.
        GpuMemoryError: there is no room for its weights.
    """
    trt, log = flavour.load(), log_of(flavour)
    with log.listening() as messages:
        runtime = trt.Runtime(log.logger)
        engine = runtime.deserialize_cuda_engine(cached.data) if runtime else None
    if engine is None:
        raise failure(EngineError, "does not load the engine", flavour, messages)
    return LoadedEngine(flavour, runtime, engine, cached)


class Kernels:
    """Creates execution contexts; what the RTX flavour compiles for them on this GPU is kept on the disk."""

    def __init__(self, loaded: LoadedEngine) -> None:
        self._engine, self._path = loaded.engine, loaded.cached.runtime_cache_path
        self._config = self._cache = None
        self._saved = True
        if loaded.flavour.portable:
            trt = loaded.flavour.load()
            self._config = loaded.engine.create_runtime_config()
            self._config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER  # LAZY breaks a capture
            self._config.dynamic_shapes_kernel_specialization_strategy = strategy
            self._cache = self._config.create_runtime_cache()
            self._saved = self._restore()
            self._config.set_runtime_cache(self._cache)

    def _restore(self) -> bool:
        """Whether kernels of an earlier run serve; TensorRT checks them itself."""
        with suppress(OSError):
            if self._path and self._cache:
                return bool(self._cache.deserialize(self._path.read_bytes()))
        return False

    def create_context(self) -> Any:
        """An execution context; None where TensorRT refuses."""
        if self._config is None:
            return self._engine.create_execution_context()
        return self._engine.create_execution_context(self._config)

    def save(self) -> None:
        """Keep what was compiled, once; without it the next start only takes longer."""
        if not self._saved and self._path and self._cache:
            with suppress(OSError):
                write_whole(self._path, bytes(self._cache.serialize()))
        self._saved = True

    def release(self) -> None:
        """Let go of the engine."""
        self._engine = self._config = self._cache = None


def failure(kind: type[BackendError], what: str, flavour: Flavour, messages: list[Message]) -> BackendError:
    """What went wrong, in TensorRT's own words; GpuMemoryError where they are of short memory."""
    short = any(word in text.lower() for _, text in messages for word in _SHORT)
    reason = complaint(messages) or "it gave no reason"
    return (GpuMemoryError if short else kind)(f"{flavour.title} {what}: {reason}")
