"""A fake of the enterprise `tensorrt` module, which is not available on every machine.

It has the names that the builder uses, as documented for TensorRT 10 and 11, and records its calls. It builds
nothing: its engine is the list of those calls.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any


class _Logger:
    def log(self, severity: Any, text: str) -> None:
        raise NotImplementedError


class _Monitor:
    pass


class _Network:
    num_inputs, num_outputs, num_layers = 3, 0, 0

    def get_input(self, index: int) -> Any:
        return SimpleNamespace(name="yuv"[index], shape=(-1, 1, -1, -1))


class FakeTensorRT(ModuleType):
    """Module `tensorrt` of one version; `trouble` is the step that fails: parse, build or start."""

    def __init__(self, version: str, trouble: str = "") -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.asked: list[str] = []
        self.trouble = trouble
        self.ILogger, self.IProgressMonitor = _Logger, _Monitor
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        flags = {"STRONGLY_TYPED": 2} if version.startswith("10.") else {}
        self.NetworkDefinitionCreationFlag = SimpleNamespace(**flags)

    def Builder(self, logger: Any) -> Any:  # noqa: N802
        if self.trouble == "start":
            logger.log(SimpleNamespace(name="ERROR"), "CUDA initialization failure with error: 35")
            return None
        return SimpleNamespace(
            create_network=lambda flags: self.asked.append(f"network {flags}") or _Network(),
            create_builder_config=self._config,
            create_optimization_profile=self._profile,
            build_serialized_network=lambda network, config: self._build(logger, config),
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        error = SimpleNamespace(
            node_name=lambda: "node_pad",
            node_operator=lambda: "Pad",
            desc=lambda: "no plugin\nfor it",
        )
        return SimpleNamespace(
            parse=lambda data: self.trouble != "parse", num_errors=1, get_error=lambda index: error
        )

    def _config(self) -> Any:
        asked = self.asked

        class Config:
            progress_monitor: Any = None

            def __setattr__(self, name: str, value: Any) -> None:
                asked.append(f"{name} {value}" if name != "progress_monitor" else name)
                super().__setattr__(name, value)

            def set_memory_pool_limit(self, pool: str, size: int) -> None:
                asked.append(f"{pool} {size}")

            def add_optimization_profile(self, profile: Any) -> int:
                return 0

        return Config()

    def _profile(self) -> Any:
        return SimpleNamespace(
            set_shape=lambda name, *shapes: self.asked.append(f"{name} {shapes[0]} {shapes[2]}")
        )

    def _build(self, logger: Any, config: Any) -> bytes | None:
        if config.progress_monitor:
            config.progress_monitor.phase_start("Building", None, 2)
            config.progress_monitor.step_complete("Building", 0)
        if self.trouble == "build":
            logger.log(SimpleNamespace(name="WARNING"), "beware")
            logger.log(SimpleNamespace(name="ERROR"), "Could not find any implementation for node")
            return None
        return "\n".join(self.asked).encode()
