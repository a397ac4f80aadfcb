"""The contract of a backend, run on every backend that starts on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from rtdeblur import system
from rtdeblur.backends import open_backend, openvino
from rtdeblur.backends.base import Backend, EngineOptions
from rtdeblur.backends.openvino_queue import InferQueue, Requests
from rtdeblur.blur_gate import with_gate
from rtdeblur.cuda import open_driver
from rtdeblur.errors import BackendError
from rtdeblur.frames import Colour, FrameBatch
from rtdeblur.model import DEFAULT_MODEL, Model
from rtdeblur.parity import LEAST_PSNR, worst_psnr


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(DEFAULT_MODEL)


ON_GPU = [pytest.param(f"tensorrt {p}", marks=pytest.mark.needs_cuda) for p in ("auto", "fp32")]


ON_CPU = ["openvino auto", "openvino fp32", "onnxruntime auto"]


GATED = "openvino auto gate"
"""A gate in front of OpenVINO that restores every tile of these small pictures."""


@pytest.fixture(params=["identity", *ON_CPU, GATED, *ON_GPU], scope="module")
def backend(
    request: pytest.FixtureRequest, model: Model, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    name, precision, *gate = [*request.param.split(" "), ""][:3]
    if name == "identity":
        name, model = "auto", Model.load("identity")
    engines = EngineOptions(folder=tmp_path_factory.mktemp("engines"))
    opened = open_backend(name, model, precision=precision or "auto", engines=engines)  # type: ignore[arg-type]
    opened = with_gate(opened, model, 1e-9 if "gate" in gate else "off")
    yield opened
    opened.close()


def make_batch(
    n: int, luma: tuple[int, int], chroma: tuple[int, int], colour: Colour | None = None
) -> FrameBatch:
    """Smooth random pictures: noise would count as broken, and a flat picture would test nothing."""
    colour = colour or Colour()
    rng = np.random.default_rng(1)
    dtype = np.uint8 if colour.bit_depth == 8 else np.uint16

    def plane(shape: tuple[int, int]) -> np.ndarray:
        coarse = rng.uniform(0.1, 0.9, (n, 1, -(-shape[0] // 8), -(-shape[1] // 8)))
        fine = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, : shape[0], : shape[1]]
        return np.ascontiguousarray((fine * colour.peak).astype(dtype))

    planes = (plane(luma), plane(chroma), plane(chroma))
    return FrameBatch(planes, tuple(range(5, 5 + n)), Fraction(1, 30), colour, tuple("abcdefgh"[:n]))


@pytest.mark.parametrize(
    ("luma", "chroma"),
    [
        ((48, 64), (24, 32)),
        ((33, 35), (17, 18)),
        ((40, 64), (40, 32)),
        ((40, 50), (40, 50)),
        ((40, 50), (1, 1)),
    ],
    ids=["420", "420 odd", "422", "444", "grey"],
)
def test_layout_times_and_carriers_are_kept(
    backend: Backend, luma: tuple[int, int], chroma: tuple[int, int]
) -> None:
    batch = make_batch(2, luma, chroma)
    restored = backend.infer(batch)
    assert [p.shape for p in restored.planes] == [p.shape for p in batch.planes]
    assert all(p.dtype == np.uint8 for p in restored.planes)
    assert (restored.pts, restored.time_base, restored.carriers) == (
        batch.pts,
        batch.time_base,
        batch.carriers,
    )


def test_the_fingerprint_holds_no_prose(backend: Backend) -> None:
    """It identifies unfinished work, so it holds every choice and no sentence."""
    assert backend.fingerprint["backend"] == backend.name
    assert backend.description not in backend.fingerprint.values()
    assert all(isinstance(value, str) for value in backend.fingerprint.values())
    if backend.name != "identity":
        assert backend.fingerprint["precision"] in backend.description
        assert backend.fingerprint["precision"] != "auto"


def test_a_batch_gives_the_same_bytes_as_its_frames_one_by_one(backend: Backend) -> None:
    batch = make_batch(4, (48, 64), (24, 32))
    whole = backend.infer(batch)
    for i in range(4):
        alone = FrameBatch(
            tuple(p[i : i + 1] for p in batch.planes),  # type: ignore[arg-type]
            batch.pts[i : i + 1], batch.time_base, batch.colour, batch.carriers[i : i + 1],
        )  # fmt: skip
        for one, many in zip(backend.infer(alone).planes, whole.planes, strict=True):
            np.testing.assert_array_equal(one[0], many[i])


def test_batches_in_flight_give_the_same_bytes_as_one_at_a_time(backend: Backend) -> None:
    batches = [make_batch(n, (48, 64 + 16 * (n % 2)), (24, 32 + 8 * (n % 2))) for n in (3, 1, 4, 2)]
    one_by_one = [backend.infer(batch) for batch in batches]
    flying, landed = [], []
    for batch in batches:
        flying.append(backend.submit(batch))
        if len(flying) >= backend.slots:
            landed.append(flying.pop(0)())
    landed += [pending() for pending in flying]
    for alone, overlapped in zip(one_by_one, landed, strict=True):
        assert overlapped.pts == alone.pts
        for a, b in zip(alone.planes, overlapped.planes, strict=True):
            np.testing.assert_array_equal(a, b)


def test_openvino_makes_the_requests_of_a_batch_before_it_starts_one() -> None:
    """While a frame is restored, it makes none, so the batch would wait for its first frame."""
    calls: list[str] = []

    class Request:
        def start_async(self, *_: object, **__: object) -> None:
            calls.append("start")

    class Compiled:
        def create_infer_request(self) -> Request:
            calls.append("make")
            return Request()

    requests = Requests(Compiled(), {})  # type: ignore[arg-type]
    InferQueue(lambda: False).start(make_batch(3, (48, 64), (24, 32)), requests)
    assert calls == ["make"] * 3 + ["start"] * 3


def test_openvino_restores_the_first_frame_of_a_file_on_its_own(model: Model) -> None:
    with open_backend("openvino", model, device="cpu", precision="fp32") as backend:
        assert backend.starts_with_one


def test_a_new_stream_gives_up_what_an_earlier_one_left_in_flight(backend: Backend) -> None:
    batch = make_batch(2, (48, 64), (24, 32))
    expected = backend.infer(batch)
    for _ in range(backend.slots):
        backend.submit(make_batch(2, (48, 64), (24, 32)))
    backend.begin()
    for a, b in zip(expected.planes, backend.infer(batch).planes, strict=True):
        np.testing.assert_array_equal(a, b)


def test_ten_bits_agree_with_eight(backend: Backend) -> None:
    eight = make_batch(1, (64, 96), (32, 48))
    planes = tuple(p.astype(np.uint16) * 4 for p in eight.planes)
    ten = FrameBatch(planes, eight.pts, eight.time_base, Colour(bit_depth=10), eight.carriers)  # type: ignore[arg-type]
    fine, coarse = backend.infer(ten), backend.infer(eight)
    for a, b in zip(fine.planes, coarse.planes, strict=True):
        assert a.dtype == np.uint16
        # Half a level of rounding at 8 bits; white differs by 1/1023, and bf16 adds as much again.
        assert np.abs(a / 4 - b).max() <= 1.5


def test_every_backend_but_identity_changes_pictures(backend: Backend) -> None:
    batch = make_batch(1, (48, 64), (24, 32))
    same = all((a == b).all() for a, b in zip(backend.infer(batch).planes, batch.planes, strict=True))
    assert same == (backend.name == "identity")


@pytest.mark.parametrize(
    ("capabilities", "processor", "fast"),
    [
        (["FP32", "BF16"], "vendor_id : AuthenticAMD\nflags : avx512_bf16", True),
        (["FP32", "BF16"], "vendor_id : GenuineIntel\nflags : avx512_bf16 amx_bf16", True),
        (["FP32", "BF16"], "vendor_id : GenuineIntel\nflags : avx512_bf16", False),
        (["FP32", "BF16"], None, True),
        (["FP32"], "vendor_id : AuthenticAMD\nflags : avx2", False),
    ],
)
def test_bf16_is_used_only_on_cpus_that_are_fast_in_it(
    capabilities: list[str],
    processor: str | None,
    fast: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return capabilities

    if processor:
        (tmp_path / "cpuinfo").write_text(processor)
    monkeypatch.setattr(system, "_PROC", tmp_path)
    assert openvino.is_fast_in_bf16(Core()) == fast  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["auto", "int8", "bf16"])
def test_quick_arithmetic_stays_near_fp32(model: Model, precision: str) -> None:
    if precision == "bf16" and not openvino.is_fast_in_bf16(openvino.core()):
        pytest.skip("needs a processor that is fast in bfloat16")
    batch = make_batch(1, (96, 128), (48, 64))
    exact, quick = (open_backend("openvino", model, precision=p).infer(batch) for p in ("fp32", precision))  # type: ignore[arg-type]
    error = np.concatenate(
        [(a - b.astype(float)).ravel() for a, b in zip(exact.planes, quick.planes, strict=True)]
    )
    # Both keep 8 bits of each activation; 40 dB is what the rounding noise leaves on a hard-edged picture.
    assert 10 * np.log10(255**2 / max((error**2).mean(), 1e-9)) > 40


@pytest.mark.needs_cuda
@pytest.mark.parametrize("precision", ["auto", "fp32"])
@pytest.mark.parametrize("depth", [8, 10])
def test_a_gpu_stays_near_fp32(model: Model, tmp_path: Path, precision: str, depth: int) -> None:
    batch = make_batch(2, (720, 1280), (360, 640), Colour(bit_depth=depth))
    engines = EngineOptions(folder=tmp_path)
    exact = open_backend("openvino", model, precision="fp32")
    quick = open_backend("tensorrt", model, precision=precision, engines=engines)  # type: ignore[arg-type]
    assert worst_psnr(quick.infer(batch).planes, exact.infer(batch).planes, batch.colour.peak) >= LEAST_PSNR
    quick.close()


@pytest.mark.needs_cuda
def test_gpu_memory_is_released_and_the_next_start_is_warm(model: Model, tmp_path: Path) -> None:
    batch = make_batch(1, (360, 640), (180, 320))
    free, seconds = [], []
    for _ in range(12):
        began = time.perf_counter()
        backend = open_backend("tensorrt", model, engines=EngineOptions(folder=tmp_path))
        backend.infer(batch)
        seconds.append(time.perf_counter() - began)
        backend.close()
        driver = open_driver()
        free.append(driver.memory()[0])
        driver.close()
    assert free[2] - free[-1] < 8 << 20  # libraries keep something of the first
    assert min(seconds[1:]) < 2


def test_latency_mode_gives_the_same_fp32_bytes(model: Model) -> None:
    batch = make_batch(1, (48, 64), (24, 32))
    one, other = (
        open_backend("openvino", model, precision="fp32", mode=m).infer(batch)
        for m in ("latency", "throughput")
    )  # type: ignore[arg-type]
    for a, b in zip(one.planes, other.planes, strict=True):
        # Another split of sums over threads may round differently.
        assert np.abs(a.astype(int) - b).max() <= 1


def test_tiny_frames_are_refused_in_one_line(model: Model) -> None:
    with pytest.raises(BackendError, match=r"8×8 is too small.*at least 16×16"):
        open_backend("openvino", model).infer(make_batch(1, (8, 8), (4, 4)))


def test_an_unknown_backend_or_precision_is_refused() -> None:
    with pytest.raises(BackendError, match="'cuda'; try one of auto"):
        open_backend("cuda", None)
    with pytest.raises(BackendError, match="precision is 'int4'"):
        open_backend("auto", None, precision="int4")  # type: ignore[arg-type]


def test_bytes_that_are_not_onnx_are_refused(model: Model) -> None:
    broken = Model(model.manifest, b"no onnx", model.path)
    with pytest.raises(BackendError, match="OpenVINO cannot run"):
        open_backend("openvino", broken, precision="fp32").infer(make_batch(1, (48, 64), (24, 32)))
