"""The TensorRT backend on a real GPU's memory, streams and graphs; its engines are fake (`gpu_engine`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brighten import SIZE, Gpu, assert_restored, batch_of

from rtdeblur.cuda import open_driver
from rtdeblur.cuda.base import DEFAULT_STREAM, Driver
from rtdeblur.device import DeviceBatch, DeviceFrame, DevicePlane, DevicePlanes
from rtdeblur.frames import Colour
from rtdeblur.model import Model

pytestmark = pytest.mark.needs_cuda

PITCH = 2048
WIDE = (720, 1280)


@pytest.fixture
def make_real(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Gpu]]:
    pytest.importorskip("torch", reason="PyTorch runs the fake engines")
    from gpu_engine import GpuTensorRT, WatchedDriver

    # The comparison with the CPU is tested on the fake GPU.
    monkeypatch.setattr("rtdeblur.backends.tensorrt.gate.parity", lambda *_: 99.0)
    drivers: list[Driver] = []

    def make(*, portable: bool = True) -> Gpu:
        driver: Any = WatchedDriver()
        drivers.append(driver)
        gpu = Gpu(model, tmp_path / "engines", driver, portable=portable)
        gpu.trt = GpuTensorRT(driver, portable=portable)
        monkeypatch.setattr("rtdeblur.backends.tensorrt.pool.build", gpu.trt.build)
        return gpu

    yield make
    for driver in drivers:
        driver.close()


class Surface:
    """A picture in padded rows of device memory, whose upload may still run in the default stream."""

    def __init__(self, driver: Any, size: tuple[int, int] = WIDE, seed: int = 0) -> None:
        (height, width), self._driver = size, driver
        self.memory = driver.allocate(PITCH * height * 3 // 2)
        self.planes: DevicePlanes = (
            DevicePlane(self.memory, PITCH, height, width),
            DevicePlane(self.memory + PITCH * height, PITCH, height // 2, width),
        )
        rng = np.random.default_rng(seed)
        self._host = driver.allocate_host(PITCH * height * 3 // 2)
        self._host[:] = rng.integers(60, 190, self._host.size)
        self._before = self._host.reshape(-1, PITCH)[:, :width].copy()
        driver.upload(self.memory, self._host, DEFAULT_STREAM)

    def change(self) -> set[int]:
        """Return the differences of its samples from those uploaded."""
        self._driver.synchronize(DEFAULT_STREAM)
        self._driver.download(self._host, self.memory, DEFAULT_STREAM)
        self._driver.synchronize(DEFAULT_STREAM)
        after = self._host.reshape(-1, PITCH)[:, : self._before.shape[1]]
        return set(np.unique(after.astype(int) - self._before).tolist())

    def free(self) -> None:
        self._driver.free(self.memory)
        self._driver.free_host(self._host)


def batch_on(surfaces: list[Surface]) -> DeviceBatch:
    return DeviceBatch.of(
        [DeviceFrame(s.planes, i, Fraction(1, 25), Colour(), s) for i, s in enumerate(surfaces)]
    )


@pytest.mark.parametrize("portable", [True, False], ids=["rtx", "enterprise"])
@pytest.mark.parametrize("depth", [8, 10, 16])
def test_every_bit_depth_is_restored(make_real: Callable[..., Gpu], depth: int, portable: bool) -> None:
    gpu = make_real(portable=portable)
    backend = gpu.backend()
    for seed in range(8):
        batch = batch_of(2, colour=Colour(bit_depth=depth), seed=seed)
        assert_restored(backend.infer(batch), batch)
    assert ("launch" in gpu.work) != portable  # RTX captures graphs by itself
    assert not [text for text in gpu.notices if "CUDA graphs" in text]
    backend.close()
    assert not gpu.driver.alive


@pytest.mark.parametrize("portable", [True, False], ids=["rtx", "enterprise"])
def test_large_batches_in_flight_keep_their_bytes(make_real: Callable[..., Gpu], portable: bool) -> None:
    backend = make_real(portable=portable).backend()
    batches = [batch_of(4, WIDE, seed=seed) for seed in range(6)]
    for _ in range(3):
        pending = [(backend.submit(batch), batch) for batch in batches]  # more than there are slots
        for get, batch in pending:
            assert_restored(get(), batch)
    times = backend.device_times
    assert times is not None
    assert min(times.upload, times.inference, times.download) > 0
    backend.close()


def test_size_and_colour_may_change_in_mid_stream(make_real: Callable[..., Gpu]) -> None:
    gpu = make_real()
    backend = gpu.backend()
    cases = [(SIZE, 8), (WIDE, 8), (SIZE, 10), (SIZE, 8), (WIDE, 12), (SIZE, 12)]
    batches = [batch_of(2, size, Colour(bit_depth=depth), i) for i, (size, depth) in enumerate(cases)]
    pending = [(backend.submit(batch), batch) for batch in batches]
    for get, batch in pending:
        assert_restored(get(), batch)
    backend.close()
    assert not gpu.driver.alive


@pytest.mark.parametrize("portable", [True, False], ids=["rtx", "enterprise"])
def test_device_frames_are_restored_in_place(make_real: Callable[..., Gpu], portable: bool) -> None:
    gpu = make_real(portable=portable)
    backend = gpu.backend()
    surfaces = [Surface(gpu.driver, seed=seed) for seed in range(11)]
    pending = [backend.submit_device(batch_on(surfaces[first : first + 2])) for first in range(0, 11, 2)]
    for land in pending:
        land()
    assert [surface.change() for surface in surfaces] == [{1}] * 11
    assert backend.unrestored == 0
    for surface in surfaces:
        surface.free()
    backend.close()
    assert not gpu.driver.alive


def test_broken_device_frames_are_replaced_by_their_input(make_real: Callable[..., Gpu]) -> None:
    gpu = make_real()
    gpu.trt.black = True  # type: ignore[attr-defined]
    backend = gpu.backend()
    surfaces = [Surface(gpu.driver, seed=seed) for seed in range(4)]
    backend.submit_device(batch_on(surfaces))()
    assert [surface.change() for surface in surfaces] == [{0}] * 4
    assert backend.unrestored == 4
    for surface in surfaces:
        surface.free()
    backend.close()


def test_short_memory_halves_the_batch(make_real: Callable[..., Gpu]) -> None:
    gpu = make_real()
    # Two frames take half of the free memory, so that four do not fit.
    gpu.trt.scratch = gpu.driver.memory()[0] // (4 * SIZE[0] * SIZE[1])
    backend = gpu.backend(slots=1)
    batch = batch_of(5)
    assert_restored(backend.infer(batch), batch)
    assert "GPU memory is low" in " ".join(gpu.notices)
    backend.close()
    assert not gpu.driver.alive


def test_closed_backends_leave_no_memory_behind(make_real: Callable[..., Gpu]) -> None:
    driver = open_driver()  # keeps the context, which has memory of its own
    free = []
    for seed in range(6):
        backend = make_real().backend()
        batch = batch_of(4, WIDE, seed=seed)
        assert_restored(backend.infer(batch), batch)
        backend.close()
        driver.activate()
        free.append(driver.memory()[0])
    driver.close()
    assert free[1] - free[-1] < 8 << 20  # libraries keep something of the first
