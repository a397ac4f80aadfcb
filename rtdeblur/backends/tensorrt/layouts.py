"""Plane layouts that a video graph does not have itself, added to the parsed network.

The graph's arithmetic is float32 between a cast from and a cast to the planes' type. The network can
therefore unpack its inputs and pack its outputs itself, without a separate conversion:

- uint16, which TensorRT lacks, is uint8 with an extra dimension of 2 (low byte, high byte).
- nv12 has one chroma plane of (u, v) pairs. Inputs u and v are both bound to it, and each reads its half of
  the pairs; output u_out contains the pairs, and there is no v_out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdeblur.backends.tensorrt.spec import PlaneType
from rtdeblur.errors import EngineError
from rtdeblur.model import INPUTS, OUTPUTS

Layout = tuple[tuple[int, ...], tuple[int, ...], PlaneType]
"""Sizes of luma and chroma, (height, width), and the type of the planes."""
_AXIS = 4
"""Axis of the two bytes of a sample, or of u and v, after (N, 1, H, W)."""
TAILS: dict[PlaneType, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "uint8": ((), ()),
    "uint16": ((2,), (2,)),
    "nv12": ((), (2,)),
}
"""Extra dimensions after (N, 1, H, W) in an engine's shapes of luma and chroma."""


def lay_out(trt: Any, network: Any, planes: PlaneType) -> list[NDArray[Any]]:
    """Change the plane type of a parsed video graph.

    Returns:
        constants whose memory the network uses; keep them until it is built.
    """
    return {"uint8": lambda *_: [], "uint16": _take_uint16, "nv12": _take_nv12}[planes](trt, network)


def _take_uint16(trt: Any, network: Any) -> list[NDArray[Any]]:
    """Make a parsed video graph use the bytes of little-endian uint16 planes.

    Returns:
        constants whose memory the network uses; keep them until it is built.
    """
    constants: list[NDArray[Any]] = []

    def constant(values: list[float], *shape: int) -> Any:
        constants.append(np.array(values, np.float32))
        return network.add_constant(shape, trt.Weights(constants[-1])).get_output(0)

    inputs = _inputs(network)
    for name in INPUTS[:3]:
        _join(trt, network, inputs[name], constant([1, 256], 1, 1, 1, 1, 2))
    casts = _output_casts(trt, network)
    for name in OUTPUTS:
        _part(trt, network, casts[name], constant([256], 1, 1, 1, 1))
    return constants


def _take_nv12(trt: Any, network: Any) -> list[NDArray[Any]]:
    """Make a parsed video graph use interleaved u and v; see `_take_uint16`."""
    constants: list[NDArray[Any]] = []
    for index, name in enumerate(INPUTS[1:3]):
        plane = _inputs(network)[name]
        takers = _takers(network, plane)
        plane.shape = (*plane.shape, 2)
        constants.append(np.array(index, np.int32))
        which = network.add_constant((), trt.Weights(constants[-1])).get_output(0)
        pairs = network.add_cast(plane, trt.float32).get_output(0)
        _redirect(takers, network.add_gather(pairs, which, _AXIS).get_output(0))
    u, v = (_output_casts(trt, network)[name] for name in OUTPUTS[1:])
    pairs = _pair(network, (u.get_input(0), v.get_input(0)))
    network.unmark_output(v.get_output(0))
    v.__class__ = trt.ICastLayer  # as in TensorRT's documentation
    v.to_type = trt.float32  # a layer without consumers is dropped, but only inputs and outputs may be uint8
    u.set_input(0, pairs)
    return constants


def _inputs(network: Any) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in map(network.get_input, range(network.num_inputs))}


def _output_casts(trt: Any, network: Any) -> dict[str, Any]:
    """Map each output to the layer that produces it."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    casts = {layer.get_output(0).name: layer for layer in layers if layer.num_outputs}
    for name in OUTPUTS:
        if casts[name].type != trt.LayerType.CAST:
            raise EngineError(f"the graph's output {name!r} is not a cast; export the model again")
    return casts


def _takers(network: Any, plane: Any) -> list[tuple[Any, int]]:
    """Return the layers that consume a tensor, each with its input index."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return [
        (layer, index)
        for layer in layers
        for index in range(layer.num_inputs)
        if layer.get_input(index) is not None and layer.get_input(index).name == plane.name
    ]


def _redirect(takers: list[tuple[Any, int]], samples: Any) -> None:
    for layer, index in takers:
        layer.set_input(index, samples)


def _join(trt: Any, network: Any, plane: Any, weights: Any) -> None:
    """Feed the plane's consumers low + 256 · high instead, in float32."""
    takers = _takers(network, plane)
    plane.shape = (*plane.shape, 2)
    pairs = network.add_cast(plane, trt.float32).get_output(0)
    weighted = network.add_elementwise(pairs, weights, trt.ElementWiseOperation.PROD).get_output(0)
    _redirect(takers, network.add_reduce(weighted, trt.ReduceOperation.SUM, 1 << _AXIS, False).get_output(0))


def _part(trt: Any, network: Any, cast: Any, base: Any) -> None:
    """Make the last cast output low and high bytes instead of whole values; both are exact in float32."""
    operation, samples = trt.ElementWiseOperation, cast.get_input(0)
    high = network.add_elementwise(samples, base, operation.FLOOR_DIV).get_output(0)
    whole = network.add_elementwise(high, base, operation.PROD).get_output(0)
    low = network.add_elementwise(samples, whole, operation.SUB).get_output(0)
    cast.set_input(0, _pair(network, (low, high)))


def _pair(network: Any, parts: tuple[Any, Any]) -> Any:
    """Interleave two tensors along an extra dimension."""
    pair = []
    for part in parts:
        shuffle = network.add_shuffle(part)
        shuffle.reshape_dims = (0, 0, 0, 0, 1)  # 0 keeps the dimension
        pair.append(shuffle.get_output(0))
    joined = network.add_concatenation(pair)
    joined.axis = _AXIS
    return joined.get_output(0)
