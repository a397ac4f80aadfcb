"""The logic of the TensorRT backend, on a GPU that is none (`fake_gpu`)."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from fake_gpu import Broken, FakeDriver, FakeTensorRT
from onnx import TensorProto, helper

from rtdeblur.backends import EngineOptions, open_backend
from rtdeblur.backends.tensorrt import SLOTS, TensorRTBackend
from rtdeblur.errors import BackendError, CudaError, DependencyError, EngineError
from rtdeblur.frames import Colour, FrameBatch
from rtdeblur.model import Manifest, Model
from rtdeblur.pipeline import Pipeline

SIZE = (32, 48)


def brighten() -> bytes:
    """A video graph that adds 1 to every sample, as the engines of the fake do."""
    shapes = {"y": ["n", 1, "h", "w"], "u": ["n", 1, "a", "b"], "v": ["n", 1, "a", "b"]}
    kinds = {"yuv_to_rgb": [3, 4], "rgb_to_yuv": [3, 4], "peak": [1]}
    inputs = [helper.make_tensor_value_info(k, TensorProto.UINT8, s) for k, s in shapes.items()]
    inputs += [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in kinds.items()]
    outputs = [helper.make_tensor_value_info(f"{k}_out", TensorProto.UINT8, s) for k, s in shapes.items()]
    # A runtime drops inputs that play no part: the matrices play none, but by way of a zero.
    nodes = [
        helper.make_node("ReduceSum", ["yuv_to_rgb"], ["sum1"], keepdims=0),
        helper.make_node("ReduceSum", ["rgb_to_yuv"], ["sum2"], keepdims=0),
        helper.make_node("Add", ["sum1", "sum2"], ["sum"]),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "one"], ["step"]),
    ]
    for name in shapes:
        nodes += [
            helper.make_node("Cast", [name], [f"{name}1"], to=TensorProto.FLOAT),
            helper.make_node("Add", [f"{name}1", "step"], [f"{name}2"]),
            helper.make_node("Min", [f"{name}2", "peak"], [f"{name}3"]),
            helper.make_node("Cast", [f"{name}3"], [f"{name}_out"], to=TensorProto.UINT8),
        ]
    constants = [helper.make_tensor(n, TensorProto.FLOAT, [1], [v]) for n, v in (("one", 1.0), ("zero", 0.0))]
    graph = helper.make_graph(nodes, "brighten", inputs, outputs, constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    manifest = Manifest(1, "brighten", "0" * 64, {}, 16, "fp16", "off", "MIT")
    return Model(manifest, brighten(), tmp_path_factory.mktemp("model") / "brighten.onnx")


class Gpu:
    """A fake GPU, and backends on it."""

    def __init__(self, model: Model, folder: Path, driver: FakeDriver, *, portable: bool = True) -> None:
        self.model, self.folder, self.driver = model, folder, driver
        self.trt = FakeTensorRT(driver, portable=portable)
        self.notices: list[str] = []

    def backend(self, slots: int = SLOTS) -> TensorRTBackend:
        options = EngineOptions(folder=self.folder, notice=self.notices.append)
        return TensorRTBackend(self.model, self.driver, self.trt.flavour, slots=slots, options=options)

    @property
    def work(self) -> list[str]:
        """What was done with batches, in order; the copies of one direction as one."""
        names = [call[0] for call in self.driver.calls]
        names = [n for n in names if n in ("upload", "execute", "launch", "download", "wait")]
        return [n for i, n in enumerate(names) if i == 0 or n != names[i - 1]]


@pytest.fixture
def make_gpu(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gpu]:
    def make(driver: FakeDriver | None = None, *, portable: bool = True) -> Gpu:
        gpu = Gpu(model, tmp_path / "engines", driver or FakeDriver(), portable=portable)
        monkeypatch.setattr("rtdeblur.backends.tensorrt.build", gpu.trt.build)
        return gpu

    return make


@pytest.fixture
def gpu(make_gpu: Callable[..., Gpu]) -> Gpu:
    return make_gpu()


def batch_of(n: int, size: tuple[int, int] = SIZE, colour: Colour | None = None, seed: int = 0) -> FrameBatch:
    colour = colour or Colour()
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if colour.bit_depth == 8 else np.uint16
    chroma = (size[0] // 2, size[1] // 2)
    planes = tuple(
        rng.integers(colour.peak // 4, colour.peak * 3 // 4, (n, 1, *s)).astype(dtype)
        for s in (size, chroma, chroma)
    )
    return FrameBatch(planes, tuple(range(n)), Fraction(1, 25), colour, tuple(range(n)))  # type: ignore[arg-type]


def assert_restored(got: FrameBatch, batch: FrameBatch) -> None:
    for new, old in zip(got.planes, batch.planes, strict=True):
        assert new.dtype == old.dtype
        np.testing.assert_array_equal(new, old + 1)
    assert (got.pts, got.carriers, got.colour) == (batch.pts, batch.carriers, batch.colour)


@pytest.mark.parametrize("portable", [True, False], ids=["rtx", "enterprise"])
@pytest.mark.parametrize("depth", [8, 10, 16])
def test_restores_every_depth(make_gpu: Callable[..., Gpu], depth: int, portable: bool) -> None:
    gpu = make_gpu(portable=portable)
    backend = gpu.backend()
    for seed in range(4):  # the enterprise flavour captures its graph on the way
        batch = batch_of(2, colour=Colour(bit_depth=depth), seed=seed)
        assert_restored(backend.infer(batch), batch)
    backend.close()
    assert [spec.planes for spec in gpu.trt.built] == ["uint8" if depth == 8 else "uint16"]


def test_batches_in_flight_overlap_and_keep_their_bytes(gpu: Gpu) -> None:
    backend = gpu.backend()
    backend.infer(batch_of(1))
    gpu.driver.calls.clear()
    batches = [batch_of(1, seed=i) for i in range(3)]
    first, second = backend.submit(batches[0]), backend.submit(batches[1])
    assert_restored(first(), batches[0])
    third = backend.submit(batches[2])
    assert_restored(second(), batches[1])
    assert_restored(third(), batches[2])
    start = ["upload", "execute", "download"]
    # The second batch is on its way before the first is waited for, and so on.
    assert gpu.work == [*start, *start, "wait", *start, "wait"]
    assert len({call[1] for call in gpu.driver.calls if call[0] == "execute"}) == SLOTS
    backend.close()


def test_a_result_that_nobody_took_is_no_harm(gpu: Gpu) -> None:
    backend = gpu.backend()
    batches = [batch_of(1, seed=i) for i in range(5)]
    pending = [backend.submit(batch) for batch in batches]  # more than there are slots
    for get, batch in zip(pending, batches, strict=True):
        assert_restored(get(), batch)
    backend.submit(batches[0])
    backend.close()
    assert not gpu.driver.alive


def test_the_pipeline_keeps_order_and_overlaps(gpu: Gpu) -> None:
    from rtdeblur.frames import Frame, VideoInfo

    class Source:
        info = VideoInfo(*SIZE, "yuv420p", None, None, None)

        def __iter__(self) -> Iterator[Frame]:
            for i in range(11):
                y, u, v = (plane[0, 0] for plane in batch_of(1, seed=i).planes)
                yield Frame((y, u, v), i, Fraction(1, 25), Colour(), i)

        def close(self) -> None:
            pass

    class Sink:
        batches: list[FrameBatch] = []  # noqa: RUF012

        def needs(self, index: int) -> bool:
            return True

        def write(self, batch: FrameBatch) -> None:
            self.batches.append(batch)

        def commit(self) -> None:
            pass

        def close(self) -> None:
            pass

    backend, sink = gpu.backend(), Sink()
    Pipeline(Source(), backend, sink, batch_size=2).run()
    assert [c for batch in sink.batches for c in batch.carriers] == list(range(11))
    for batch in sink.batches:
        for i, carrier in enumerate(batch.carriers):
            np.testing.assert_array_equal(batch.planes[0][i], batch_of(1, seed=carrier).planes[0][0] + 1)
    waits = [i for i, name in enumerate(gpu.work) if name == "wait"]
    assert any("upload" in gpu.work[a + 1 : b] for a, b in pairwise(waits))
    assert len(gpu.trt.built) == 1  # the odd frame at the end rides in the engine for two
    backend.close()


def test_shape_and_colour_change_mid_stream(gpu: Gpu) -> None:
    backend = gpu.backend()
    bt601, ten = Colour("bt601", True), Colour(bit_depth=10)
    twelve, other = Colour(bit_depth=12), (48, 64)
    cases = [(SIZE, None), (other, None), (SIZE, bt601), (SIZE, ten), (other, None), (SIZE, twelve)]
    pending = []
    for seed, (size, colour) in enumerate(cases):
        batch = batch_of(2, size, colour, seed)
        pending.append((backend.submit(batch), batch))
    for get, batch in pending:
        assert_restored(get(), batch)
    shapes = [(str(spec.profile), spec.planes) for spec in gpu.trt.built]
    assert shapes == [("2x32x48-420", "uint8"), ("2x48x64-420", "uint8"), ("2x32x48-420", "uint16")]
    backend.close()
    assert not gpu.driver.alive


def test_colour_goes_up_only_when_it_changes(gpu: Gpu) -> None:
    backend = gpu.backend(slots=1)
    backend.infer(batch_of(1))
    gpu.driver.calls.clear()
    backend.infer(batch_of(1))
    assert sum(call[0] == "upload" for call in gpu.driver.calls) == 3
    backend.infer(batch_of(1, colour=Colour("bt601")))
    assert sum(call[0] == "upload" for call in gpu.driver.calls) == 3 + 6
    backend.close()


def test_sizes_of_copies_are_those_of_the_frames(gpu: Gpu) -> None:
    backend = gpu.backend()
    backend.infer(batch_of(3))
    gpu.driver.calls.clear()
    backend.infer(batch_of(1))  # fewer than the engine takes
    sizes = [32 * 48, 16 * 24, 16 * 24]
    for direction in ("upload", "download"):
        copies = [call[2] for call in gpu.driver.calls if call[0] == direction]
        assert copies[-3:] == sizes
    backend.close()


@pytest.mark.parametrize("portable", [True, False], ids=["rtx", "enterprise"])
def test_cuda_graphs(make_gpu: Callable[..., Gpu], portable: bool) -> None:
    gpu = make_gpu(portable=portable)
    backend = gpu.backend(slots=1)
    for seed in range(4):
        batch = batch_of(1, seed=seed)
        assert_restored(backend.infer(batch), batch)
    # The test picture ran plainly, the first frame was captured. RTX captures by itself.
    executed = sum(call[0] == "execute" for call in gpu.driver.calls)
    launched = sum(call[0] == "launch" for call in gpu.driver.calls)
    assert (executed, launched) == ((5, 0) if portable else (2, 4))
    backend.close()


def test_a_capture_that_fails_is_told_and_done_without(make_gpu: Callable[..., Gpu]) -> None:
    class NoGraph(FakeDriver):
        def end_capture(self, stream: int) -> int:
            self._capturing.pop(stream)
            raise CudaError("CUDA's cuStreamEndCapture failed: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")

    gpu = make_gpu(NoGraph(), portable=False)
    backend = gpu.backend(slots=1)
    for seed in range(3):
        batch = batch_of(1, seed=seed)
        assert_restored(backend.infer(batch), batch)
    assert [n for n in gpu.notices if "without CUDA graphs" in n] == [gpu.notices[-1]]
    backend.close()


def test_nothing_leaks_over_many_opens(model: Model, make_gpu: Callable[..., Gpu]) -> None:
    for i in range(60):
        gpu = make_gpu()
        backend = gpu.backend()
        backend.submit(batch_of(2))
        backend.submit(batch_of(1, (48, 64)))
        if i % 2:
            backend.infer(batch_of(1, colour=Colour(bit_depth=10)))
        backend.close()
        backend.close()
        gc.collect()
        assert gpu.driver.alive == 0
        assert gpu.trt.contexts == 0
        assert gpu.driver.closed


def test_another_thread_may_run_what_this_one_opened(gpu: Gpu) -> None:
    backend, got = gpu.backend(), []
    thread = threading.Thread(target=lambda: got.append(backend.infer(batch_of(1))))
    thread.start()
    thread.join()
    assert_restored(got[0], batch_of(1))
    backend.close()


def test_short_memory_makes_batches_smaller_and_says_so(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(FakeDriver(room=200_000))
    gpu.trt.scratch = 20  # 30720 bytes a frame and slot: four frames do not fit twice
    backend = gpu.backend()
    for seed in range(3):
        batch = batch_of(4, seed=seed)
        assert_restored(backend.infer(batch), batch)
    assert [n for n in gpu.notices if "batches of" in n]
    assert "going on with batches of 2" in gpu.notices[-1] or "batches of 2" in " ".join(gpu.notices)
    assert [spec.profile.max.batch for spec in gpu.trt.built] == [4, 2]
    backend.close()
    assert not gpu.driver.alive


def test_short_memory_at_one_frame_gives_up_overlap_then_itself(
    make_gpu: Callable[..., Gpu],
) -> None:
    gpu = make_gpu(FakeDriver(room=60_000))
    gpu.trt.scratch = 20
    backend = gpu.backend()
    assert_restored(backend.infer(batch_of(1)), batch_of(1))
    assert backend.slots == 1
    assert "going on without overlap" in gpu.notices[-1]
    gpu.trt.scratch = 200
    with pytest.raises(BackendError, match=r"memory is short: 1 frames of 64×48.*try --backend openvino"):
        backend.infer(batch_of(1, (48, 64)))
    backend.close()
    assert not gpu.driver.alive


def test_another_layout_makes_room_first(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(FakeDriver(room=150_000))
    gpu.trt.scratch = 20
    backend = gpu.backend()
    assert_restored(backend.infer(batch_of(1)), batch_of(1))
    large = batch_of(1, (40, 48))
    assert_restored(backend.infer(large), large)
    assert not [n for n in gpu.notices if "memory" in n]
    backend.close()


def test_a_failed_enqueue_has_tensorrt_s_own_words(gpu: Gpu) -> None:
    backend = gpu.backend()
    backend.infer(batch_of(1))
    gpu.trt.refuse_run = "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (invalid argument)"
    with pytest.raises(BackendError, match=r"cannot run the engine: .*enqueueV3: Error Code 1"):
        backend.infer(batch_of(1))
    backend.close()
    assert not gpu.driver.alive


def test_a_dead_device_says_why_and_closes(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(Broken())
    backend = gpu.backend()
    with pytest.raises(CudaError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        backend.infer(batch_of(1))
    backend.close()


def test_an_engine_that_does_not_load_is_built_again_once(gpu: Gpu) -> None:
    backend = gpu.backend()
    backend.infer(batch_of(1))
    backend.close()
    gpu.driver = gpu.trt.driver = FakeDriver()
    refusals = iter(["The engine plan file is not compatible with this version"])
    load = gpu.trt.module.Runtime.deserialize_cuda_engine

    def once(runtime: object, data: bytes) -> object:
        gpu.trt.refuse_load = next(refusals, None)
        return load(runtime, data)

    gpu.trt.module.Runtime.deserialize_cuda_engine = once
    backend = gpu.backend()
    assert_restored(backend.infer(batch_of(1)), batch_of(1))
    assert len(gpu.trt.built) == 2
    assert any("not compatible with this version" in n and "building it again" in n for n in gpu.notices)
    backend.close()


def test_a_fresh_engine_that_does_not_load_is_an_error(gpu: Gpu) -> None:
    gpu.trt.refuse_load = "this GPU is not supported"
    backend = gpu.backend()
    with pytest.raises(EngineError, match="does not load the engine: this GPU is not supported"):
        backend.infer(batch_of(1))
    backend.close()


def test_the_second_start_is_warm(gpu: Gpu) -> None:
    backend = gpu.backend()
    backend.infer(batch_of(1))
    backend.close()
    (kept,) = gpu.folder.glob("*.runtime")
    assert kept.read_bytes() == b"kernels"
    gpu.notices.clear()
    gpu.driver = gpu.trt.driver = FakeDriver()
    backend = gpu.backend()
    assert_restored(backend.infer(batch_of(1)), batch_of(1))
    assert len(gpu.trt.built) == 1
    assert gpu.notices == []
    executed = sum(call[0] == "execute" for call in gpu.driver.calls)
    assert executed == 1  # the test picture was passed on this GPU already
    backend.close()


def test_an_engine_unlike_the_processor_is_refused(gpu: Gpu) -> None:
    gpu.trt.restore = lambda plane, peak: np.minimum(plane + 3, peak)  # two levels off: 42 dB
    backend = gpu.backend()
    message = r"fp16 engine of 'brighten' at 48×32 .* 42\.1 dB .* expected 50 dB.*fp32 by --precision fp32"
    for _ in range(2):
        with pytest.raises(EngineError, match=message):
            backend.infer(batch_of(1))
    assert len(gpu.trt.built) == 2  # it was not kept
    assert list(gpu.folder.glob("*.engine")) == []
    backend.close()
    assert not gpu.driver.alive


@pytest.mark.parametrize(
    ("code", "at"), [(0, ...), (255, ...), (0, slice(0, 8))], ids=["lowest", "highest", "a corner"]
)
def test_frames_that_are_no_pictures_are_left_as_they_were(gpu: Gpu, code: int, at: object) -> None:
    backend = gpu.backend()
    backend.infer(batch_of(3))
    assert backend.unrestored == 0

    def broken(plane: np.ndarray, peak: float) -> np.ndarray:
        frames = (plane + 1).reshape(3, -1)
        frames[1] = code if at is ... else np.where(np.arange(frames.shape[1]) < 200, code, frames[1])
        return frames.reshape(plane.shape)

    gpu.trt.restore = broken
    batch = batch_of(3, seed=5)
    got = backend.infer(batch)
    for new, old in zip(got.planes, batch.planes, strict=True):
        np.testing.assert_array_equal(new[1], old[1])
        np.testing.assert_array_equal(new[[0, 2]], old[[0, 2]] + 1)
    assert backend.unrestored == 1
    backend.close()


def test_a_constant_frame_in_may_come_out_constant(gpu: Gpu) -> None:
    backend = gpu.backend()
    batch = batch_of(1)
    black = tuple(np.full_like(p, c) for p, c in zip(batch.planes, (16, 128, 128), strict=True))
    backend.infer(replace(batch, planes=black))
    assert backend.unrestored == 0
    backend.close()


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed")
def test_the_fake_has_nothing_that_tensorrt_lacks() -> None:
    import fake_gpu
    import tensorrt_rtx as trt

    pairs = {
        fake_gpu._Engine: trt.ICudaEngine,
        fake_gpu._Context: trt.IExecutionContext,
        fake_gpu._Config: trt.IRuntimeConfig,
        fake_gpu._Cache: trt.IRuntimeCache,
    }
    for ours, theirs in pairs.items():
        public = {name for name in vars(ours) if not name.startswith("_")} - {"scratch"}
        assert public
        assert public <= set(dir(theirs)), ours
    assert {"cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy"} <= set(
        dir(trt.IRuntimeConfig)
    )
    assert hasattr(trt.CudaGraphStrategy, "WHOLE_GRAPH_CAPTURE")
    assert hasattr(trt.DynamicShapesKernelSpecializationStrategy, "EAGER")
    assert hasattr(trt.ComputeCapability, "SM89")
    assert callable(trt.nptype)
    assert hasattr(trt.Runtime, "deserialize_cuda_engine")


class TestChoice:
    """What `auto` takes."""

    @pytest.fixture(autouse=True)
    def here(self, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gpu = gpu
        monkeypatch.setattr("rtdeblur.backends.tensorrt.open_driver", lambda name: gpu.driver)
        monkeypatch.setattr("rtdeblur.backends.tensorrt.choose", lambda name, capability: gpu.trt.flavour)

    def test_a_gpu_with_tensorrt(self, model: Model) -> None:
        backend = open_backend("auto", model)
        assert backend.name == "tensorrt"
        assert backend.description == (
            "tensorrt fp16, Fake TensorRT 1.7.1, Fake GPU (compute capability 8.9, fake)"
        )
        backend.close()

    def test_a_gpu_that_is_not_listed(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gpu.driver.device = replace(self.gpu.driver.device, compute_capability="9.0")
        backend = open_backend("auto", model)
        assert backend.name == "openvino"
        assert "not tensorrt: Fake TensorRT does not list compute capability 9.0" in backend.description
        monkeypatch.setattr("rtdeblur.backends.tensorrt.open_driver", lambda name: FakeDriver())
        asked = open_backend("tensorrt", model)
        assert asked.name == "tensorrt"
        asked.close()

    @pytest.mark.parametrize(
        "error",
        [CudaError("no NVIDIA driver was found"), DependencyError("tensorrt_rtx", "rtx", "TensorRT-RTX")],
    )
    def test_no_gpu_or_no_tensorrt(
        self, model: Model, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(name: str) -> None:
            raise error

        monkeypatch.setattr("rtdeblur.backends.tensorrt.open_driver", refuse)
        backend = open_backend("auto", model)
        assert backend.name == "openvino"
        assert f"not tensorrt: {str(error).partition(';')[0]}" in backend.description
        with pytest.raises(type(error)):
            open_backend("tensorrt", model)

    def test_precision_takes_the_variant(self) -> None:
        for precision, graph in (("auto", "fp16"), ("fp32", "fp32")):
            self.gpu.driver.closed = 0
            backend = open_backend("tensorrt", Model.load("fast"), precision=precision)  # type: ignore[arg-type]
            assert backend.description.startswith(f"tensorrt {graph}, ")
            backend.close()
