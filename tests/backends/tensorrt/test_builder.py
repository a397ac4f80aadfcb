"""Engines are really built, which TensorRT-RTX does without a GPU; `scripts/on_gpu.sh` runs them."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from rtdeblur.backends.tensorrt.builder import Phases, build
from rtdeblur.backends.tensorrt.flavours import RTX, log_of
from rtdeblur.backends.tensorrt.spec import EngineSpec, PlaneType, Shape, ShapeProfile, Target
from rtdeblur.errors import EngineError, InterruptedRunError
from rtdeblur.model import DEFAULT_MODEL, INPUTS, OUTPUTS, Model, bundled_models

pytest.importorskip("tensorrt_rtx", reason="pip install 'rtdeblur[rtx]'")

SMALL, LARGE = Shape.of(1, 64, 96), Shape.of(2, 128, 192)
STATIC = ShapeProfile.static(SMALL)
DYNAMIC = ShapeProfile.spanning([SMALL, LARGE])


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(bundled_models()[0]).variant("fp16")


@pytest.fixture(autouse=True)
def no_build_goes_on() -> Iterator[None]:
    yield
    finish_builds()


def finish_builds() -> None:
    """Wait for abandoned builds, which end at TensorRT's next step."""
    for thread in threading.enumerate():
        if thread.name == "rtdeblur-build":
            thread.join(120)
            assert not thread.is_alive()


def spec_of(model: Model, profile: ShapeProfile = STATIC, **options: object) -> EngineSpec:
    return EngineSpec.of(model, profile, Target.of(RTX), **options)


def described(messages: list[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Names, types and shapes of an engine's inputs and outputs, as TensorRT reports them."""
    text = next(text for _, text in messages if text.startswith("Engine Layer Information"))
    return {name: (kind, shape) for name, kind, shape in re.findall(r"(\w+) \((\w+)\[([-\d,]+)\]\)", text)}


def expected(model: Model, profile: ShapeProfile, planes: PlaneType) -> dict[str, tuple[str, str]]:
    shape = profile.opt
    tails = {"uint8": ("", ""), "uint16": (",2", ",2"), "nv12": ("", ",2")}[planes]
    luma = f"{shape.batch},1,{shape.height},{shape.width}" if profile.is_static else "-1,1,-1,-1"
    chroma = f"{shape.batch},1,{shape.chroma_height},{shape.chroma_width}" if profile.is_static else luma
    y, uv = (("UInt8", size + tail) for size, tail in zip((luma, chroma), tails, strict=True))
    outputs = OUTPUTS if planes != "nv12" else OUTPUTS[:2]  # u_out holds v too
    both = {name: y if name[0] == "y" else uv for name in (*INPUTS[:3], *outputs)}
    if sites := model.manifest.sites:
        rows, columns = (
            str(side // sites.stride) if profile.is_static else "-1" for side in (shape.height, shape.width)
        )
        both |= {
            "dropout_rows": ("Half", f"{sites.count},{sites.channels},{rows}"),
            "dropout_columns": ("Half", f"{sites.count},{sites.channels},{columns}"),
            "dropout_plane": ("Half", f"{sites.count},{rows},{columns}"),
        }
    return both | {"yuv_to_rgb": ("Float", "3,4"), "rgb_to_yuv": ("Float", "3,4"), "peak": ("Float", "1")}


PLANES: tuple[PlaneType, ...] = ("uint8", "uint16", "nv12")
ALL = [(DEFAULT_MODEL, "fp16", profile, planes) for profile in (STATIC, DYNAMIC) for planes in PLANES]
SOME = [
    (name, precision, profile, planes)
    for name in bundled_models()
    for precision in ("fp16", "fp32")
    for profile, planes in ((STATIC, "uint8"), (DYNAMIC, "nv12"))
    if (name, precision) != (DEFAULT_MODEL, "fp16")
]


@pytest.mark.parametrize(("name", "precision", "profile", "planes"), ALL + SOME)
def test_every_bundled_model_builds(
    name: str,
    precision: str,
    profile: ShapeProfile,
    planes: PlaneType,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = Model.load(name)
    if precision == "fp32" and model.manifest.precision == "fp16":
        pytest.skip("has no float32 bundle")
    model = model.variant(precision)
    spec = spec_of(model, profile, planes=planes)
    began = time.perf_counter()
    with log_of(RTX).listening() as messages:
        engine = build(model.onnx, spec)
    seconds = time.perf_counter() - began
    with capsys.disabled():  # into the log of a build machine
        print(f"\n{spec.stem}: {len(engine) / 1e6:.1f} MB in {seconds:.1f} s")  # noqa: T201
    assert described(messages) == expected(model, profile, planes)
    assert len(engine) > 0.9 * len(model.onnx)  # the weights are inside
    if not profile.is_static:
        ranges = " ".join(text for _, text in messages)
        assert "minShape is not the same as maxShape" in ranges


def test_the_optimization_profile_holds_the_range(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read back from TensorRT's own profile."""
    trt = RTX.load()
    kept = []

    class Builder(trt.Builder):  # type: ignore[misc, name-defined]
        def create_optimization_profile(self) -> object:
            kept.append(super().create_optimization_profile())
            return kept[-1]

    monkeypatch.setattr(trt, "Builder", Builder)
    build(model.onnx, spec_of(model, DYNAMIC))
    ranges = {name: [tuple(shape) for shape in kept[0].get_shape(name)] for name in INPUTS[:3]}
    assert ranges["y"] == [(1, 1, 64, 96), (1, 1, 64, 96), (2, 1, 128, 192)]
    assert ranges["u"] == ranges["v"] == [(1, 1, 32, 48), (1, 1, 32, 48), (2, 1, 64, 96)]


def test_progress_rises_to_one(model: Model) -> None:
    told: list[tuple[float, str]] = []
    build(model.onnx, spec_of(model), lambda share, phase: told.append((share, phase)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[-1] == 1.0
    assert len(set(shares)) > 10
    assert "Building engine" in {phase for _, phase in told}


def test_an_exception_in_the_progress_callback_ends_the_build(model: Model) -> None:
    class Enough(BaseException):
        pass

    def stop(share: float, phase: str) -> None:
        if share > 0.1:
            raise Enough

    with pytest.raises(Enough):
        build(model.onnx, spec_of(model), stop)


@pytest.mark.needs_posix
def test_an_interrupt_ends_the_build(model: Model) -> None:
    """Raised inside the build, so it arrives while TensorRT runs; if it were lost, the build would finish."""
    shares: list[float] = []

    def interrupt(share: float, phase: str) -> None:
        if not shares:
            signal.raise_signal(signal.SIGINT)
        shares.append(share)

    def stop(signum: int, frame: object) -> None:
        raise InterruptedError("asked to")

    before = signal.signal(signal.SIGINT, stop)
    try:
        with pytest.raises(InterruptedError, match="asked to"):
            build(model.onnx, spec_of(model, DYNAMIC), interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    finish_builds()
    assert shares[-1] < 1.0


def test_an_abandoned_build_is_not_waited_for(model: Model) -> None:
    """TensorRT polls only between its steps; here a poll blocks, as a long step would."""
    reached, answered = threading.Event(), threading.Event()
    shares: list[float] = []

    def hold(share: float, phase: str) -> None:
        shares.append(share)
        reached.set()
        assert answered.wait(60)

    try:
        with pytest.raises(InterruptedRunError, match="engine build was interrupted; nothing was"):
            build(model.onnx, spec_of(model), hold, reached.is_set)
        (left,) = (thread for thread in threading.enumerate() if thread.name == "rtdeblur-build")
    finally:
        answered.set()
    finish_builds()
    assert not left.is_alive()
    assert shares[-1] < 1.0  # the build ended at the next step


def test_options_reach_tensorrt(model: Model) -> None:
    options = {"optimization_level": 0, "workspace_mib": 512}
    target = Target("rtx", RTX.version, ("7.5",))
    with log_of(RTX).listening() as messages:
        assert build(model.onnx, EngineSpec.of(model, STATIC, target, **options))
    assert messages
    with pytest.raises(
        EngineError, match=r"cannot build for compute capability 6\.1; it supports 7\.5, 8\.0"
    ):
        build(model.onnx, EngineSpec.of(model, STATIC, Target("rtx", RTX.version, ("6.1",))))


def test_bytes_that_are_not_onnx_are_refused(model: Model) -> None:
    with pytest.raises(EngineError, match=r"TensorRT-RTX \S+ cannot build fast-fp16 .*: \w+") as caught:
        build(b"no graph", spec_of(model))
    assert "\n" not in str(caught.value)
    assert "no reason" not in str(caught.value)


def test_an_engine_for_another_version_is_refused(model: Model) -> None:
    with pytest.raises(EngineError, match=f"for TensorRT-RTX 0.9, but {RTX.version} is installed"):
        build(model.onnx, EngineSpec.of(model, STATIC, Target("rtx", "0.9")))


def test_an_unknown_operator_is_reported_with_tensorrts_message(model: Model) -> None:
    onnx = pytest.importorskip("onnx", reason="pip install 'rtdeblur[train]'")
    proto = onnx.load_from_string(model.onnx)
    next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "Deblur"
    with pytest.raises(EngineError, match=r"cannot build .*: node 'node_relu' \(Deblur\): ") as caught:
        build(proto.SerializeToString(), spec_of(model))
    assert "\n" not in str(caught.value)


def test_an_impossible_shape_is_reported_with_tensorrts_message(model: Model) -> None:
    """Two inputs whose sizes should agree but differ."""
    onnx = pytest.importorskip("onnx", reason="pip install 'rtdeblur[train]'")
    proto = onnx.load_from_string(model.onnx)
    conv = next(node for node in proto.graph.node if node.op_type == "Conv")
    weights = next(t for t in proto.graph.initializer if t.name == conv.input[1])
    cut = onnx.numpy_helper.to_array(weights)[:, 1:]
    weights.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(cut), weights.name))
    with pytest.raises(EngineError, match=r"TensorRT-RTX .* cannot build ") as caught:
        build(proto.SerializeToString(), spec_of(model))
    assert "no reason" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_progress_of_nested_phases_adds_up() -> None:
    phases = Phases()
    phases.start("whole", None, 2)
    phases.start("inner", "whole", 4)
    phases.step("inner", 0)
    assert phases.share == 0.125
    phases.step("inner", 3)
    phases.finish("inner")
    phases.step("whole", 0)
    assert phases.share == 0.5
    phases.step("unknown", 3)
    phases.step("whole", 1)
    assert phases.share == 1.0
