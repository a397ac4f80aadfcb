"""Frames that stay in GPU memory, on a fake GPU (`fake_gpu`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from brighten import SIZE, Gpu, assert_restored, batch_of
from fake_gpu import FakeDriver

from rtdeblur.backends.tensorrt import SLOTS
from rtdeblur.cuda.base import DEFAULT_STREAM
from rtdeblur.device import DeviceBatch, DeviceFrame, DevicePlane, DevicePlanes
from rtdeblur.errors import EngineError
from rtdeblur.frames import Colour

PITCH = 256


class Surface:
    """A picture as NVDEC returns it: padded rows, filled only after the default stream was waited for."""

    def __init__(self, driver: FakeDriver, size: tuple[int, int] = SIZE, seed: int = 0) -> None:
        height, width = size
        self.driver = driver
        self.memory = driver.foreign(PITCH * height * 3 // 2)
        self.planes: DevicePlanes = (
            DevicePlane(self.memory, PITCH, height, width),
            DevicePlane(self.memory + PITCH * height, PITCH, height // 2, width),
        )
        rng = np.random.default_rng(seed)
        self.picture = [rng.integers(60, 190, (p.rows, p.width), np.uint8) for p in self.planes]
        driver.put(DEFAULT_STREAM, self._fill)

    def _fill(self) -> None:
        for plane, rows in zip(self.planes, self.picture, strict=True):
            self.driver.rows(plane)[...] = rows

    def shows(self, change: int) -> bool:
        """Whether it is the picture with so much added."""
        views = map(self.driver.rows, self.planes)
        return all((v == rows + change).all() for v, rows in zip(views, self.picture, strict=True))


def batch_on(surfaces: list[Surface], colour: Colour | None = None) -> DeviceBatch:
    return DeviceBatch.of(
        [DeviceFrame(s.planes, i, Fraction(1, 25), colour or Colour(), s) for i, s in enumerate(surfaces)]
    )


def surfaces_on(gpu: Gpu, count: int, size: tuple[int, int] = SIZE) -> list[Surface]:
    return [Surface(gpu.driver, size, seed) for seed in range(count)]


@pytest.mark.parametrize("portable", [True, False], ids=["rtx", "enterprise"])
def test_device_frames_are_restored_in_place(make_gpu: Callable[..., Gpu], portable: bool) -> None:
    gpu = make_gpu(portable=portable)
    backend = gpu.backend()
    assert backend.takes_device_frames
    surfaces = surfaces_on(gpu, 7)
    for first in (0, 3, 6):  # the last is fewer than the engine takes
        batch = batch_on(surfaces[first : first + 3])
        assert backend.submit_device(batch)() is batch
    assert all(surface.shows(1) for surface in surfaces)
    assert [spec.planes for spec in gpu.trt.built] == ["nv12"]
    assert backend.unrestored == 0
    backend.close()
    assert gpu.driver.alive == 0


def test_the_decoder_is_waited_for_and_no_whole_frame_crosses_the_bus(gpu: Gpu) -> None:
    backend = gpu.backend(slots=1)
    backend.submit_device(batch_on(surfaces_on(gpu, 1)))()
    surfaces = surfaces_on(gpu, 2)
    gpu.driver.calls.clear()
    assert backend.submit_device(batch_on(surfaces[:1]))
    names = [call[0] for call in gpu.driver.calls]
    assert gpu.driver.calls[0] == ("synchronize", DEFAULT_STREAM)
    assert names.index("copy_rows") > 0
    assert "upload" not in names
    assert "download" not in names
    samples = [call[2:] for call in gpu.driver.calls if call[0] == "download_rows"]
    assert samples == [(32 // 4, 48), (16 // 4, 48)] * 2  # every fourth row, before and after
    backend.close()


def test_batches_in_flight_keep_their_bytes(gpu: Gpu) -> None:
    backend = gpu.backend()
    backend.submit_device(batch_on(surfaces_on(gpu, 2)))()
    surfaces = surfaces_on(gpu, 10)
    pending = [backend.submit_device(batch_on(surfaces[i : i + 2])) for i in range(0, 10, 2)]
    for land in pending:  # more than there are slots
        land()
    assert all(surface.shows(1) for surface in surfaces)
    streams = {call[1] for call in gpu.driver.calls if call[0] == "execute"}
    assert len(streams) == SLOTS
    backend.close()


def test_broken_frames_are_replaced_by_their_input(gpu: Gpu) -> None:
    backend = gpu.backend()
    backend.submit_device(batch_on(surfaces_on(gpu, 3)))()

    def broken(plane: np.ndarray, peak: float) -> np.ndarray:
        frames = (plane + 1).reshape(3, -1)
        frames[1] = 0
        return frames.reshape(plane.shape)

    gpu.trt.restore = broken
    surfaces = surfaces_on(gpu, 3)
    land = backend.submit_device(batch_on(surfaces))
    more = surfaces_on(gpu, 6)
    rest = [backend.submit_device(batch_on(more[i : i + 3])) for i in (0, 3)]  # the slot is used again
    land()
    assert [surface.shows(change) for surface, change in zip(surfaces, (1, 0, 1), strict=True)] == [True] * 3
    assert backend.unrestored == 1
    for land in rest:
        land()
    assert backend.unrestored == 3
    assert [s.shows(0) for s in more] == [False, True, False] * 2
    backend.close()


def test_host_frames_and_other_sizes_may_be_interleaved(gpu: Gpu) -> None:
    """For example after a decoder switches its format, or the picture its size."""
    backend = gpu.backend()
    small, large = surfaces_on(gpu, 2), surfaces_on(gpu, 2, (48, 64))
    host = batch_of(2)
    pending = [
        backend.submit_device(batch_on(small[:1])),
        backend.submit(host),
        backend.submit_device(batch_on(large)),
        backend.submit_device(batch_on(small[1:], Colour("bt601"))),
    ]
    results = [land() for land in pending]
    assert_restored(results[1], host)  # type: ignore[arg-type]
    assert all(surface.shows(1) for surface in (*small, *large))
    assert [(str(spec.profile), spec.planes) for spec in gpu.trt.built] == [
        ("1x32x48-420", "nv12"), ("2x32x48-420", "uint8"), ("2x48x64-420", "nv12"),
    ]  # fmt: skip
    backend.close()


def test_an_engine_that_fails_the_parity_test_is_refused(gpu: Gpu) -> None:
    gpu.trt.restore = lambda plane, peak: np.minimum(plane + 3, peak)
    backend = gpu.backend()
    with pytest.raises(EngineError, match=r"42\.1 dB"):
        backend.submit_device(batch_on(surfaces_on(gpu, 1)))
    backend.close()


def test_short_memory_halves_the_batch(make_gpu: Callable[..., Gpu]) -> None:
    gpu = make_gpu(FakeDriver(room=200_000))
    gpu.trt.scratch = 20
    surfaces = surfaces_on(gpu, 4)
    backend = gpu.backend()
    backend.submit_device(batch_on(surfaces))()
    assert all(surface.shows(1) for surface in surfaces)
    assert "continuing with batches of 2" in " ".join(gpu.notices)
    assert [spec.profile.max.batch for spec in gpu.trt.built] == [4, 2]
    backend.close()


def test_frames_of_a_batch_must_have_one_layout() -> None:
    plane = DevicePlane(0, 64, 32, 48)
    one = DeviceFrame((plane, replace(plane, rows=16)), 0, Fraction(1, 25), Colour())
    for other in (
        replace(one, colour=Colour("bt601")),
        replace(one, time_base=Fraction(1, 50)),
        replace(one, planes=(replace(plane, rows=40), plane)),
    ):
        with pytest.raises(ValueError, match="differ in size, colour or time base"):
            DeviceBatch.of([one, other])
