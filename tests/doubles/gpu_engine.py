"""A real GPU's driver, and a fake TensorRT that runs on it; PyTorch does the arithmetic."""

from __future__ import annotations

from typing import Any

import torch
from fake_gpu import Context, FakeTensorRT

from rtdeblur.cuda.bindings import BindingsDriver


class WatchedDriver(BindingsDriver):
    """Driver of a real GPU that records its calls, and the sizes of its allocations by address."""

    def __init__(self) -> None:
        super().__init__()
        self.device_memory: dict[int, int] = {}
        self.calls: list[tuple[Any, ...]] = []

    @property
    def alive(self) -> int:
        """Number of allocations not freed."""
        return len(self.device_memory)

    def note(self, *call: Any) -> None:
        self.calls.append(call)

    def allocate(self, size: int) -> int:
        address = super().allocate(size)
        self.device_memory[address] = size
        return address

    def free(self, address: int) -> None:
        del self.device_memory[address]
        super().free(address)

    def launch(self, graph: int, stream: int) -> None:
        self.note("launch", stream)
        super().launch(graph, stream)


class GpuTensorRT(FakeTensorRT):
    """Fake of TensorRT's runtime whose engines add 1 to every sample on the GPU, modulo their type.

    Attributes:
        black: whether engines return only zeros instead, as a broken model does.
    """

    driver: Any
    black = False

    def new_context(self, engine: Any) -> Any:
        return _GpuContext(engine)


class _GpuContext(Context):
    fake: GpuTensorRT

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self._tensors: dict[str, torch.Tensor] = {}

    def __del__(self) -> None:
        if self.scratch is not None:
            self.fake.contexts -= 1
            self.fake.driver.free(self.scratch)

    def set_tensor_address(self, name: str, address: int) -> bool:
        kind = "<i2" if self.engine.spec.planes == "uint16" else "|u1"
        self._tensors[name] = tensor_at(address, self.fake.driver.device_memory[address], kind)
        return super().set_tensor_address(name, address)

    def execute_async_v3(self, stream: int) -> bool:
        self.fake.driver.note("execute", stream)
        # No operation allocates, so that it can be captured.
        with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
            for output in self.engine.outputs:
                result = self._tensors[output]
                if self.fake.black:
                    result.zero_()
                else:
                    torch.add(self._tensors[output.removesuffix("_out")], 1, out=result)
        return True


def tensor_at(address: int, size: int, kind: str = "|u1") -> torch.Tensor:
    """Return a view of device memory, one-dimensional.

    Args:
        address: first byte.
        size: number of bytes.
        kind: NumPy's name of the type.
    """
    shape = (size // int(kind[-1]),)
    memory = type("Memory", (), {"__cuda_array_interface__": {
        "shape": shape, "typestr": kind, "data": (address, False), "version": 3,
    }})()  # fmt: skip
    return torch.as_tensor(memory, device="cuda")
