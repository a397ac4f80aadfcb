"""Plain ONNX graphs: float32 RGB in and out, (N, 3, H, W).

Other programs run what `train.export.graph.export_plain` writes. Conversely, `OnnxGenerator` wraps such a
graph as a generator: the video graph is exported around a placeholder, which `inline` replaces.
"""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from google.protobuf.message import DecodeError
from onnx import TensorProto, version_converter
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel
from torch import Tensor

from train.errors import ExportError
from train.networks.generators import Generator

OPSET = 18
"""Opset of exported graphs."""

_DOMAIN, _PLACEHOLDER = "rtdeblur", "Network"
_PREFIX = "network/"
_LEAST_OPSET = 11
_EXACT_OPS = (
    "ReduceMean", "ReduceSum", "ReduceL2", "ReduceSumSquare", "GlobalAveragePool", "AveragePool",
    "LayerNormalization", "InstanceNormalization", "GroupNormalization", "Softmax", "Pow", "Sqrt", "CumSum",
)  # fmt: skip
"""Stay float32 in a half-precision graph: their sums overflow it."""


class OnnxGenerator(Generator):
    """A plain ONNX graph as a generator, run by ONNX Runtime.

    Args:
        path: path of the file, whose input and output are (N, 3, H, W) float32 RGB, of any height and width.
        multiple: height and width must be multiples of this.
        signed: True if its values are in [-1, 1], False if in [0, 1].

    Raises:
        ExportError: the file is damaged, or another kind of graph.
    """

    traced = True

    def __init__(self, path: Path, *, multiple: int, signed: bool) -> None:
        super().__init__()
        self.proto = _read(path)
        self.stride, self.signed = multiple, signed

    @property
    def title(self) -> str:
        """ONNX."""
        return "ONNX"

    @property
    def input_dtype(self) -> torch.dtype:
        """Float32: a half-precision graph casts within."""
        return torch.float32

    @property
    def parameters_count(self) -> int:
        """Number of weights."""
        return sum(int(np.prod(value.dims)) for value in self.proto.graph.initializer)

    def half(self) -> OnnxGenerator:
        """Make the weights half precision, but for operators whose sums overflow it."""
        blocked = [*DEFAULT_OP_BLOCK_LIST, *_EXACT_OPS]
        model = OnnxModel(
            convert_float_to_float16(copy.deepcopy(self.proto), keep_io_types=True, op_block_list=blocked)
        )
        model.topological_sort()  # the casts of inputs come last
        del model.model.graph.value_info[:]  # still float32 next to operators that are not converted
        self.proto = model.model
        self.__dict__.pop("session", None)
        return self

    def residual(self, x: Tensor, *signs: Tensor) -> Tensor:
        """What is added to the input: (N, 3, H, W) in [-1, 1], H and W multiples of the stride."""
        _RUNNING[0] = self
        restored: Tensor = torch.ops.rtdeblur.plain_network(x if self.signed else x / 2 + 0.5)
        return restored - x if self.signed else 2 * restored - 1 - x

    @cached_property
    def session(self) -> ort.InferenceSession:
        """Runs the graph."""
        options = ort.SessionOptions()
        options.log_severity_level = 4
        return ort.InferenceSession(
            self.proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxGenerator:
        """A copy with a session of its own."""
        new = copy.copy(self)
        new.__dict__ = {key: value for key, value in self.__dict__.items() if key != "session"}
        return new


_RUNNING: list[OnnxGenerator] = [None]  # type: ignore[list-item]
"""The generator whose `residual` runs: an operator of PyTorch takes tensors and numbers only."""


@torch.library.custom_op("rtdeblur::plain_network", mutates_args=())
def _plain_network(x: Tensor) -> Tensor:
    session = _RUNNING[0].session
    try:
        (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    except Exception as error:  # the binding raises kinds of its own
        count, _, height, width = x.shape
        raise ExportError(
            f"the ONNX file does not run on {count} frames of {width}×{height}: {_line(error)}"
        ) from None
    return torch.from_numpy(output)


@_plain_network.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


torch.onnx.register_custom_op_symbolic(  # type: ignore[attr-defined]
    "rtdeblur::plain_network", lambda g, x: g.op(f"{_DOMAIN}::{_PLACEHOLDER}", x).setType(x.type()), OPSET
)


def inline(video: onnx.ModelProto, network: onnx.ModelProto) -> onnx.ModelProto:
    """Put a plain graph in the place of the placeholder.

    Args:
        video: a video graph with one placeholder.
        network: the plain graph.

    Returns:
        The video graph, of the later of both opsets.

    Raises:
        ExportError: it cannot be converted to that opset.
    """
    opset = max(_opset(video), _opset(network))
    own = [entry for entry in video.opset_import if entry.domain != _DOMAIN]
    del video.opset_import[:]
    video.opset_import.extend(own)
    try:
        network = version_converter.convert_version(network, opset)
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"the graph cannot be converted to opset {opset}: {_line(error)}") from None
    for entry in video.opset_import:
        if not entry.domain:
            entry.version = opset
    network = onnx.compose.add_prefix(network, _PREFIX)
    graph, inner = video.graph, network.graph
    place = next(i for i, node in enumerate(graph.node) if node.domain == _DOMAIN)
    source, target = graph.node[place].input[0], graph.node[place].output[0]
    (end,) = (value.name for value in inner.output)
    (start,) = (value.name for value in inner.input)
    nodes = [
        onnx.helper.make_node("Identity", [source], [start]),
        *inner.node,
        onnx.helper.make_node("Identity", [end], [target]),
    ]
    around = [*graph.node[:place], *nodes, *graph.node[place + 1 :]]
    del graph.node[:]
    graph.node.extend(around)
    graph.initializer.extend(inner.initializer)
    del graph.value_info[:]
    return video


def _read(path: Path) -> onnx.ModelProto:
    try:
        proto = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(proto)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise ExportError(f"cannot read {path} as ONNX: {_line(error)}") from None
    graph = proto.graph
    weights = {value.name for value in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if domains := {node.domain for node in graph.node} - {"", "ai.onnx"}:
        raise ExportError(
            f"{path} uses operators of {', '.join(sorted(domains))}, expected those of ONNX only"
        )
    if any(value.data_location == TensorProto.EXTERNAL for value in graph.initializer):
        raise ExportError(f"{path} keeps its weights in another file; save it with all in one")
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ExportError(
            f"{path} has {len(inputs)} inputs and {len(graph.output)} outputs, expected one of each"
        )
    for value in (inputs[0], graph.output[0]):
        _check_picture(value, path)
    if _opset(proto) < _LEAST_OPSET:
        raise ExportError(
            f"{path} is of opset {_opset(proto)}, expected {_LEAST_OPSET} or later; export it again"
        )
    del graph.input[:]
    graph.input.append(inputs[0])
    for value in (inputs[0], graph.output[0]):  # whether it really takes batches, the comparison shows
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    return proto


def _check_picture(value: onnx.ValueInfoProto, path: Path) -> None:
    kind = value.type.tensor_type
    sides = kind.shape.dim
    if kind.elem_type != TensorProto.FLOAT or len(sides) != 4 or sides[1].dim_value not in (0, 3):
        shape = [side.dim_value or side.dim_param or "?" for side in sides]
        raise ExportError(
            f"{value.name!r} of {path} is {TensorProto.DataType.Name(kind.elem_type)} {shape}, "
            "expected float32 RGB, (N, 3, H, W)"
        )
    if sides[2].dim_value or sides[3].dim_value:
        raise ExportError(
            f"{value.name!r} of {path} is fixed at {sides[3].dim_value}×{sides[2].dim_value}; "
            "export it with a dynamic height and width"
        )


def _opset(proto: onnx.ModelProto) -> int:
    return int(next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
