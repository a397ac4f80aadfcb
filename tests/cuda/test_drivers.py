"""The contract of a driver, run on every driver; those of a real GPU only if there is one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from fake_gpu import FakeDriver

from rtdeblur.cuda import DRIVERS, installed, open_driver
from rtdeblur.cuda.base import DEFAULT_STREAM, Driver
from rtdeblur.device import DevicePlane
from rtdeblur.errors import CudaError, DependencyError, GpuMemoryError

SIZE = 1 << 16


@pytest.fixture(params=["fake", *(pytest.param(name, marks=pytest.mark.needs_cuda) for name in DRIVERS)])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    if request.param == "fake":
        opened: Driver = FakeDriver()
    elif request.param == "pycuda" and not installed("pycuda"):
        pytest.skip("pycuda is optional and not installed")  # also on a machine that must have a GPU
    else:
        opened = open_driver(request.param)
    yield opened
    opened.close()


def test_the_gpu_is_named(driver: Driver) -> None:
    assert driver.device.name
    major, minor = driver.device.compute_capability.split(".")
    assert int(major) >= 5
    assert int(minor) >= 0
    free, total = driver.memory()
    assert 0 < free <= total


def test_an_upload_and_download_returns_the_bytes(driver: Driver) -> None:
    stream, event = driver.create_stream(), driver.create_event()
    there, back = driver.allocate_host(SIZE), driver.allocate_host(SIZE)
    memory = driver.allocate(SIZE)
    there[:] = np.random.default_rng(0).integers(0, 256, SIZE)
    back[:] = 0
    driver.upload(memory, there, stream)
    driver.download(back, memory, stream)
    driver.record(event, stream)
    driver.wait(event)
    np.testing.assert_array_equal(there, back)
    driver.free(memory)
    driver.free_host(there)
    driver.free_host(back)
    driver.destroy_event(event)
    driver.destroy_stream(stream)


def test_a_stream_runs_in_order_and_can_be_waited_for(driver: Driver) -> None:
    stream = driver.create_stream()
    first, second, back = (driver.allocate_host(SIZE) for _ in range(3))
    memory = driver.allocate(SIZE)
    first[:], second[:] = 1, 2
    for source in (first, second):
        driver.upload(memory, source, stream)
    driver.download(back, memory, stream)
    driver.synchronize(stream)
    assert (back == 2).all()
    driver.free(memory)
    for host in (first, second, back):
        driver.free_host(host)
    driver.destroy_stream(stream)


def test_the_time_between_events_is_measured(driver: Driver) -> None:
    stream, events = driver.create_stream(), [driver.create_event() for _ in range(3)]
    host, memory = driver.allocate_host(64 << 20), driver.allocate(64 << 20)
    driver.record(events[0], stream)
    driver.upload(memory, host[:SIZE], stream)
    driver.record(events[1], stream)
    driver.upload(memory, host, stream)
    driver.record(events[2], stream)
    driver.wait(events[2])
    small, large, both = (driver.elapsed_ms(events[a], events[b]) for a, b in ((0, 1), (1, 2), (0, 2)))
    assert small > 0
    assert large > 0
    assert both == pytest.approx(small + large, abs=0.01)  # CUDA counts half microseconds
    never = driver.create_event()
    with pytest.raises(CudaError):
        driver.elapsed_ms(events[0], never)
    for event in (*events, never):
        driver.destroy_event(event)
    driver.free(memory)
    driver.free_host(host)
    driver.destroy_stream(stream)


def test_pitched_copies_keep_every_row(driver: Driver) -> None:
    stream = driver.create_stream()
    source, there, back = (driver.allocate_host(16 * 32) for _ in range(3))
    memory, other = driver.allocate(16 * 32), driver.allocate(16 * 64)
    source[:] = np.arange(16 * 32) % 251
    driver.upload(memory, source, stream)
    tight, wide = DevicePlane(memory, 32, 16, 20), DevicePlane(other + 4, 64, 16, 20)
    driver.copy_rows(wide, tight, stream)
    some = back[: 4 * 20].reshape(4, 20)
    driver.download_rows(some, wide.each(5), stream)
    whole = there[: 16 * 20].reshape(16, 20)
    driver.download_rows(whole, wide, stream)
    driver.synchronize(stream)
    np.testing.assert_array_equal(whole, source.reshape(16, 32)[:, :20])
    np.testing.assert_array_equal(some, whole[::5])
    driver.synchronize(DEFAULT_STREAM)
    driver.free(memory)
    driver.free(other)
    for host in (source, there, back):
        driver.free_host(host)
    driver.destroy_stream(stream)


def test_a_graph_repeats_what_was_captured(driver: Driver) -> None:
    if not driver.has_graphs:
        with pytest.raises(CudaError, match="no CUDA graphs"):
            driver.begin_capture(0)
        return
    stream = driver.create_stream()
    there, back = driver.allocate_host(SIZE), driver.allocate_host(SIZE)
    memory = driver.allocate(SIZE)
    there[:], back[:] = 7, 0
    driver.begin_capture(stream)
    driver.upload(memory, there, stream)
    driver.download(back, memory, stream)
    graph = driver.end_capture(stream)
    driver.synchronize(stream)
    assert (back == 0).all()  # noted, not done
    for value in (7, 8):
        there[:] = value
        driver.launch(graph, stream)
        driver.synchronize(stream)
        assert (back == value).all()
    driver.destroy_graph(graph)
    driver.free(memory)
    driver.free_host(there)
    driver.free_host(back)
    driver.destroy_stream(stream)


def test_too_large_an_allocation_raises_gpu_memory_error(driver: Driver) -> None:
    with pytest.raises(GpuMemoryError, match="out of memory"):
        driver.allocate(driver.memory()[1] * 4)
    driver.free(driver.allocate(SIZE))  # and the next call works


def test_closing_twice_is_allowed(driver: Driver) -> None:
    driver.close()
    driver.close()


@pytest.mark.needs_cuda
def test_opening_many_times_leaks_no_memory() -> None:
    def free_after_use() -> int:
        driver = open_driver()
        driver.free(driver.allocate(64 << 20))
        free = driver.memory()[0]
        driver.close()
        return free

    before = free_after_use()
    for _ in range(50):
        after = free_after_use()
    assert before - after < 8 << 20


def test_a_missing_package_names_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtdeblur.cuda.installed", lambda package: False)
    with pytest.raises(DependencyError, match=r"'cuda-bindings'.*pip install 'rtdeblur\[rtx\]'"):
        open_driver()
    with pytest.raises(DependencyError, match=r"'pycuda'.*pip install 'rtdeblur\[pycuda\]'"):
        open_driver("pycuda")
    with pytest.raises(CudaError, match="'opencl'; try one of auto, cuda-bindings, pycuda"):
        open_driver("opencl")


def test_pycuda_is_used_if_only_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("rtdeblur.cuda.installed", lambda package: package == "pycuda")
    stand_in = type("M", (), {"PycudaDriver": lambda index: opened.append("pycuda")})
    monkeypatch.setitem(__import__("sys").modules, "rtdeblur.cuda.pycuda", stand_in)
    open_driver()
    assert opened == ["pycuda"]


@pytest.mark.skipif(not installed("cuda.bindings"), reason="cuda-bindings is not installed")
class TestBindings:
    """The behaviour of cuda-bindings that needs no GPU."""

    def test_an_error_has_cuda_s_own_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from cuda.bindings import driver as cuda

        from rtdeblur.cuda import bindings

        good = cuda.CUresult.CUDA_SUCCESS
        monkeypatch.setattr(cuda, "cuGetErrorName", lambda code: (good, code.name.encode()))
        monkeypatch.setattr(cuda, "cuGetErrorString", lambda code: (good, b"as CUDA says"))

        def cuMemAlloc(size: int) -> tuple[object]:  # noqa: N802
            return (cuda.CUresult(2),)

        def cuMemFree(address: int) -> tuple[object]:  # noqa: N802
            return (cuda.CUresult.CUDA_ERROR_INVALID_VALUE,)

        with pytest.raises(GpuMemoryError, match=r"cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY \(as"):
            bindings._call(cuMemAlloc, 1)
        with pytest.raises(CudaError, match="cuMemFree failed: CUDA_ERROR_INVALID_VALUE") as caught:
            bindings._call(cuMemFree, 1)
        assert not isinstance(caught.value, GpuMemoryError)

    def test_every_function_that_is_called_exists(self) -> None:
        import re
        from pathlib import Path

        from cuda.bindings import driver as cuda

        from rtdeblur.cuda import bindings

        called = set(re.findall(r"cuda\.(cu\w+)", Path(bindings.__file__).read_text()))
        assert len(called) > 25
        assert [name for name in called if not hasattr(cuda, name)] == []

    def test_the_copy_of_rows_is_one_that_cuda_knows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The struct takes any attribute; a misspelt one would be lost."""
        from cuda.bindings import driver as cuda

        from rtdeblur.cuda.bindings import BindingsDriver

        seen: list[str] = []

        def cuMemcpy2DAsync(copy: object, stream: int) -> tuple[object]:  # noqa: N802
            seen.append(str(copy))
            return (cuda.CUresult.CUDA_SUCCESS,)

        monkeypatch.setattr(cuda, "cuMemcpy2DAsync", cuMemcpy2DAsync)
        driver = BindingsDriver.__new__(BindingsDriver)
        plane, host = DevicePlane(4096, 64, 8, 20), np.zeros((8, 20), np.uint8)
        driver.copy_rows(DevicePlane(8192, 32, 8, 20), plane, 0)
        driver.download_rows(host, plane, 0)
        for text in seen:
            said = dict(line.split(" : ") for line in text.splitlines() if " : " in line)
            assert (said["srcDevice"], said["srcPitch"], said["Height"]) == ("<CUdeviceptr 4096>", "64", "8")
            assert said["WidthInBytes"] == "20"
        assert "dstDevice : <CUdeviceptr 8192>" in seen[0]
        assert "dstPitch : 32" in seen[0]
        assert f"dstHost : {hex(host.ctypes.data)}" in seen[1]
        assert "dstPitch : 20" in seen[1]

    def test_without_a_driver_one_line_says_so(self) -> None:
        import ctypes

        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            with pytest.raises(CudaError, match="no NVIDIA driver found; check with nvidia-smi"):
                open_driver("cuda-bindings")
        else:
            pytest.skip("there is a driver")
