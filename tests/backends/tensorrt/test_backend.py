"""The logic of the TensorRT backend, on a fake GPU (`fake_gpu`)."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
from brighten import SIZE, Gpu, assert_restored, batch_of
from fake_gpu import DOWNLOAD_MS, INFERENCE_MS, UPLOAD_MS, Broken, FakeDriver

from rtdeblur.backends.tensorrt import SLOTS
from rtdeblur.backends.tensorrt.cache import EngineCache
from rtdeblur.backends.tensorrt.spec import Shape, ShapeProfile
from rtdeblur.cuda.base import DeviceTimes
from rtdeblur.errors import BackendError, CudaError, EngineError
from rtdeblur.frames import Colour, FrameBatch
from rtdeblur.model import Model
from rtdeblur.pipeline import Pipeline


@pytest.mark.parametrize("portable", [True, False], ids=["rtx", "enterprise"])
@pytest.mark.parametrize("depth", [8, 10, 16])
def test_every_bit_depth_is_restored(make_gpu: Callable[..., Gpu], depth: int, portable: bool) -> None:
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


def test_a_result_that_is_never_collected_does_no_harm(gpu: Gpu) -> None:
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


def test_size_and_colour_may_change_in_mid_stream(gpu: Gpu) -> None:
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


def test_colour_matrices_are_uploaded_only_when_they_change(gpu: Gpu) -> None:
    backend = gpu.backend(slots=1)
    backend.infer(batch_of(1))
    gpu.driver.calls.clear()
    backend.infer(batch_of(1))
    assert sum(call[0] == "upload" for call in gpu.driver.calls) == 3
    backend.infer(batch_of(1, colour=Colour("bt601")))
    assert sum(call[0] == "upload" for call in gpu.driver.calls) == 3 + 6
    backend.close()


def test_device_times_come_from_events(gpu: Gpu) -> None:
    backend = gpu.backend()
    assert backend.device_times is None
    backend.infer(batch_of(2))
    assert backend.device_times == DeviceTimes(3 * UPLOAD_MS, INFERENCE_MS, 3 * DOWNLOAD_MS)
    backend.close()


def test_copies_have_the_size_of_the_frames(gpu: Gpu) -> None:
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
def test_inference_is_captured_as_a_cuda_graph(make_gpu: Callable[..., Gpu], portable: bool) -> None:
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


def test_a_failed_capture_is_reported_and_inference_runs_without_it(make_gpu: Callable[..., Gpu]) -> None:
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


def test_opening_many_times_leaks_no_memory(model: Model, make_gpu: Callable[..., Gpu]) -> None:
    gc.freeze()  # each collection below then looks only at what this test makes
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
    gc.unfreeze()


def test_a_backend_may_run_in_another_thread_than_it_was_opened_in(gpu: Gpu) -> None:
    backend, got = gpu.backend(), []
    thread = threading.Thread(target=lambda: got.append(backend.infer(batch_of(1))))
    thread.start()
    thread.join()
    assert_restored(got[0], batch_of(1))
    backend.close()


def test_short_memory_halves_the_batch_and_reports_it(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(FakeDriver(room=200_000))
    gpu.trt.scratch = 20  # 30720 bytes a frame and slot: four frames do not fit twice
    backend = gpu.backend()
    for seed in range(3):
        batch = batch_of(4, seed=seed)
        assert_restored(backend.infer(batch), batch)
    assert [n for n in gpu.notices if "batches of" in n]
    assert "continuing with batches of 2" in gpu.notices[-1] or "batches of 2" in " ".join(gpu.notices)
    assert [spec.profile.max.batch for spec in gpu.trt.built] == [4, 2]
    backend.close()
    assert not gpu.driver.alive


def test_short_memory_at_one_frame_gives_up_overlap_then_fails(
    make_gpu: Callable[..., Gpu],
) -> None:
    gpu = make_gpu(FakeDriver(room=60_000))
    gpu.trt.scratch = 20
    backend = gpu.backend()
    assert_restored(backend.infer(batch_of(1)), batch_of(1))
    assert backend.slots == 1
    assert "continuing without overlap" in gpu.notices[-1]
    gpu.trt.scratch = 200
    with pytest.raises(
        BackendError, match=r"memory is low: no room for 1 frame of 64×48 in 1 slot .*try --backend openvino"
    ):
        backend.infer(batch_of(1, (48, 64)))
    backend.close()
    assert not gpu.driver.alive


def test_engines_of_other_layouts_are_dropped_first_when_memory_is_short(
    make_gpu: Callable[..., Gpu],
) -> None:
    gpu = make_gpu(FakeDriver(room=150_000))
    gpu.trt.scratch = 20
    backend = gpu.backend()
    assert_restored(backend.infer(batch_of(1)), batch_of(1))
    large = batch_of(1, (40, 48))
    assert_restored(backend.infer(large), large)
    assert not [n for n in gpu.notices if "memory" in n]
    backend.close()


def test_a_failed_enqueue_reports_tensorrts_message(gpu: Gpu) -> None:
    backend = gpu.backend()
    backend.infer(batch_of(1))
    gpu.trt.refuse_run = "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (invalid argument)"
    with pytest.raises(BackendError, match=r"cannot run the engine: .*enqueueV3: Error Code 1"):
        backend.infer(batch_of(1))
    backend.close()
    assert not gpu.driver.alive


def test_an_engine_with_other_output_shapes_is_refused(gpu: Gpu) -> None:
    gpu.trt.wider = 2
    backend = gpu.backend()
    with pytest.raises(BackendError, match=r"output y_out has shape .*96\), expected .*48\) like y"):
        backend.infer(batch_of(1))
    backend.close()
    assert not gpu.driver.alive


def test_a_failed_device_reports_why_and_still_closes(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(Broken())
    backend = gpu.backend()
    with pytest.raises(CudaError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        backend.infer(batch_of(1))
    backend.close()


def test_an_engine_that_does_not_load_is_rebuilt_once(gpu: Gpu) -> None:
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
    assert any("not compatible with this version" in n and "rebuilding it" in n for n in gpu.notices)
    backend.close()


def test_a_dynamic_engine_serves_every_size_in_its_range(gpu: Gpu) -> None:
    backend = gpu.backend()
    backend.infer(batch_of(1))
    backend.close()
    (spec,) = gpu.trt.built
    wide = replace(spec, profile=ShapeProfile.spanning([Shape.of(1, 64, 96), Shape.of(4, 16, 16)]))
    cache = EngineCache(gpu.folder)
    cache.discard(spec)
    cache.get_or_build(wide, lambda: gpu.trt.build(b"", wide))
    gpu.driver = gpu.trt.driver = FakeDriver()
    backend = gpu.backend()
    for size in (SIZE, (48, 64)):  # each holds the test picture of its own size
        assert_restored(backend.infer(batch_of(2, size)), batch_of(2, size))
    assert gpu.trt.built == [spec, wide]
    backend.close()


def test_a_fresh_engine_that_does_not_load_is_an_error(gpu: Gpu) -> None:
    gpu.trt.refuse_load = "this GPU is not supported"
    backend = gpu.backend()
    with pytest.raises(EngineError, match="cannot load the engine: this GPU is not supported"):
        backend.infer(batch_of(1))
    backend.close()


def test_a_second_start_builds_nothing(gpu: Gpu) -> None:
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


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed")
def test_the_fake_has_only_names_that_tensorrt_has() -> None:
    import fake_gpu
    import tensorrt_rtx as trt

    pairs = {
        fake_gpu._Engine: trt.ICudaEngine,
        fake_gpu.Context: trt.IExecutionContext,
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
