"""Build of serialized TensorRT engines from video graphs, for either flavour.

Precision is a property of the graph: the network is strongly typed, and no flag lowers it. The RTX flavour
builds without a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from rtdeblur.backends.base import BuildProgress
from rtdeblur.backends.tensorrt.flavours import CURRENT, FLAVOURS, Flavour, Message, complaint, log_of
from rtdeblur.backends.tensorrt.layouts import lay_out
from rtdeblur.backends.tensorrt.spec import EngineSpec, Shape
from rtdeblur.dropout import INPUTS as TABLES
from rtdeblur.dropout import DropoutSites
from rtdeblur.errors import EngineError, InterruptedRunError
from rtdeblur.model import INPUTS

_POLL_SECONDS = 0.1


def build(
    onnx: bytes,
    spec: EngineSpec,
    on_progress: BuildProgress | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> bytes:
    """Build an engine.

    The build runs in its own thread. An exception raised by a signal inside TensorRT's callbacks would be
    lost there, and TensorRT can be stopped only between steps, which may be long. An interrupted caller does
    not wait for the current step.

    Args:
        onnx: the video graph of `spec`.
        spec: what to build.
        on_progress: called from the build thread with the share done (0 to 1) and the name of the phase; if
            it raises, the build stops and the exception is re-raised here.
        stopped: polled; True ends the build.

    Returns:
        the serialized engine.

    Raises:
        DependencyError: the flavour is not installed.
        EngineError: the installed version differs, or it refuses the graph; with TensorRT's own message.
        InterruptedRunError: `stopped` returned True.
    """
    flavour = FLAVOURS[spec.target.flavour]
    if flavour.version != spec.target.version:
        raise EngineError(
            f"the engine is for {flavour.title} {spec.target.version}, but {flavour.version} is installed"
        )
    watch = _monitor(flavour.load(), on_progress)
    future = _in_a_thread(lambda: _build(onnx, spec, flavour, watch))
    try:
        while not future.done() and watch.error is None:
            if stopped():
                raise InterruptedRunError("the engine build was interrupted; nothing was kept")
            wait([future], timeout=_POLL_SECONDS)  # without a timeout, Windows would also block Ctrl-C
    except BaseException as error:
        watch.error = error  # ends the build after its current step
        raise
    if watch.error:
        raise watch.error
    engine = future.result()
    if on_progress:
        on_progress(1.0, "done")
    return engine


def _in_a_thread(work: Callable[[], bytes]) -> Future[bytes]:
    """Start work that may be abandoned; it ends before the interpreter does."""
    future: Future[bytes] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="rtdeblur-build").start()
    return future


def _build(onnx: bytes, spec: EngineSpec, flavour: Flavour, watch: Any) -> bytes:
    trt, log = flavour.load(), log_of(flavour)
    with log.listening() as messages:
        builder = trt.Builder(log.logger)
        if builder is None:
            raise _failure(spec, flavour, messages)
        network = builder.create_network(_strongly_typed(trt))
        parser = trt.OnnxParser(network, log.logger)
        if not parser.parse(onnx):
            raise _failure(spec, flavour, messages, _parser_error(parser))
        constants = lay_out(trt, network, spec.planes)
        config = _config(trt, builder, spec)
        config.add_optimization_profile(_profile(builder, network, spec))
        config.progress_monitor = watch
        engine = builder.build_serialized_network(network, config)
        del constants  # TensorRT reads their memory until now
        if engine is None:
            raise _failure(spec, flavour, messages)
        return bytes(engine)


def _strongly_typed(trt: Any) -> int:
    """The strongly-typed flag of TensorRT 10; from 11 on, all networks are, and the flag may be missing."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _config(trt: Any, builder: Any, spec: EngineSpec) -> Any:
    flavour = FLAVOURS[spec.target.flavour]
    config = builder.create_builder_config()
    if spec.optimization_level is not None:
        config.builder_optimization_level = spec.optimization_level
    if spec.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.workspace_mib << 20)
    if flavour.portable and spec.target.compute_capabilities:
        config.num_compute_capabilities = len(spec.target.compute_capabilities)
        for index, capability in enumerate(spec.target.compute_capabilities):
            if capability not in (*flavour.targets, CURRENT):
                raise EngineError(
                    f"{flavour.title} {spec.target.version} cannot build for compute capability "
                    f"{capability}; it supports {', '.join(flavour.targets)}"
                )
            name = capability if capability == CURRENT else f"SM{capability.replace('.', '')}"
            config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
    return config


def _profile(builder: Any, network: Any, spec: EngineSpec) -> Any:
    """Make the optimization profile of all inputs with dynamic shapes."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        declared = tuple(tensor.shape)
        if -1 in declared:
            shapes = spec.profile.min, spec.profile.opt, spec.profile.max
            profile.set_shape(tensor.name, *(_fill(tensor.name, declared, s, spec.stride) for s in shapes))
    return profile


def _fill(name: str, declared: tuple[int, ...], shape: Shape, stride: int) -> tuple[int, ...]:
    """Fill in the unknown dimensions of an input."""
    chroma = (shape.batch, 1, shape.chroma_height, shape.chroma_width)
    # The graph declares how many places and channels the tables have.
    tables = DropoutSites(1, 1, stride).shapes(shape.height, shape.width)
    whole = {
        "y": (shape.batch, 1, shape.height, shape.width),
        "u": chroma,
        "v": chroma,
        **dict(zip(TABLES, tables, strict=True)),
    }.get(name, ())
    if -1 in declared[len(whole) :]:
        raise EngineError(
            f"the graph's input {name!r} has shape {declared}, expected that of a video graph's "
            f"inputs ({', '.join(INPUTS)}); export the model again"
        )
    return tuple(whole[i] if size == -1 else size for i, size in enumerate(declared))


def _parser_error(parser: Any) -> str:
    error = parser.get_error(0) if parser.num_errors else None
    if error is None:
        return ""
    node = f"node {error.node_name()!r} ({error.node_operator()}): " if error.node_name() else ""
    return node + " ".join(error.desc().split())


def _failure(spec: EngineSpec, flavour: Flavour, messages: list[Message], reason: str = "") -> EngineError:
    reason = reason or complaint(messages) or "it gave no reason"
    what = f"{spec.model} ({spec.precision}, {spec.profile})"
    return EngineError(f"{flavour.title} {spec.target.version} cannot build {what}: {reason}")


@dataclass
class _Phase:
    name: str
    parent: str
    steps: int
    done: int = 0


class Phases:
    """Progress over nested phases: a running phase counts as part of its parent's current step."""

    def __init__(self) -> None:
        self._running: dict[str, _Phase] = {}
        self._share = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Start a phase."""
        self._running[name] = _Phase(name, parent or "", max(steps, 1))

    def step(self, name: str, step: int) -> None:
        """Complete a step of a phase, counted from 0."""
        if name in self._running:
            self._running[name].done = step + 1

    def finish(self, name: str) -> None:
        """End a phase."""
        self._running.pop(name, None)

    @property
    def share(self) -> float:
        """Share of the build done, 0 to 1; never decreases."""
        self._share = max(self._share, min(1.0, sum(map(self._of, self._children("")))))
        return self._share

    def _of(self, phase: _Phase) -> float:
        inner = max((self._of(child) for child in self._children(phase.name)), default=0.0)
        return min(1.0, (phase.done + inner) / phase.steps)

    def _children(self, parent: str) -> list[_Phase]:
        return [phase for phase in self._running.values() if phase.parent == parent]


def _monitor(trt: Any, on_progress: BuildProgress | None) -> Any:
    """Wrap a callback as an IProgressMonitor.

    Setting its `error` cancels the build: the callback's exception does, and so may the caller.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.error: BaseException | None = None
            self._phases = Phases()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases.start(phase_name, parent_phase, num_steps)
            self._tell(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._phases.step(phase_name, step)
            self._tell(phase_name)
            return self.error is None

        def phase_finish(self, phase_name: str) -> None:
            self._phases.finish(phase_name)

        def _tell(self, phase_name: str) -> None:
            if on_progress and self.error is None:
                try:
                    on_progress(self._phases.share, phase_name)
                except BaseException as error:  # must not pass through TensorRT
                    self.error = error

    return Monitor()
