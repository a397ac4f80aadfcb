"""A model that adds 1 to every sample, and backends that run it on a fake GPU."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
from fake_gpu import FakeDriver, FakeTensorRT
from onnx import TensorProto, helper

from rtdeblur.backends.base import EngineOptions
from rtdeblur.backends.tensorrt import SLOTS, TensorRTBackend
from rtdeblur.dropout import Dropout
from rtdeblur.frames import Colour, FrameBatch
from rtdeblur.model import Model

SIZE = (32, 48)


def brighten(tables: dict[str, list[int | str]] | None = None, by: float = 1.0) -> bytes:
    """A video graph that adds 1 to every sample, as the engines of the fake do; `tables` are unused."""
    shapes = {"y": ["n", 1, "h", "w"], "u": ["n", 1, "a", "b"], "v": ["n", 1, "a", "b"]}
    kinds = {"yuv_to_rgb": [3, 4], "rgb_to_yuv": [3, 4], "peak": [1]}
    inputs = [helper.make_tensor_value_info(k, TensorProto.UINT8, s) for k, s in shapes.items()]
    inputs += [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in kinds.items()]
    outputs = [helper.make_tensor_value_info(f"{k}_out", TensorProto.UINT8, s) for k, s in shapes.items()]
    tables = tables or {}
    inputs += [helper.make_tensor_value_info(k, TensorProto.FLOAT16, s) for k, s in tables.items()]
    # Runtimes drop unused inputs, so the matrices are used, multiplied by zero.
    nodes = [
        helper.make_node("ReduceSum", ["yuv_to_rgb"], ["sum1"], keepdims=0),
        helper.make_node("ReduceSum", ["rgb_to_yuv"], ["sum2"], keepdims=0),
        helper.make_node("Add", ["sum1", "sum2"], ["sum"]),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "one"], ["step"]),
    ]
    for name in tables:
        nodes[-2:-2] = [
            helper.make_node("Cast", [name], [f"{name}1"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", [f"{name}1"], [f"{name}2"], keepdims=0),
            helper.make_node("Add", [nodes[-3].output[0], f"{name}2"], [f"{name}3"]),
        ]
        nodes[-2].input[0] = f"{name}3"
    for name in shapes:
        nodes += [
            helper.make_node("Cast", [name], [f"{name}1"], to=TensorProto.FLOAT),
            helper.make_node("Add", [f"{name}1", "step"], [f"{name}2"]),
            helper.make_node("Min", [f"{name}2", "peak"], [f"{name}3"]),
            helper.make_node("Cast", [f"{name}3"], [f"{name}_out"], to=TensorProto.UINT8),
        ]
    constants = [helper.make_tensor(n, TensorProto.FLOAT, [1], [v]) for n, v in (("one", by), ("zero", 0.0))]
    graph = helper.make_graph(nodes, "brighten", inputs, outputs, constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


class Gpu:
    """A fake GPU, and backends on it."""

    def __init__(self, model: Model, folder: Path, driver: FakeDriver, *, portable: bool = True) -> None:
        self.model, self.folder, self.driver = model, folder, driver
        self.trt = FakeTensorRT(driver, portable=portable)
        self.notices: list[str] = []

    def backend(self, slots: int = SLOTS, dropout: Dropout | None = None) -> TensorRTBackend:
        options = EngineOptions(folder=self.folder, notice=self.notices.append)
        return TensorRTBackend(
            self.model, self.driver, self.trt.flavour, slots=slots, dropout=dropout, options=options
        )

    @property
    def work(self) -> list[str]:
        """Operations on batches, in order; consecutive copies in one direction count as one."""
        names = [call[0] for call in self.driver.calls]
        names = [n for n in names if n in ("upload", "execute", "launch", "download", "wait")]
        return [n for i, n in enumerate(names) if i == 0 or n != names[i - 1]]


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
